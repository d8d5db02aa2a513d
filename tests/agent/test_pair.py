"""The dispatcher with two models: who is asked, and what a death or a swap of one does."""

from __future__ import annotations

import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
import structlog
from structlog.testing import capture_logs
from support.lanes import FakeProcess, activate, join, model

from edgeqa.errors import ModelLoadError
from edgeqa.messages import ModelRef, Quality
from edgeqa_agent.choice import Limits, Marks
from edgeqa_agent.dispatcher import Dispatcher
from edgeqa_agent.jobs import Outcome, Ready, Task
from edgeqa_agent.lane import Lane
from edgeqa_agent.order import SPARE
from edgeqa_agent.request import Request
from edgeqa_agent.speed import Speed

OUTCOME = Outcome([("x", 0, 1, 1.0)], 0.0, 1, 1.0)
BETTER, QUICKER = model("better"), model("quicker")
LIMITS = Limits(load=Marks(4, 1, 60.0), heat=Marks(80, 75, 60.0))


class Pair:
    """A dispatcher of one thread with two processes that answer when told."""

    def __init__(self, limits: Limits | None = LIMITS) -> None:
        self.dispatcher = Dispatcher(
            threads=1, queue_size=20, log=structlog.get_logger(), limits=limits
        )
        self.better = activate(self.dispatcher, BETTER, lambda _: None)
        self.quicker = join(self.dispatcher, QUICKER, lambda _: None)
        self.done: list[tuple[str, ModelRef | None, Request]] = []
        self.dispatcher.start()

    def ask(self, name: str = "q", *, quality: Quality | None = None, **more: Any) -> Request:
        def complete(outcomes: list[Outcome], begun_at: float, model: ModelRef | None) -> None:
            del outcomes, begun_at
            self.done.append((name, model, request))

        stop_at = more.pop("stop_at", None)
        request = Request([Task(name, "text", 1)], stop_at, complete, quality=quality, **more)
        assert self.dispatcher.offer(request)
        return request

    def answer(self, process: FakeProcess) -> None:
        """The oldest job that it has not answered."""
        process.done(process.jobs.pop(0), [OUTCOME])

    def wait(self, process: FakeProcess, jobs: int) -> None:
        """Until the dispatching thread has brought it so many."""
        deadline = time.monotonic() + 10
        while len(process.jobs) < jobs:
            assert time.monotonic() < deadline
            time.sleep(0.001)

    def speeds(self, better_ms: float, quicker_ms: float) -> None:
        """What the check questions took."""
        for process, ms in ((self.better, better_ms), (self.quicker, quicker_ms)):
            assert process.lane is not None
            process.lane.ready = cast("Ready", SimpleNamespace(scores=SimpleNamespace(p50_ms=ms)))


@pytest.fixture
def pair() -> Iterator[Pair]:
    with capture_logs():
        made = Pair()
        yield made
        made.dispatcher.stop()


def names(process: FakeProcess) -> list[str]:
    return [job.tasks[0].question for job in process.jobs]


def test_quality_says_which_model_is_asked(pair: Pair) -> None:
    chosen = [pair.ask(str(q), quality=q).choice for q in ("fast", "best", "balanced")]
    assert chosen == ["asked", "asked", "calm"]
    assert (names(pair.quicker), names(pair.better)) == (["fast"], ["best", "balanced"])


def test_a_long_queue_and_a_hot_processor_speak_for_the_quicker_one(pair: Pair) -> None:
    assert [pair.ask(str(n)).choice for n in range(4)] == ["calm", "calm", "calm", "load"]
    assert names(pair.quicker) == ["3"]

    other = Pair()
    other.dispatcher.look(depth=0, celsius=80.0)
    assert other.ask().choice == "heat"
    other.dispatcher.stop()


def test_both_models_together_get_no_more_than_one_would(pair: Pair) -> None:
    for turn in range(12):
        pair.ask(str(turn), quality="fast" if turn % 2 else "best")
    assert len(pair.better.jobs) + len(pair.quicker.jobs) == 1 + SPARE
    pair.answer(pair.better)
    pair.wait(pair.better, 2)
    assert len(pair.better.jobs) + len(pair.quicker.jobs) == 1 + SPARE


@pytest.mark.parametrize(
    ("left_ms", "choice"), [(1000.0, "calm"), (300.0, "deadline"), (5.0, "deadline")]
)
def test_a_deadline_that_the_better_one_would_miss_speaks_for_the_quicker_one(
    pair: Pair, left_ms: float, choice: str
) -> None:
    pair.speeds(better_ms=630 * 4, quicker_ms=630)  # 4 and 1 ms for a character: 420 and 105 ms
    assert pair.ask(stop_at=time.monotonic() + left_ms / 1000).choice == choice


