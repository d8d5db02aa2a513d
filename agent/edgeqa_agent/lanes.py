"""The model processes there are: which of them serve, which hang, and when none is left."""

from __future__ import annotations

import threading
import time

from edgeqa.errors import ModelLoadError
from edgeqa.messages import ModelRef
from edgeqa_agent.choice import Limits
from edgeqa_agent.lane import Lane
from edgeqa_agent.pair import Pair


class Lanes:
    """Those of one dispatcher, which is one of these. Thread: any.

    Args:
        threads: of each model.
        limits: of the choice between two models; None: there is only one.
    """

    def __init__(self, *, threads: int, limits: Limits | None = None) -> None:
        lock = threading.RLock()
        self._changed = threading.Condition(lock)
        self._due = threading.Condition(lock)  # a request may be sent, or the dispatcher stops
        self._pair = Pair(threads=threads, limits=limits)
        self._lanes: list[Lane] = []
        self._stopping = False

    @property
    def active(self) -> Lane | None:
        """The lane of the model that the fleet wishes for; None while there is none."""
        return self._pair.active

    @property
    def companion(self) -> Lane | None:
        """The lane of the quicker model beside it; None while there is none."""
        return self._pair.companion

    @property
    def model(self) -> ModelRef | None:
        """The model that the fleet wishes for, while it answers."""
        active = self._pair.active
        return active.model if active else None

    @property
    def companion_model(self) -> ModelRef | None:
        """The quicker model beside it, while it answers."""
        companion = self._pair.companion
        return companion.model if companion else None

    @property
    def pids(self) -> list[int]:
        """Of the model processes."""
        with self._changed:
            return [lane.process.pid for lane in self._lanes]

    def add(self, lane: Lane) -> None:
        """Watch over a lane, and end its process with all others.

        Raises:
            ModelLoadError: `agent_stopped`, it is too late for another one.
        """
        with self._changed:
            if self._stopping:
                raise ModelLoadError("the agent is stopping", code="agent_stopped")
            self._lanes.append(lane)

    def look(self, *, depth: int, celsius: float | None) -> None:
        """Note how many requests there are, and the temperature of the processor."""
        with self._changed:
            self._pair.celsius = celsius
            self._pair.look(time.monotonic(), depth=depth)

    def await_trouble(self, *, inference_timeout_s: float, wait_s: float) -> list[Lane] | None:
        """Wait for something to supervise, at most `wait_s`.

        Returns:
            Lanes whose process hangs; None when the dispatcher has stopped.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._stopping or self._pair.active is None, wait_s)
            if self._stopping:
                return None
            return [lane for lane in self._lanes if lane.hangs(inference_timeout_s)]

    def pause(self, seconds: float) -> None:
        """Sleep, unless the dispatcher stops."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopping, seconds)
