"""A real dispatcher over model processes that do what a test says."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import structlog

from edgeqa.manifest import Package
from edgeqa.messages import ModelRef
from edgeqa_agent.dispatcher import Dispatcher
from edgeqa_agent.jobs import Done, Job, Outcome, Task
from edgeqa_agent.lane import Lane
from edgeqa_agent.model_process import ModelProcess

Answer = Callable[[Task], Outcome | None]


def model(name: str = "a") -> ModelRef:
    digest = f"sha256:{(name.encode().hex() * 64)[:64]}"
    return ModelRef(name=name, version="1.0.0", digest=digest)


class FakeProcess:
    """Answers each job at once with what `answer` says; None: not yet."""

    def __init__(self, ref: ModelRef, answer: Answer) -> None:
        self.package = cast("Package", SimpleNamespace(ref=ref, digest=ref.digest))
        self.pid = 0
        self.jobs: list[Job] = []
        self.stopped = False
        self.killed = False
        self.dispatcher: Dispatcher | None = None
        self.lane: Lane | None = None
        self._answer = answer

    def submit(self, job: Job) -> None:
        self.jobs.append(job)
        outcomes = [self._answer(task) for task in job.tasks]
        if all(outcomes):
            self.done(job, [outcome for outcome in outcomes if outcome])

    def done(self, job: Job, outcomes: list[Outcome]) -> None:
        assert self.dispatcher is not None
        assert self.lane is not None
        self.dispatcher.on_done(self.lane, Done(job.number, time.monotonic(), outcomes))

    def die(self) -> None:
        assert self.dispatcher is not None
        assert self.lane is not None
        self.dispatcher.on_exit(self.lane)

    def kill(self) -> None:
        self.killed = True

    def stop(self) -> None:
        self.stopped = True


def make_dispatcher() -> Dispatcher:
    return Dispatcher(threads=1, queue_size=2, log=structlog.get_logger())


def activate(dispatcher: Dispatcher, ref: ModelRef, answer: Answer) -> FakeProcess:
    """Make a process with this model the active one."""
    process, lane = _add(dispatcher, ref, answer)
    dispatcher.exchange(lane)
    return process


def join(dispatcher: Dispatcher, ref: ModelRef, answer: Answer) -> FakeProcess:
    """Put a process with this model beside the active one."""
    process, lane = _add(dispatcher, ref, answer)
    dispatcher.accompany(lane)
    return process


def _add(dispatcher: Dispatcher, ref: ModelRef, answer: Answer) -> tuple[FakeProcess, Lane]:
    process = FakeProcess(ref, answer)
    lane = Lane(cast("ModelProcess", cast("Any", process)))
    process.dispatcher, process.lane = dispatcher, lane
    dispatcher.add(lane)
    return process, lane