def test_what_runs_before_counts_against_a_deadline(pair: Pair) -> None:
    pair.speeds(better_ms=630 * 4, quicker_ms=630)
    stop_at = time.monotonic() + 0.7
    assert pair.ask(stop_at=stop_at).choice == "calm"
    assert pair.ask(stop_at=stop_at).choice == "deadline"


def test_where_one_is_missing_the_other_answers_everything(pair: Pair) -> None:
    pair.quicker.die()
    assert pair.dispatcher.companion is None
    assert pair.ask("1", quality="fast").choice == "alone"
    pair.answer(pair.better)
    pair.quicker = join(pair.dispatcher, QUICKER, lambda _: None)
    pair.better.die()
    assert pair.dispatcher.active is None
    assert pair.ask("2", quality="best").choice == "alone"
    assert names(pair.quicker) == ["2"]


def test_questions_of_a_model_that_dies_go_to_the_other_one_by_one(pair: Pair) -> None:
    for turn in range(3):
        pair.ask(str(turn), quality="best")
    pair.better.die()
    for turn in range(3):
        pair.wait(pair.quicker, 1)
        assert names(pair.quicker) == [str(turn)]  # any of them may have killed the first
        pair.answer(pair.quicker)
    assert [(name, model) for name, model, _ in pair.done] == [(n, QUICKER) for n in "012"]


def test_a_question_that_kills_both_is_refused(pair: Pair) -> None:
    outcomes: list[Outcome] = []
    request = pair.ask("poison", quality="best")
    request.complete = lambda all_, *_: outcomes.extend(all_)
    pair.better.die()
    pair.wait(pair.quicker, 1)
    pair.quicker.die()
    assert [outcome.error[0] for outcome in outcomes if outcome.error] == ["model_crashed"]


def test_a_swap_keeps_the_companion_and_its_questions(pair: Pair) -> None:
    pair.ask("kept", quality="fast")
    newer = activate(pair.dispatcher, model("newer"), lambda _: None)
    assert pair.dispatcher.companion is pair.quicker.lane
    assert (pair.better.stopped, pair.quicker.stopped) == (True, False)
    pair.ask("new", quality="best")
    assert names(newer) == ["new"]
    pair.answer(pair.quicker)
    assert [(name, model) for name, model, _ in pair.done] == [("kept", QUICKER)]


def test_the_same_model_twice_is_no_choice(pair: Pair) -> None:
    again = activate(pair.dispatcher, QUICKER, lambda _: None)
    assert pair.ask(quality="fast").choice == "alone"
    assert len(again.jobs) == 1


def test_a_candidate_in_the_shadow_is_compared_with_the_active_model_only(pair: Pair) -> None:
    seen: list[str] = []
    pair.dispatcher.observer = lambda tasks, _: seen.append(tasks[0].question)
    for quality in ("fast", "best"):
        pair.ask(quality, quality=cast("Quality", quality))
    pair.answer(pair.quicker)
    pair.answer(pair.better)
    assert seen == ["best"]


def test_one_that_died_after_it_was_proven_does_not_become_the_companion(pair: Pair) -> None:
    pair.quicker.die()
    lane = Lane(cast("Any", FakeProcess(QUICKER, lambda _: None)), dead=True)
    pair.dispatcher.add(lane)
    with pytest.raises(ModelLoadError) as caught:
        pair.dispatcher.accompany(lane)
    assert caught.value.code == "model_crashed"
    assert pair.dispatcher.companion is None


def test_without_limits_there_is_no_choice() -> None:
    with capture_logs():
        alone = Pair(limits=None)
        alone.quicker.die()
        assert alone.ask(quality="fast").choice is None
        assert len(alone.better.jobs) == 1
        alone.dispatcher.stop()


def test_a_bad_moment_of_a_model_is_forgotten() -> None:
    speed = Speed()
    assert speed.expect_ms(430, 0.0, check_ms=None) == 0.0
    assert speed.expect_ms(530, 0.0, check_ms=63.0) == pytest.approx(63.0)
    for _ in range(3):
        speed.learn(430, 5300.0, 0.0)  # 10 ms for a character in place of 0.1
    assert speed.expect_ms(530, 0.0, check_ms=63.0) == pytest.approx(6300.0)
    assert speed.expect_ms(530, 60.0, check_ms=63.0) == pytest.approx((6300 + 63) / 2)
    assert speed.expect_ms(530, 1200.0, check_ms=63.0) == pytest.approx(63.0, rel=0.001)
