"""Sends what waits in an outbox, in order, and notes what the broker has.

`step` decides and sends; whoever drives it, a thread or an event loop, calls it when it was woken
and when the time that it returned is over. The rest only notes what happened and wakes the driver,
and may be called from any thread, in which it never waits for a disk.

A few records are under way at a time. One that the broker took although nobody listens ("No
matching subscribers") has arrived nowhere: it waits on, and after a while a single one is tried.
"""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from structlog.typing import FilteringBoundLogger

from edgeqa.errors import BrokerError
from edgeqa.outbox import Outbox, OutboxError, Row
from edgeqa.packets import Delivered, Outgoing
from edgeqa.topics import DeviceTopics

# Below the Receive Maximum that brokers grant by default (Mosquitto 20, EMQX 32), with room for
# answers and the heartbeat.
WINDOW = 16
# An acknowledgement that takes longer on a connection that stands is not coming; twice the
# keep-alive after which a connection counts as dead.
ACK_TIMEOUT_S = 60.0
# Full jitter below a doubling ceiling, as at reconnects. A collector that returns is noticed by the
# heartbeat before the longest of these is over; and a record that is tried every five minutes costs
# an idle device at most some 0.3 MB a day.
BACKOFF_FIRST_S = 1.0
BACKOFF_MAX_S = 300.0
_MOST_DOUBLINGS = 16

NOBODY = "No matching subscribers"


class Link(Protocol):
    """The part of an MQTT link that the courier needs."""

    @property
    def connected(self) -> bool:
        """Whether it is worth while to publish."""

    def publish(self, message: Outgoing, delivered: Delivered | None = None) -> None:
        """See `MqttLink.publish`."""


@dataclass(slots=True)
class Patience:
    """How long to wait after a failure: full jitter below a ceiling that doubles.

    Args:
        uniform: gives a number between two.
    """

    uniform: Callable[[float, float], float] = random.uniform
    failures: int = 0

    def next_s(self) -> float:
        """Count a failure and give the wait after it."""
        ceiling = min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2**self.failures)
        self.failures = min(self.failures + 1, _MOST_DOUBLINGS)
        return self.uniform(ceiling / 2, ceiling)


@dataclass(slots=True)
class _News:
    """What happened since the last step."""

    arrived: deque[tuple[int, str | None]] = field(default_factory=deque)
    connected: bool = False
    heard: bool = False


