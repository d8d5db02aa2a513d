"""Self-evaluation on a clock that a test moves, of models that it makes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import structlog

from edgeqa.data.slices import shuffled
from edgeqa.errors import EdgeqaError
from edgeqa.messages import ModelRef
from edgeqa.squad import Example, Gold
from edgeqa.telemetry_messages import Evaluation
from edgeqa_agent.dispatcher import Dispatcher
from edgeqa_agent.evaluation_source import EvaluationSource
from edgeqa_agent.jobs import Outcome, Task
from edgeqa_agent.question_file import Questions, describe
from edgeqa_agent.selfeval import SelfEvaluation
from edgeqa_agent.selfeval_memory import Memory
from edgeqa_agent.selfeval_orders import Routine
from edgeqa_agent.selfeval_pace import Budget, Pace

FREE = Budget(idle_s=0.0, cpu_share=1.0, max_celsius=75.0)


class Clock:
    """Seconds that pass only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []
        self.on_sleep: Callable[[], None] = lambda: None

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.slept.append(seconds)
        self.on_sleep()


class Stopping(threading.Event):
    """The event that an evaluation waits on, on the test's clock."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._test_clock = clock

    def wait(self, timeout: float | None = None) -> bool:
        self._test_clock.sleep(timeout or 0.0)
        return self.is_set()


class FixedQuestions:
    """A set in memory."""

    def __init__(self, examples: Sequence[Example]) -> None:
        self._examples = shuffled(examples)
        self.dataset = describe("set", "f" * 64, examples)

    def read(self, begin: int, end: int) -> list[Example]:
        return self._examples[begin:end]


class FixedSource:
    """The part of `EvaluationSource` that the schedule needs."""

    settled = True

    def __init__(self, questions: Questions) -> None:
        self.current = questions
        self.distrusted = 0

    def questions(self) -> Questions:
        return self.current

    def tick(self) -> None:
        pass

    def stop(self) -> None:
        pass

    def distrust(self) -> None:
        self.distrusted += 1


class Device:
    """Self-evaluation with all but time and models real."""

    def __init__(
        self,
        folder: Path,
        dispatcher: Dispatcher,
        questions: Questions,
        *,
        clock: Clock | None = None,
        size: int = 25,
        budget: Budget = FREE,
        celsius: Callable[[], float | None] = lambda: None,
        timeout_s: float = 1800.0,
    ) -> None:
        self.clock = clock or Clock()
        self.records: list[Evaluation] = []
        self.answers: list[tuple[str, Evaluation | EdgeqaError]] = []
        self.source = FixedSource(questions)
        self.quiet_s = 1e6
        self.memory = Memory(folder, structlog.get_logger())
        self.evaluation = SelfEvaluation(
            Routine(device="pi", questions=size, interval_s=3600.0, timeout_s=timeout_s),
            source=cast("EvaluationSource", cast("Any", self.source)),
            memory=self.memory,
            models=dispatcher,
            make_pace=lambda: Pace(
                budget, quiet_s=lambda: self.quiet_s, celsius=celsius, clock=self.clock
            ),
            append=self._append,
            answer=lambda order, outcome: self.answers.append((order, outcome)),
            log=structlog.get_logger(),
            clock=self.clock,
        )
        self.evaluation._stopping = Stopping(self.clock)

    def tick(self) -> None:
        self.evaluation.tick()

    def pass_an_hour(self) -> None:
        self.clock.now += 3601
        self.tick()

    def _append(self, record_type: type[Evaluation], **fields: Any) -> Evaluation:
        seq = len(self.records) + 1
        said = {"device": "pi", "boot_id": "b", "seq": seq, "time_ms": 1, "uptime_ms": 1}
        self.records.append(record_type.model_validate(said | fields))
        return self.records[-1]


def an_example(number: int, *, answer: str | None = "blue") -> Example:
    context = f"The lamp of room {number} is blue."
    golds = (Gold("blue", context.index("blue")),) if answer else ()
    return Example(f"q{number}", "", f"What colour has lamp {number}?", context, golds)


def examples(count: int) -> list[Example]:
    return [an_example(number) for number in range(count)]


def says(text: str, *, score: float = 0.9, no_answer: float = 0.1) -> Callable[[Task], Outcome]:
    """A model that gives every question this answer, in 10 ms."""
    return lambda _: Outcome([(text, 0, len(text), score)], no_answer, 1, 10.0, cpu_ms=12.0)


def active(dispatcher: Dispatcher) -> ModelRef:
    assert dispatcher.model is not None
    return dispatcher.model
