"""Live events on their way from the thread that finds changes to the browsers that wait for them.

A listener that does not keep up gets one event of each kind instead of what it missed: each kind
means "look again", so nothing is lost by that but detail.

Thread: `offer` and `close` from any; the rest from the event loop that made the listener.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

KINDS = ("fleet", "device", "rollout", "audit", "packages")
# Events that wait for one reader: some seconds of a large fleet.
MAX_WAITING = 256


@dataclass(frozen=True, slots=True)
class Event:
    """Something changed.

    Attributes:
        kind: one of `KINDS`.
        data: what, as far as it helps to look again.
        number: counts up, from the start of the process.
    """

    kind: str
    data: Mapping[str, Any] = field(default_factory=dict)
    number: int = 0

    def text(self, epoch: str) -> bytes:
        """As a stream of server-sent events has it."""
        data = json.dumps(self.data, separators=(",", ":"))
        return f"id: {epoch}-{self.number}\nevent: {self.kind}\ndata: {data}\n\n".encode()


def missed(number: int) -> list[Event]:
    """For who missed some: look at everything again."""
    return [Event(kind, {"missed": True}, number) for kind in KINDS]


class Listener:
    """One reader of events."""

    def __init__(self, *, loop: asyncio.AbstractEventLoop, account: str) -> None:
        self.account = account
        self._loop = loop
        self._lock = threading.Lock()
        self._waiting: deque[Event] = deque()
        self._some = asyncio.Event()
        self.closed = False

    def offer(self, events: Sequence[Event]) -> None:
        """There are new events."""
        with self._lock:
            if len(self._waiting) + len(events) > MAX_WAITING:
                self._waiting.clear()
                self._waiting.extend(missed(events[-1].number))
            else:
                self._waiting.extend(events)
        self._wake()

    def close(self) -> None:
        """There will be no more."""
        self.closed = True
        self._wake()

    async def take(self, wait_s: float) -> list[Event]:
        """All that wait; none if nothing came in time."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._some.wait(), wait_s)
        self._some.clear()
        with self._lock:
            events = list(self._waiting)
            self._waiting.clear()
        return events

    def _wake(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._some.set)


def numbered(found: Iterable[tuple[str, Mapping[str, Any]]], after: int) -> list[Event]:
    """Events with numbers that go on."""
    return [Event(kind, data, number) for number, (kind, data) in enumerate(found, after + 1)]
