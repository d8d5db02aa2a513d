"""Sockets and timers of many clients in one thread."""

from __future__ import annotations

import heapq
import itertools
import selectors
import socket
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

# How long the loop sleeps at most, so that a stop that a signal asked for is seen.
_LONGEST_SLEEP_S = 0.2
# Timers run before sockets are looked at again: one slow device must not starve all others.
_TIMERS_AT_ONCE = 1000


@dataclass(order=True, slots=True)
class Timer:
    """A call to come; `cancel` takes it back."""

    when: float
    number: int
    callback: Callable[[], None] | None = field(compare=False)

    def cancel(self) -> None:
        """It will not be called; idempotent."""
        self.callback = None


class EventLoop:
    """One thread's waiting. Thread: only the one that calls `run`, but for `stop`.

    Args:
        clock: seconds that never go back.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._selector = selectors.DefaultSelector()
        self._timers: list[Timer] = []
        self._numbers = itertools.count()
        self._soon: deque[Callable[[], None]] = deque()
        self.stopped = False

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        """Call back at a time of `clock`."""
        timer = Timer(when, next(self._numbers), callback)
        heapq.heappush(self._timers, timer)
        return timer

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Timer:
        """Call back after a while."""
        return self.call_at(self.clock() + delay_s, callback)

    def call_every(self, interval_s: float, callback: Callable[[], None], *, phase: float) -> None:
        """Call back at intervals, for ever; steps that are late are left out, not made up for.

        Args:
            phase: where in the interval it begins, 0 to 1.
        """

        def step(due: float) -> None:
            callback()
            again = max(due + interval_s, self.clock())
            self.call_at(again, lambda: step(again))

        first = self.clock() + phase * interval_s
        self.call_at(first, lambda: step(first))

    def call_soon(self, callback: Callable[[], None]) -> None:
        """Call back before the loop sleeps again."""
        self._soon.append(callback)

    def watch(
        self, sock: socket.socket, ready: Callable[[int], None], *, write: bool = False
    ) -> None:
        """Call `ready` with a mask of `selectors` whenever the socket can be read, or written."""
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if write else 0)
        if sock in self._selector.get_map():
            self._selector.modify(sock, events, ready)
        else:
            self._selector.register(sock, events, ready)

    def forget(self, sock: socket.socket) -> None:
        """Watch a socket no longer; before it is closed. Idempotent."""
        if sock in self._selector.get_map():
            self._selector.unregister(sock)

    def stop(self) -> None:
        """Make `run` return, and every later one, until `resume`; safe in a signal handler."""
        self.stopped = True

    def resume(self) -> None:
        """Let `run` run again."""
        self.stopped = False

    def run(
        self, *, until: Callable[[], bool] = lambda: False, timeout_s: float | None = None
    ) -> None:
        """Serve until `stop`, until something holds, or for so long."""
        deadline = None if timeout_s is None else self.clock() + timeout_s
        while not (self.stopped or until()):
            if deadline is not None and self.clock() >= deadline:
                return
            self.turn(deadline)

    def turn(self, deadline: float | None = None) -> None:
        """Wait for the next event, at most a short while, and serve what is due."""
        for key, mask in self._selector.select(self._sleep_s(deadline)):
            # One callback may have ended the connection of a later one.
            if self._selector.get_map().get(key.fd) is key:
                key.data(mask)
        now = self.clock()
        for _ in range(_TIMERS_AT_ONCE):
            if not self._timers or self._timers[0].when > now:
                break
            timer = heapq.heappop(self._timers)
            if timer.callback is not None:
                timer.callback()
        while self._soon:
            self._soon.popleft()()

    def close(self) -> None:
        """Watch nothing any more."""
        self._selector.close()

    def _sleep_s(self, deadline: float | None) -> float:
        if self._soon:
            return 0.0
        while self._timers and self._timers[0].callback is None:
            heapq.heappop(self._timers)
        ends = [end for end in (deadline, self._timers[0].when if self._timers else None) if end]
        left = min(ends, default=float("inf")) - self.clock()
        return min(_LONGEST_SLEEP_S, max(0.0, left))


class Turnstile:
    """Lets callers through one by one, so many a second: a broker that came back is not overrun.

    Args:
        rate: callers a second.
    """

    # Callers that may pass at once after a rest are those of this time.
    _BURST_S = 0.05

    def __init__(self, *, loop: EventLoop, rate: float) -> None:
        self._loop = loop
        self._rate = rate
        self._waiting: deque[Callable[[], None]] = deque()
        self._free_at = 0.0
        self._timer: Timer | None = None

    def enter(self, callback: Callable[[], None]) -> None:
        """Call back as soon as it is this caller's turn."""
        self._waiting.append(callback)
        if self._timer is None:
            self._let_through()

    def __len__(self) -> int:
        return len(self._waiting)

    def _let_through(self) -> None:
        self._timer = None
        now = self._loop.clock()
        self._free_at = max(self._free_at, now - self._BURST_S)
        while self._waiting and self._free_at <= now:
            self._free_at += 1.0 / self._rate
            self._waiting.popleft()()
        if self._waiting:
            self._timer = self._loop.call_at(self._free_at, self._let_through)
