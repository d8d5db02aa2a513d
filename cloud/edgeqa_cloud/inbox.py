"""Messages that came and are not committed yet.

Bounded by the broker: it has at most `receive_maximum` messages open with a connection, and one
that does not mind that number has at most 65,535, as MQTT has no more packet ids. After a reconnect
it sends again what was open on the connection before, which may still wait here because the
database is away: then the older copies give way. One of this connection never does: it would not be
acknowledged, and nothing behind it either.

Thread: any; one takes.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

from edgeqa_cloud.reading import Arrival


class Inbox:
    """A queue that is emptied in batches.

    Args:
        most: messages that may wait.
        enough: so many are taken at once without waiting for more.
        wait_s: how long the first of a batch waits for others.
    """

    def __init__(
        self,
        *,
        most: int,
        enough: int,
        wait_s: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.most = most
        self._enough = enough
        self._wait_s = wait_s
        self._monotonic = monotonic
        self._waiting: deque[Arrival] = deque()
        self._some = threading.Event()
        self._plenty = threading.Event()
        self._closed = False
        self._taken_at: float | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def closed(self) -> bool:
        """Nothing more is taken in."""
        return self._closed

    def put(self, arrival: Arrival) -> bool:
        """Whether it was taken in; what is not must stay unacknowledged."""
        if self._closed or (arrival.receipt is None and len(self._waiting) >= self.most):
            return False
        self._make_room(arrival)
        self._waiting.append(arrival)
        if not self._some.is_set():
            self._taken_at = self._monotonic()
            self._some.set()
        if len(self._waiting) >= self._enough:
            self._plenty.set()
        return True

    def _make_room(self, arrival: Arrival) -> None:
        """Give up copies of what the broker has sent again on this connection."""
        if arrival.receipt is None:
            return
        now = arrival.receipt.generation
        while len(self._waiting) >= self.most:
            oldest = self._waiting[0].receipt
            if oldest is not None and oldest.generation == now:
                return
            self._waiting.popleft()

    def take(self, most: int, *, timeout_s: float) -> list[Arrival]:
        """The next batch; empty if nothing came in time."""
        if not self._some.wait(timeout_s):
            return []
        if not self._closed:
            self._plenty.wait(self._wait_s)
        batch: list[Arrival] = []
        while self._waiting and len(batch) < most:
            batch.append(self._waiting.popleft())
        self._plenty.clear()
        if not self._waiting:
            self._some.clear()
            if self._waiting:  # one came in between
                self._some.set()
        if len(self._waiting) >= self._enough:
            self._plenty.set()
        return batch

    def oldest_s(self) -> float:
        """About how long messages have waited; 0 if none does."""
        if not self._waiting or self._taken_at is None:
            return 0.0
        return max(0.0, self._monotonic() - self._taken_at)

    def close(self) -> None:
        """Take nothing more in; what is here can still be taken out."""
        self._closed = True
        self._plenty.set()
