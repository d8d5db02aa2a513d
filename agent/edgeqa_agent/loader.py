"""Loads a package into a process of its own, beside whatever serves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from structlog.typing import FilteringBoundLogger

from edgeqa.manifest import Package
from edgeqa_agent.dispatcher import Dispatcher
from edgeqa_agent.jobs import Done, Ready
from edgeqa_agent.lane import Lane
from edgeqa_agent.model_process import ModelProcess


class MakeProcess(Protocol):
    """Makes a process for a package; not started."""

    def __call__(
        self, package: Package, *, on_done: Callable[[Done], None], on_exit: Callable[[], None]
    ) -> ModelProcess:
        """See `ModelProcess`."""


class Loader:
    """Makes lanes for a dispatcher. Thread: from any thread."""

    def __init__(
        self,
        *,
        dispatcher: Dispatcher,
        make_process: MakeProcess,
        start_timeout_s: float,
        log: FilteringBoundLogger,
    ) -> None:
        self._dispatcher = dispatcher
        self._make_process = make_process
        self._start_timeout_s = start_timeout_s
        self._log = log

    def prepare(self, package: Package) -> Lane:
        """A lane whose process is not started; `lane.process.stop` aborts its `load`."""
        lane = Lane(
            self._make_process(
                package,
                on_done=lambda done: self._dispatcher.on_done(lane, done),
                on_exit=lambda: self._dispatcher.on_exit(lane),
            )
        )
        return lane

    def load(self, lane: Lane) -> Ready:
        """Start a lane's process and wait until its model is loaded and proven.

        Raises:
            EdgeqaError: the model cannot be loaded or proven; its process has ended.
        """
        self._dispatcher.add(lane)
        try:
            lane.ready = lane.process.start(timeout_s=self._start_timeout_s)
        except BaseException:
            self._dispatcher.discard(lane)
            raise
        self._tell(lane.process, lane.ready)
        return lane.ready

    def _tell(self, process: ModelProcess, ready: Ready) -> None:
        manifest = process.package.manifest
        self._log.info(
            "model_ready",
            model=manifest.name,
            version=manifest.version,
            package=str(process.package.path),
            pid=process.pid,
            load_ms=round(ready.scores.load_ms),
            checks_f1=ready.scores.f1,
        )
        if manifest.forced is not None:
            self._log.warning(
                "model_was_forced", reason=manifest.forced.reason, f1_lost=manifest.forced.f1_lost
            )
