"""The answer cache before a dispatcher with two models, one, or none."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import structlog
from structlog.testing import capture_logs
from support.lanes import FakeProcess, activate, join, model

from edgeqa.messages import ModelRef, Quality
from edgeqa_agent.answer_cache import AnswerCache
from edgeqa_agent.answer_cache_store import KeptAnswers
from edgeqa_agent.choice import Limits, Marks
from edgeqa_agent.dispatcher import Dispatcher
from edgeqa_agent.jobs import Outcome, Task
from edgeqa_agent.request import Request

BETTER, QUICKER = model("better"), model("quicker")
LIMITS = Limits(load=Marks(4, 1, 60.0), heat=Marks(80, 75, 60.0))

Answered = tuple[str, bool, str | None, str | None]


class Device:
    """A dispatcher of two models that answer at once, and the cache before it."""

    def __init__(self) -> None:
        self.dispatcher = Dispatcher(
            threads=1, queue_size=20, log=structlog.get_logger(), limits=LIMITS
        )
        self.better = activate(self.dispatcher, BETTER, lambda _: None)
        self.quicker = join(self.dispatcher, QUICKER, lambda _: None)
        self.cache = AnswerCache(
            offer=self.dispatcher.offer,
            expect=self.dispatcher.expect,
            kept=KeptAnswers(most_entries=10, most_bytes=1 << 20),
            most_followers=10,
        )
        self.dispatcher.start()

    def ask(self, quality: Quality | None = None) -> Answered:
        """Text, whether it was kept, model and choice."""
        done: list[Answered] = []

        def complete(outcomes: list[Outcome], begun_at: float, model: ModelRef | None) -> None:
            del begun_at
            name = model.name if model else None
            done.append((outcomes[0].spans[0][0], outcomes[0].cached, name, request.choice))

        request = Request([Task("q", "text", 1)], None, complete, quality=quality)
        assert self.cache.offer(request)
        for process in (self.better, self.quicker):
            self.work(process)
        [answer] = done
        return answer

    def work(self, process: FakeProcess) -> None:
        assert process.lane is not None
        text = process.lane.model.name
        while process.jobs:
            process.done(process.jobs.pop(0), [Outcome([(text, 0, 1, 1.0)], 0.0, 1, 1.0)])


@pytest.fixture
def device() -> Iterator[Device]:
    with capture_logs():
        made = Device()
        yield made
        made.dispatcher.stop()


def test_each_of_two_models_has_answers_of_its_own_and_says_why_it_was_that_one(
    device: Device,
) -> None:
    assert device.ask() == ("better", False, "better", "calm")
    assert device.ask("fast") == ("quicker", False, "quicker", "asked")
    assert device.ask() == ("better", True, "better", "calm")
    assert device.ask("best") == ("better", True, "better", "asked")
    assert device.ask("fast") == ("quicker", True, "quicker", "asked")
    device.dispatcher.look(depth=0, celsius=90.0)
    assert device.ask() == ("quicker", True, "quicker", "heat")


def test_the_other_answers_for_one_that_died_from_what_is_kept_of_its_own(device: Device) -> None:
    device.ask("fast")
    device.better.die()
    assert device.ask("best") == ("quicker", True, "quicker", "alone")


def test_while_a_candidate_is_in_the_shadow_every_question_is_inferred(device: Device) -> None:
    device.ask()
    seen: list[Task] = []
    device.dispatcher.observer = lambda tasks, _: seen.extend(tasks)
    assert [device.ask()[1] for _ in range(3)] == [False] * 3
    assert len(seen) == 3
    device.dispatcher.observer = None
    assert device.ask()[1] is True


def test_without_any_model_a_question_waits_for_one(device: Device) -> None:
    device.better.die()
    device.quicker.die()
    request = Request([Task("q", "text", 1)], None, lambda *_: None)
    assert device.dispatcher.expect(request) is None
    assert device.cache.offer(request)
    assert device.dispatcher.depth == 1
