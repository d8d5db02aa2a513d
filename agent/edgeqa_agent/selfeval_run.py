"""One evaluation: asks the questions of a slice, one at a time, at the pace it is given.

Questions go to the model that is active. If its process dies, the question is asked again of the
process that takes its place; a second death ends the evaluation, so that no question of it can
wear out a model that serves.

Thread: the evaluation's own.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from edgeqa.data.identity import null_threshold
from edgeqa.errors import DeadlineError, EdgeqaError
from edgeqa.messages import ModelRef
from edgeqa.squad import Example
from edgeqa.squad_v2 import Verdict, judge, null_score
from edgeqa.telemetry_messages import Dataset, Slice, Trigger
from edgeqa_agent.jobs import Outcome, Task
from edgeqa_agent.lane import Lane
from edgeqa_agent.request import Request

# Fewer questions than this say nothing: half the width of an interval for EM would be 20 points.
MIN_QUESTIONS = 20
MAX_DEATHS = 2
_LOOK_S = 0.5
_CRASHED = "model_crashed"


class EvaluationEndedError(EdgeqaError):
    """An evaluation came to nothing."""

    code = "evaluation_ended"


@dataclass(frozen=True, slots=True)
class Plan:
    """What to evaluate.

    Attributes:
        in_turn: it is the slice whose turn it is.
    """

    model: ModelRef
    trigger: Trigger
    dataset: Dataset
    slice: Slice
    examples: Sequence[Example]
    in_turn: bool


@dataclass(slots=True)
class Answers:
    """What was answered.

    Attributes:
        verdicts: of each question that was asked.
        times_ms: their inference time, on one core.
        begun_at, ended_at: the first question and the last answer, seconds.
        waited_s: between them, for others, the budget and cooling.
    """

    verdicts: list[Verdict] = field(default_factory=list)
    times_ms: list[float] = field(default_factory=list)
    begun_at: float = 0.0
    ended_at: float = 0.0
    waited_s: float = 0.0


class Models(Protocol):
    """Whom to ask, such as `Dispatcher`."""

    @property
    def active(self) -> Lane | None:
        """The lane that questions go to."""

    def ask(self, lane: Lane, request: Request) -> None:
        """See `Dispatcher.ask`."""


class Pacing(Protocol):
    """See `Pace`."""

    def spend(self, seconds: float) -> None:
        """See `Pace.spend`."""

    def wait_s(self) -> float:
        """See `Pace.wait_s`."""


class Run:
    """An evaluation under way.

    Args:
        plan: what to ask.
        models: whom.
        pace: when.
        timeout_s: for all of it.
        stopping: set when the agent stops.
        clock: seconds that are never set back.
        sleep: waits at most so long, and returns at once when the agent stops.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        models: Models,
        pace: Pacing,
        timeout_s: float,
        stopping: threading.Event,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] | None = None,
    ) -> None:
        self._plan = plan
        self._models = models
        self._pace = pace
        self._stopping = stopping
        self._clock = clock
        self._sleep = sleep or stopping.wait
        self._timeout_s = timeout_s
        self._ends_at = clock() + timeout_s
        self._threshold = null_threshold(plan.dataset.task)
        self._deaths = 0

    def answers(self) -> Answers:
        """Ask, and give what was answered: all, or at least `MIN_QUESTIONS` in the given time.

        Raises:
            EvaluationEndedError: `evaluation_superseded` by another model, `model_crashed`,
                `evaluation_timeout` with too few answers, or `agent_stopped`.
        """
        answers = Answers()
        for example in self._plan.examples:
            outcome = self._answer(example, answers)
            if outcome is None:
                break
            answers.verdicts.append(self._verdict(example, outcome))
            # A process that has gone mad may say anything; a record must not.
            most_ms = 1000 * self._timeout_s
            answers.times_ms.append(max(0.0, min(outcome.inference_ms, most_ms)))
            answers.ended_at = self._clock()
        asked, wanted = len(answers.verdicts), len(self._plan.examples)
        if asked < min(MIN_QUESTIONS, wanted):
            raise EvaluationEndedError(
                f"only {asked} of {wanted} questions were asked in {self._timeout_s:g} s",
                code="evaluation_timeout",
            )
        return answers

    def _answer(self, example: Example, answers: Answers) -> Outcome | None:
        """What became of a question; None where there is no time left for it."""
        while True:
            lane = self._turn(answers)
            if lane is None:
                return None
            answers.begun_at = answers.begun_at or self._clock()
            outcome = self._ask(lane, example)
            code = outcome.error[0] if outcome is not None and outcome.error else None
            if outcome is None or code == DeadlineError.code:
                return None
            if code != _CRASHED:
                return outcome
            self._check()
            self._deaths += 1
            if self._deaths >= MAX_DEATHS:
                raise EvaluationEndedError(
                    f"the model process ended {MAX_DEATHS} times meanwhile", code=_CRASHED
                )

    def _turn(self, answers: Answers) -> Lane | None:
        """Wait until it is time for a question and a model is there; None: the time is over."""
        began = self._clock()
        try:
            while self._clock() < self._ends_at:
                self._check()
                lane = self._models.active
                wait_s = self._pace.wait_s()
                if not wait_s and lane is not None and not lane.background:
                    return lane
                self._sleep(min(wait_s or _LOOK_S, _LOOK_S))
            return None
        finally:
            if answers.begun_at:
                answers.waited_s += self._clock() - began

    def _ask(self, lane: Lane, example: Example) -> Outcome | None:
        done = threading.Event()
        given: list[Outcome] = []

        def complete(outcomes: list[Outcome], begun_at: float, model: ModelRef | None) -> None:
            del begun_at, model
            given.extend(outcomes)
            done.set()

        began = time.thread_time()
        task = Task(example.question, example.context, 1)
        self._models.ask(lane, Request([task], self._ends_at, complete, background=True))
        while not done.wait(_LOOK_S):
            if self._clock() >= self._ends_at:
                return None  # what the model is at is forgotten when it is done
            if self._stopping.is_set():
                self._check()
        outcome = given[0]
        self._pace.spend(outcome.cpu_ms / 1000 + time.thread_time() - began)
        return outcome

    def _check(self) -> None:
        """Whether to go on.

        Raises:
            EvaluationEndedError: the agent stops, or another model is active.
        """
        if self._stopping.is_set():
            raise EvaluationEndedError("the agent is stopping", code="agent_stopped")
        lane = self._models.active
        if lane is not None and lane.model.digest != self._plan.model.digest:
            raise EvaluationEndedError(
                f"{lane.model.name} {lane.model.version} took its place",
                code="evaluation_superseded",
            )

    def _verdict(self, example: Example, outcome: Outcome) -> Verdict:
        """Scored as in the workshop: a question that the reader refuses has the empty answer."""
        if outcome.error is not None or not outcome.spans:
            no_answer = 1.0 if outcome.error is not None else outcome.no_answer_score
            return judge(example, "", null_score(0.0, no_answer), self._threshold)
        text, _, _, score = outcome.spans[0]
        return judge(example, text, null_score(score, outcome.no_answer_score), self._threshold)