class Courier:
    """Of one outbox over one link.

    Args:
        outbox: what is sent; the courier learns from it that something waits.
        link: where it is sent.
        wake: called when there is something to do; must return at once.
        log: for what does not arrive.
        link_resends: whether the link itself sends what was under way again after a reconnect, as
            paho does; otherwise the courier does.
        window: most records under way.
        now: seconds, never set back.
        uniform: gives a number between two.

    Thread: `step` and `idle` in one at a time, the rest in any.
    """

    def __init__(
        self,
        *,
        outbox: Outbox,
        link: Link,
        wake: Callable[[], None],
        log: FilteringBoundLogger,
        link_resends: bool = True,
        window: int = WINDOW,
        now: Callable[[], float] = time.monotonic,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._outbox = outbox
        self._link = link
        self._wake = wake
        self._log = log
        self._link_resends = link_resends
        self._window = window
        self._now = now
        self._topics = DeviceTopics(outbox.device)
        self._patience = Patience(uniform)
        self._lock = threading.Lock()
        self._news = _News()
        self._to_mark: list[int] = []
        # Rows under way, and since when; all others that wait behind `_after` are yet to be sent.
        self._under_way: dict[int, float] = {}
        self._after = 0
        self._resent = outbox.resent
        self._resume_at = 0.0
        outbox.on_waiting = wake

    def connected(self) -> None:
        """A connection stands."""
        with self._lock:
            self._news.connected = True
        self._wake()

    def heard(self) -> None:
        """Somebody listens again: no need to wait longer before the next try."""
        with self._lock:
            self._news.heard = True
        self._wake()

    @property
    def idle(self) -> bool:
        """Whether nothing is under way or to be noted."""
        return not (self._under_way or self._to_mark or self._news.arrived)

    @property
    def stalled(self) -> bool:
        """Whether nothing is sent now, because the last try came to nothing."""
        return self._now() < self._resume_at

    def step(self) -> float | None:
        """Note what arrived and send what may be sent.

        Returns: seconds after which to call again, though nothing wakes before; None: no need.
        """
        now = self._now()
        self._take_news(now)
        try:
            self._mark()
            if not self._link.connected:
                return None
            if now < self._resume_at:
                return self._resume_at - now
            self._send(now)
        except OutboxError as error:
            self._back_off(now)
            self._log.error("outbox_unusable", code=error.code, reason=str(error))
        return self._next(now)

    def _take_news(self, now: float) -> None:
        with self._lock:
            news, self._news = self._news, _News()
        if news.connected:
            self._resume_at = 0.0
            if self._link_resends:
                self._under_way = dict.fromkeys(self._under_way, now)
            else:
                self._under_way.clear()
            self._after = 0
        if news.heard:
            self._resume_at = 0.0
        if self._outbox.resent != self._resent:
            self._resent = self._outbox.resent
            self._after = 0
        for row, reason in news.arrived:
            self._under_way.pop(row, None)
            if reason is None:
                self._to_mark.append(row)
                self._patience.failures = 0
            else:
                self._refused(row, reason, now)
        late = [row for row, since in self._under_way.items() if now - since > ACK_TIMEOUT_S]
        if late and self._link.connected:
            self._log.warning(
                "records_unacknowledged", device=self._outbox.device, records=len(late)
            )
            for row in late:
                del self._under_way[row]
            self._after = 0

    def _mark(self) -> None:
        if self._to_mark:
            self._outbox.mark_sent(self._to_mark)
            self._to_mark = []

    def _send(self, now: float) -> None:
        # After a failure one record goes ahead and tells whether the others may follow.
        window = 1 if self._patience.failures else self._window
        while (room := window - len(self._under_way)) > 0:
            rows = self._outbox.waiting(after=self._after, limit=room + len(self._under_way))
            if not rows:
                return
            for row in rows:
                if row.id not in self._under_way:
                    if room == 0:
                        break
                    room -= 1
                    if not self._publish(row, now):
                        return
                self._after = row.id

    def _publish(self, row: Row, now: float) -> bool:
        """Hand one over; whether the next may follow."""
        self._under_way[row.id] = now
        try:
            self._link.publish(
                Outgoing(self._topics.record(row.kind), row.payload),
                lambda reason: self._delivered(row.id, reason),
            )
        except BrokerError as error:
            del self._under_way[row.id]
            if error.code == "packet_too_large":
                self._log.error(
                    "record_given_up", kind=row.kind, code=error.code, reason=str(error)
                )
                self._outbox.give_up(row)
                return True
            self._back_off(now)
            self._log.warning("record_not_queued", device=self._outbox.device, code=error.code)
            return False
        return True

    def _delivered(self, row: int, reason: str | None) -> None:
        with self._lock:
            self._news.arrived.append((row, reason))
        self._wake()

    def _refused(self, row: int, reason: str, now: float) -> None:
        self._after = min(self._after, row - 1)
        if self._resume_at > now:
            return  # one of several that were under way
        self._back_off(now)
        event = "nobody_collects" if reason == NOBODY else "record_refused"
        if self._patience.failures == 1 or reason != NOBODY:
            self._log.warning(event, device=self._outbox.device, reason=reason)

    def _back_off(self, now: float) -> None:
        self._resume_at = now + self._patience.next_s()

    def _next(self, now: float) -> float | None:
        if self._resume_at > now:
            return self._resume_at - now
        if self._under_way:
            return max(0.0, min(self._under_way.values()) + ACK_TIMEOUT_S - now) + 1.0
        return None
