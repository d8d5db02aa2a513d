"""Sees to it that a model serves: replaces a process that died, ends one that hangs.

A model that keeps dying is given up for another, if there is one; otherwise the agent is.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Protocol

from structlog.typing import FilteringBoundLogger

from edgeqa.errors import EdgeqaError
from edgeqa.manifest import Package
from edgeqa_agent.dispatcher import Dispatcher
from edgeqa_agent.lane import Lane
from edgeqa_agent.loader import Loader

# A model that dies so often within the time is not going to serve.
MAX_DEATHS = 5
DEATHS_WITHIN_S = 120.0
_TICK_S = 0.5


class ModelGivenUpError(EdgeqaError):
    """A model that loads and answers its checks dies again and again; a restart may help."""

    code = "model_given_up"


class Fallbacks(Protocol):
    """Who knows what else could serve."""

    def give_up(self, package: Package) -> Package | None:
        """The package to serve instead of one that keeps dying; None if there is none."""

    def replaced(self, lane: Lane) -> None:
        """A lane has become active in place of one that died."""


class Supervisor:
    """Watches over a dispatcher's lanes in a thread of its own.

    Args:
        dispatcher: whose lanes.
        loader: makes new ones.
        fallbacks: asked when a model keeps dying.
        inference_timeout_s: a process that is longer at one job hangs.
        log: for what happens.
    """

    def __init__(
        self,
        *,
        dispatcher: Dispatcher,
        loader: Loader,
        fallbacks: Fallbacks,
        inference_timeout_s: float,
        log: FilteringBoundLogger,
    ) -> None:
        self._dispatcher = dispatcher
        self._loader = loader
        self._fallbacks = fallbacks
        self._inference_timeout_s = inference_timeout_s
        self._log = log
        self._package: Package | None = None
        self._deaths: deque[float] = deque()
        self._gave_up = threading.Event()
        self._thread = threading.Thread(target=self._guarded, name="supervisor", daemon=True)

    @property
    def gave_up(self) -> bool:
        """Whether no model is left to serve."""
        return self._gave_up.is_set()

    def start(self) -> None:
        """Begin to watch, after the first `exchange`."""
        self._thread.start()

    def join(self) -> None:
        """Wait for the thread's end, after the dispatcher was stopped."""
        if self._thread.is_alive():
            self._thread.join()

    def exchange(self, lane: Lane) -> None:
        """Make a loaded lane the one that serves, and the one that is replaced when it dies.

        Raises:
            ModelLoadError: as `Dispatcher.exchange`; what served before still does.
        """
        before, self._package = self._package, lane.process.package
        try:
            self._dispatcher.exchange(lane)
        except EdgeqaError:
            self._package = before
            raise
        self._deaths.clear()

    def _guarded(self) -> None:
        try:
            self._watch()
        except Exception:  # noqa: BLE001  a thread's edge; logged with its traceback
            self._log.exception("supervisor_failed")
            self._end()

    def _watch(self) -> None:
        while True:
            hanging = self._dispatcher.await_trouble(
                inference_timeout_s=self._inference_timeout_s, wait_s=_TICK_S
            )
            if hanging is None:
                return
            for lane in hanging:
                self._log.error("model_process_hangs", pid=lane.process.pid)
                lane.process.kill()
            if self._dispatcher.active is None and not self._replace():
                self._end()
                return

    def _replace(self) -> bool:
        """Try once to have an active lane again; False where nothing is left to try."""
        package = self._package
        if package is None or self._keeps_dying():
            package = self._fallbacks.give_up(package) if package else None
            if package is None:
                return False
            self._package = package
            self._deaths.clear()
        lane = self._loader.prepare(package)
        try:
            self._loader.load(lane)
            if self._dispatcher.exchange(lane, only_if_none=True):
                self._fallbacks.replaced(lane)
        except EdgeqaError as error:
            self._log.error("model_restart_failed", code=error.code, reason=str(error))
            self._dispatcher.pause(_TICK_S)
        return True

    def _keeps_dying(self) -> bool:
        now = time.monotonic()
        self._deaths.append(now)
        while now - self._deaths[0] > DEATHS_WITHIN_S:
            self._deaths.popleft()
        return len(self._deaths) >= MAX_DEATHS

    def _end(self) -> None:
        self._log.critical("model_given_up", deaths=len(self._deaths))
        self._gave_up.set()
        self._dispatcher.close()
