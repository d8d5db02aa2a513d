"""The supervisor replaces what dies, falls back from what keeps dying, and may have to end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
import structlog

from edgeqa.errors import ModelLoadError
from edgeqa.manifest import Package
from edgeqa.messages import ModelRef
from edgeqa.scores import Forced
from edgeqa_agent.dispatcher import Dispatcher
from edgeqa_agent.jobs import Done, Job, Outcome, Task
from edgeqa_agent.lane import Lane
from edgeqa_agent.loader import Loader
from edgeqa_agent.model_process import ModelProcess
from edgeqa_agent.request import Request
from edgeqa_agent.supervisor import MAX_DEATHS, Supervisor

OUTCOME = Outcome([("a", 0, 1, 1.0)], 0.0, 1, 1.0)


def package(name: str, *, forced: Forced | None = None) -> Package:
    manifest = SimpleNamespace(name=name, version="1.0.0", forced=forced)
    ref = ModelRef(name=name, version="1.0.0", digest=f"sha256:{name}")
    return cast("Package", SimpleNamespace(manifest=manifest, path=name, digest=name, ref=ref))


class Process:
    """A model process that a test lets answer or die."""

    def __init__(
        self, package: Package, on_done: Callable[[Done], None], on_exit: Callable[[], None]
    ) -> None:
        self.package = package
        self.pid = 1
        self.jobs: list[Job] = []
        self.stopped = False
        self._on_done = on_done
        self._on_exit = on_exit

    def start(self, *, timeout_s: float) -> Any:
        if self.package.manifest.name == "broken":
            raise ModelLoadError("broken")
        return SimpleNamespace(scores=SimpleNamespace(f1=100.0, load_ms=1.0))

    def submit(self, job: Job) -> None:
        self.jobs.append(job)

    def answer(self) -> None:
        job = self.jobs.pop(0)
        self._on_done(Done(job.number, time.monotonic(), [OUTCOME] * len(job.tasks)))

    def die(self) -> None:
        self._on_exit()

    kill = die

    def stop(self) -> None:
        self.stopped = True


class Fallbacks:
    def __init__(self, *instead: Package) -> None:
        self.instead = list(instead)
        self.gave_up: list[str] = []
        self.lanes: list[Lane] = []

    def give_up(self, package: Package) -> Package | None:
        self.gave_up.append(package.manifest.name)
        return self.instead.pop(0) if self.instead else None

    def replaced(self, lane: Lane) -> None:
        self.lanes.append(lane)


class Bench:
    """A dispatcher and a supervisor over processes in a list."""

    def __init__(self, *instead: Package, timeout_s: float = 60.0) -> None:
        log = structlog.get_logger()
        self.made: list[Process] = []
        self.answered: list[tuple[str, str | None]] = []
        self.fallbacks = Fallbacks(*instead)
        self.dispatcher = Dispatcher(threads=1, queue_size=10, log=log)

        def make(
            package: Package, *, on_done: Callable[[Done], None], on_exit: Callable[[], None]
        ) -> ModelProcess:
            self.made.append(Process(package, on_done, on_exit))
            return cast("ModelProcess", cast("Any", self.made[-1]))

        self.loader = Loader(
            dispatcher=self.dispatcher, make_process=make, start_timeout_s=1, log=log
        )
        self.supervisor = Supervisor(
            dispatcher=self.dispatcher, loader=self.loader, fallbacks=self.fallbacks,
            inference_timeout_s=timeout_s, log=log,
        )  # fmt: skip

    def lane(self, package: Package) -> Lane:
        lane = self.loader.prepare(package)
        self.loader.load(lane)
        return lane

    def begin(self, package: Package) -> None:
        self.supervisor.exchange(self.lane(package))
        self.dispatcher.start()
        self.supervisor.start()

    def ask(self, name: str = "q") -> None:
        def complete(outcomes: list[Outcome], begun_at: float, model: ModelRef | None) -> None:
            error = outcomes[0].error
            said = error[0] if error else (model.name if model else None)
            self.answered.append((name, said))

        assert self.dispatcher.offer(Request([Task(name, "c", 1)], None, complete))

    def end(self) -> None:
        self.dispatcher.stop()
        self.supervisor.join()


@pytest.fixture
def start() -> Iterator[Callable[..., Bench]]:
    benches: list[Bench] = []

    def make(*instead: Package, timeout_s: float = 60.0) -> Bench:
        benches.append(Bench(*instead, timeout_s=timeout_s))
        return benches[-1]

    yield make
    for bench in benches:
        bench.end()


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_questions_of_a_dead_process_are_asked_again(start: Callable[..., Bench]) -> None:
    bench = start()
    bench.begin(package("a"))
    bench.ask()
    bench.made[0].die()
    until(lambda: len(bench.made) == 2 and bool(bench.made[1].jobs))
    bench.made[1].answer()
    assert bench.answered == [("q", "a")]
    assert [lane.model.name for lane in bench.fallbacks.lanes] == ["a"]


def test_a_model_that_keeps_dying_is_given_up_for_another(start: Callable[..., Bench]) -> None:
    bench = start(package("b"))
    bench.begin(package("a"))
    for deaths in range(MAX_DEATHS):
        until(lambda deaths=deaths: len(bench.made) == deaths + 1)  # type: ignore[misc]
        until(lambda: bench.dispatcher.active is not None)
        bench.made[-1].die()
    until(lambda: len(bench.made) == MAX_DEATHS + 1)
    until(lambda: bench.dispatcher.active is not None)
    assert bench.fallbacks.gave_up == ["a"]
    assert bench.dispatcher.model == package("b").ref
    bench.ask()
    bench.made[-1].answer()
    assert bench.answered == [("q", "b")]


def test_a_fallback_that_does_not_load_is_given_up_too(start: Callable[..., Bench]) -> None:
    bench = start(package("broken"))
    bench.begin(package("a"))
    for deaths in range(MAX_DEATHS):
        until(lambda deaths=deaths: len(bench.made) == deaths + 1)  # type: ignore[misc]
        until(lambda: bench.dispatcher.active is not None)
        bench.made[-1].die()
    until(lambda: bench.supervisor.gave_up)
    assert bench.fallbacks.gave_up == ["a", "broken"]
    with pytest.raises(AssertionError):
        bench.ask()


def test_an_exchange_lets_the_old_process_finish(start: Callable[..., Bench]) -> None:
    bench = start()
    bench.begin(package("a"))
    bench.ask("before")
    swap = threading.Thread(target=bench.supervisor.exchange, args=(bench.lane(package("b")),))
    swap.start()
    until(lambda: bench.dispatcher.model == package("b").ref)
    bench.ask("after")
    bench.made[1].answer()
    assert not bench.made[0].stopped
    bench.made[0].answer()
    swap.join(5)
    assert bench.made[0].stopped
    assert bench.answered == [("after", "b"), ("before", "a")]


@pytest.mark.parametrize("hangs", [False, True])
def test_an_old_process_that_dies_or_hangs_after_the_exchange_loses_no_question(
    start: Callable[..., Bench], *, hangs: bool
) -> None:
    bench = start(timeout_s=0.2 if hangs else 60.0)
    bench.begin(package("a"))
    bench.ask()
    swap = threading.Thread(target=bench.supervisor.exchange, args=(bench.lane(package("b")),))
    swap.start()
    until(lambda: bench.dispatcher.model == package("b").ref)
    if not hangs:
        bench.made[0].die()
    until(lambda: bool(bench.made[1].jobs))
    bench.made[1].answer()
    swap.join(5)
    assert not swap.is_alive()
    assert bench.answered == [("q", "b")]
    assert len(bench.made) == 2


def test_a_candidate_that_died_after_its_proof_changes_nothing(
    start: Callable[..., Bench],
) -> None:
    bench = start()
    bench.begin(package("a"))
    lane = bench.lane(package("b"))
    bench.made[1].die()
    with pytest.raises(ModelLoadError) as caught:
        bench.supervisor.exchange(lane)
    assert caught.value.code == "model_crashed"
    assert bench.dispatcher.model == package("a").ref
    bench.ask()
    bench.made[0].answer()
    assert bench.answered == [("q", "a")]


def test_a_question_to_one_lane_is_refused_when_that_dies_and_never_asked_elsewhere(
    start: Callable[..., Bench],
) -> None:
    bench = start()
    bench.begin(package("a"))
    lane = bench.lane(package("b"))
    codes: list[str] = []

    def complete(outcomes: list[Outcome], begun_at: float, model: ModelRef | None) -> None:
        assert outcomes[0].error is not None
        codes.append(outcomes[0].error[0])

    for _ in range(2):
        bench.dispatcher.ask(lane, Request([Task("q", "c", 1)], None, complete))
        bench.made[1].die()
    assert codes == ["model_crashed", "model_crashed"]
    assert not bench.made[0].jobs


def test_a_forced_model_is_named_in_the_log(start: Callable[..., Bench]) -> None:
    forced = Forced(
        reason="a drill", exact_match_lost=3, f1_lost=2, max_exact_match_loss=1, max_f1_loss=0.5
    )
    with structlog.testing.capture_logs() as logs:
        bench = start()
        bench.begin(package("a", forced=forced))
    [warning] = [entry for entry in logs if entry["event"] == "model_was_forced"]
    assert (warning["log_level"], warning["reason"]) == ("warning", "a drill")
