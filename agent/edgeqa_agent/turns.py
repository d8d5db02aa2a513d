"""Whose window is read next, and with how many cores.

The requests that a model process has in hand take turns, a window each, so that a long text or a
large batch takes longer and holds up nobody. Under load a window gets one core: several inferences
with one thread each have no barriers between threads. The windows of a request that is alone are
read as many at a time as there are cores; those that are left when fewer than that remain get all
cores, one after the other. So one short question has the shortest latency.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

WindowT = TypeVar("WindowT")


@dataclass(slots=True, eq=False)
class Line(Generic[WindowT]):
    """A request's windows that are ready and not begun, and how many are being read."""

    ready: deque[WindowT] = field(default_factory=deque)
    reading: int = 0


@dataclass(frozen=True, slots=True)
class Turn(Generic[WindowT]):
    """A window to read, the cores that it holds, and whether those are all."""

    line: Line[WindowT]
    window: WindowT
    cores: int
    alone: bool


class Turns(Generic[WindowT]):
    """Shares out cores.

    Thread: callers hold one lock.
    """

    def __init__(self, cores: int) -> None:
        self._cores = cores
        self._free = cores
        self._reading = 0
        self._lines: deque[Line[WindowT]] = deque()  # those with a window that is ready
        self._together = 0  # windows of the one request that may still begin side by side

    @property
    def could_begin(self) -> bool:
        """Whether there are a window and a core; the core may have to wait for the others."""
        return bool(self._free and self._lines)

    def offer(self, line: Line[WindowT], windows: list[WindowT]) -> None:
        """Windows of a request have become ready, in their order."""
        if windows and not line.ready:
            self._lines.append(line)
        line.ready.extend(windows)

    def take(self, *, expected: Callable[[], bool]) -> Turn[WindowT] | None:
        """The next window, if there is one and a core for it.

        Args:
            expected: whether other windows will be ready in a moment.
        """
        if not self._free or not self._lines:
            return None
        line = self._lines[0]
        cores = 1
        if len(self._lines) > 1 or self._reading > line.reading or expected():
            self._together = 0
        else:
            cores = self._cores_of_one(len(line.ready))
        if not cores:
            return None
        self._lines.popleft()
        window = line.ready.popleft()
        if line.ready:
            self._lines.append(line)
        line.reading += 1
        self._reading += 1
        self._free -= cores
        return Turn(line, window, cores, alone=cores == self._cores)

    def end(self, turn: Turn[WindowT]) -> None:
        """A window is read."""
        turn.line.reading -= 1
        self._reading -= 1
        self._free += turn.cores

    def _cores_of_one(self, ready: int) -> int:
        """For the next window of the only request; 0 where its last ones wait for all cores.

        Windows of one text are equally long but for the last, so those that began together end
        together, and this waits for little.
        """
        if not self._together and ready >= self._cores:
            self._together = self._cores
        if self._together:
            self._together -= 1
            return 1
        return self._cores if self._free == self._cores else 0
