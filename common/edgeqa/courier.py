"""Sends what waits in an outbox, in order, and notes what the broker has.

`step` decides and sends; whoever drives it, a thread or an event loop, calls it when it was woken
and when the time that it returned is over. The rest only notes what happened and wakes the driver,
and may be called from any thread, in which it never waits for a disk.

A few records are under way at a time. One that the broker took although nobody listens ("No
matching subscribers") has arrived nowhere: it waits on, with all of its kind, and after a while a
single one is tried. Records of other kinds, to which somebody may listen, go past them meanwhile;
where nobody listened to any, and then somebody does, all go in order.
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
from edgeqa.patience import Patience
from edgeqa.telemetry_messages import RecordKind
from edgeqa.topics import DeviceTopics

# Below the Receive Maximum that brokers grant by default (Mosquitto 20, EMQX 32), with room for
# answers and the heartbeat.
WINDOW = 16
# An acknowledgement that takes longer on a connection that stands is not coming: twice the time
# after which one ends on which nothing is acknowledged (transport.py).
ACK_TIMEOUT_S = 60.0

# What brokers say: MQTT 5, section 3.4.2.1.
NOBODY = "No matching subscribers"
# Its own fault: no later try will end better.
_HOPELESS = {"Payload format invalid"}


class Link(Protocol):
    """The part of an MQTT link that the courier needs."""

    @property
    def connected(self) -> bool:
        """Whether it is worth while to publish."""

    def publish(self, message: Outgoing, delivered: Delivered | None = None) -> None:
        """See `MqttLink.publish`."""


@dataclass(frozen=True, slots=True)
class _Sent:
    kind: RecordKind
    at: float


@dataclass(slots=True)
class _News:
    """What happened since the last step."""

    arrived: deque[tuple[int, RecordKind, str | None]] = field(default_factory=deque)
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

    Thread: `step` in one at a time, the rest in any.
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
        self._log = log.bind(device=outbox.device)
        self._link_resends = link_resends
        self._window = window
        self._now = now
        self._topics = DeviceTopics(outbox.device)
        self._with_link = Patience(uniform)
        self._with = {kind: Patience(uniform) for kind in RecordKind}
        self._lock = threading.Lock()
        self._news = _News()
        self._to_mark: list[int] = []
        self._hopeless: list[int] = []
        # Rows under way; all others that wait behind `_after` are yet to be sent.
        self._under_way: dict[int, _Sent] = {}
        self._after = 0
        self._resent = outbox.resent
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
        return not (self._under_way or self._to_mark or self._hopeless or self._news.arrived)

    @property
    def stalled(self) -> bool:
        """Whether something waits because the last try came to nothing."""
        return any(one.failures for one in (self._with_link, *self._with.values()))

    def step(self) -> float | None:
        """Note what arrived and send what may be sent.

        Returns: seconds after which to call again, though nothing wakes before; None: no need.
        """
        now = self._now()
        self._take_news(now)
        try:
            self._note()
            if not self._link.connected:
                return None
            if not self._with_link.left_s(now):
                self._send(now)
        except OutboxError as error:
            self._with_link.failed(now)
            self._log.error("outbox_unusable", code=error.code, reason=str(error))
        return self._next(now)

    def _take_news(self, now: float) -> None:
        with self._lock:
            news, self._news = self._news, _News()
        if news.connected:
            self._with_link.hurry()
            kept = self._under_way if self._link_resends else {}
            self._under_way = {row: _Sent(sent.kind, now) for row, sent in kept.items()}
        if news.connected or news.heard:
            for patience in self._with.values():
                patience.hurry()
            self._after = 0
        if self._outbox.resent != self._resent:
            self._resent = self._outbox.resent
            self._after = 0
        for row, kind, reason in news.arrived:
            self._under_way.pop(row, None)
            self._judge(row, kind, reason, now)
        if self._link.connected:
            self._give_up_waiting(now)

    def _judge(self, row: int, kind: RecordKind, reason: str | None, now: float) -> None:
        """What an acknowledgement means."""
        patience = self._with[kind]
        if reason is None:
            self._to_mark.append(row)
            if patience.failures:  # whoever came may have come for all kinds
                for one in self._with.values():
                    one.succeeded()
                self._after = 0
        elif reason in _HOPELESS:
            self._hopeless.append(row)
            self._log.error("record_given_up", kind=kind, reason=reason)
        elif not patience.left_s(now):  # else: one of several that were under way
            if not patience.failures or reason != NOBODY:
                self._log.warning("records_unheard", kind=kind, reason=reason)
            patience.failed(now)

    def _give_up_waiting(self, now: float) -> None:
        late = [row for row, sent in self._under_way.items() if now - sent.at > ACK_TIMEOUT_S]
        if late:
            self._log.warning("records_unacknowledged", records=len(late))
            for row in late:
                del self._under_way[row]
            self._after = 0

    def _note(self) -> None:
        if self._to_mark:
            self._outbox.mark_sent(self._to_mark)
            self._to_mark = []
        while self._hopeless:
            self._outbox.give_up(self._hopeless[-1])
            self._hopeless.pop()

    def _send(self, now: float) -> None:
        failing = {kind for kind, patience in self._with.items() if patience.failures}
        due = {kind for kind in failing if not self._with[kind].left_s(now)}
        if due and not any(sent.kind in failing for sent in self._under_way.values()):
            # One goes ahead and tells whether the others may follow.
            for row in self._outbox.waiting(after=0, limit=1, kinds=due):
                if not self._publish(row, now):
                    return
        flowing = set(RecordKind) - failing
        while (room := self._window - len(self._under_way)) > 0:
            limit = room + len(self._under_way)
            rows = self._outbox.waiting(after=self._after, limit=limit, kinds=flowing)
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

        def delivered(reason: str | None) -> None:
            with self._lock:
                self._news.arrived.append((row.id, row.kind, reason))
            self._wake()

        self._under_way[row.id] = _Sent(row.kind, now)
        try:
            message = Outgoing(self._topics.record(row.kind), row.payload)
            self._link.publish(message, delivered)
        except BrokerError as error:
            del self._under_way[row.id]
            if error.code == "packet_too_large":
                self._log.error("record_given_up", kind=row.kind, reason=str(error))
                self._outbox.give_up(row.id)
                return True
            self._with_link.failed(now)
            self._log.warning("record_not_queued", code=error.code)
            return False
        self._with_link.succeeded()
        return True

    def _next(self, now: float) -> float | None:
        waits = [one.left_s(now) for one in (self._with_link, *self._with.values())]
        if self._under_way:
            oldest = min(sent.at for sent in self._under_way.values())
            waits.append(max(0.0, oldest + ACK_TIMEOUT_S - now) + 1.0)
        return min((wait for wait in waits if wait), default=None)
