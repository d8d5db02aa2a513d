"""Following one wish on one device, report by report, until its end.

`Course` decides, without IO: which report is about the wish, and what ends it. The broker shows the
order of wishes, so a newer one is known at once, also if the device never took up the one followed.
`Following` keeps a connection of its own for it: its subscriptions end with it.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from enum import Enum, auto
from typing import Any, Self

from pydantic import ValidationError

from edgeqa.broker import Broker
from edgeqa.errors import AnswerError, AnswerTimeoutError
from edgeqa.messages import Status, WireT
from edgeqa.model_messages import Desired, ModelState, Reported
from edgeqa.mqtt import MqttLink
from edgeqa.packets import Delivery, Subscription
from edgeqa.presence import presence_in_words
from edgeqa.topics import DeviceTopics
from edgeqa.transport import Limits

FINAL = frozenset({ModelState.ACTIVE, ModelState.FAILED, ModelState.ROLLED_BACK})
# A report is some hundred bytes; the broker keeps larger ones from us.
_MAX_PACKET_BYTES = 256 << 10
# Messages that wait for whoever iterates; the oldest is dropped, as a newer one says more.
_MAX_WAITING = 256


class Ending(Enum):
    """Why nothing more is to come about a wish."""

    FINAL = auto()
    SUPERSEDED = auto()
    WITHDRAWN = auto()


class Course:
    """What has come of one wish so far.

    Attributes:
        last: the newest report on the wish.
        newer: the wish that came after it.
        turned_to: the report on something else that the device left the wish for.
        ending: why nothing more is to come; None while something is.
    """

    def __init__(self, device: str, wish_id: str) -> None:
        self.last: Reported | None = None
        self.newer: Desired | None = None
        self.turned_to: Reported | None = None
        self.ending: Ending | None = None
        self._device = device
        self._wish_id = wish_id
        self._published = False

    def on_desired(self, payload: bytes) -> None:
        """The device's wish is now another, or this one, or none."""
        wish = _parse(Desired, payload) if payload else None
        if wish is not None and wish.id == self._wish_id:
            self._published = True
        elif not self._published:
            pass  # the wish of before
        elif wish is not None:
            self.newer, self.ending = wish, Ending.SUPERSEDED
        elif not payload:
            self.ending = Ending.WITHDRAWN

    def on_reported(self, payload: bytes) -> Reported | None:
        """The report, if it is news about the wish."""
        report = _parse(Reported, payload)
        if report is None or report.device != self._device:
            return None
        if report.wish != self._wish_id:
            if self._leaves_the_wish(report):
                self.turned_to, self.ending = report, Ending.SUPERSEDED
            return None
        if report == self.last:
            return None  # published again after a reconnect
        self._published, self.last = True, report
        if report.state in FINAL:
            self.ending = Ending.FINAL
        return report

    def _leaves_the_wish(self, report: Reported) -> bool:
        # After a restart the agent first reports what it serves, and then goes on with the wish.
        if self.last is None or report.boot_id != self.last.boot_id:
            return False
        if report.state is ModelState.ROLLED_BACK:
            # If not by a command, it is the active model that died and was given up meanwhile.
            return report.reason is None or report.reason.code == "rolled_back"
        # `active` with a reason tells of a wish that could not be read: nothing changes.
        return report.state is not ModelState.ACTIVE or report.reason is None


class Following(Iterator[Reported]):
    """The reports on one wish. Iterate in one thread; use it in a `with` block or to its end.

    Args:
        on_presence: called, by whoever iterates, when the device comes or goes, and first of all.

    Attributes:
        course: what has come so far, and why it ended.
    """

    def __init__(
        self,
        *,
        broker: Broker,
        device: str,
        wish_id: str,
        timeout_s: float,
        log: Any,
        on_presence: Callable[[Status], None] | None = None,
    ) -> None:
        self.course = Course(device, wish_id)
        self._device = device
        self._timeout_s = timeout_s
        self._deadline = time.monotonic() + timeout_s
        self._on_presence = on_presence
        self._presence: Status | None = None
        self._changed = threading.Condition()
        self._waiting: deque[tuple[str, bytes]] = deque(maxlen=_MAX_WAITING)
        self._stopped = False
        topics = DeviceTopics(device)
        self._topics = topics
        self._link = MqttLink(
            broker=broker.within(timeout_s),
            client_id=f"edgeqa-{secrets.token_hex(8)}",
            subscriptions=[
                Subscription(topic, self._on_message)
                for topic in (topics.reported, topics.desired, topics.status)
            ],
            log=log,
            limits=Limits(max_packet_bytes=_MAX_PACKET_BYTES),
        )

    def start(self) -> Self:
        """Subscribe; from now on no report is missed.

        Raises:
            BrokerError: no connection, or the broker does not let us read the device's topics.
        """
        self._link.start()
        return self

    def stop(self) -> None:
        """Unsubscribe; whoever waits for a report gets `client_stopped`."""
        with self._changed:
            stopped, self._stopped = self._stopped, True
            self._changed.notify_all()
        if not stopped:
            self._link.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def __next__(self) -> Reported:
        """The next report on the wish.

        Raises:
            AnswerTimeoutError: the time is over; says where the device stands.
            AnswerError: `client_stopped`.
        """
        while self.course.ending is None:
            topic, payload = self._next_message()
            if topic == self._topics.status:
                self._note_presence(payload)
            elif topic == self._topics.desired:
                self.course.on_desired(payload)
            elif (report := self.course.on_reported(payload)) is not None:
                return report
        self.stop()
        raise StopIteration

    def _next_message(self) -> tuple[str, bytes]:
        with self._changed:
            left_s = self._deadline - time.monotonic()
            self._changed.wait_for(lambda: self._waiting or self._stopped, max(0.0, left_s))
            if self._waiting:
                return self._waiting.popleft()
        if self._stopped:
            raise AnswerError("the operator's connection was stopped", code="client_stopped")
        error = self._timeout()
        self.stop()
        raise error

    def _on_message(self, delivery: Delivery) -> None:
        self._link.acknowledge(delivery)
        with self._changed:
            self._waiting.append((delivery.topic, delivery.payload))
            self._changed.notify_all()

    def _note_presence(self, payload: bytes) -> None:
        presence, before = _parse(Status, payload), self._presence
        if presence is None:
            return
        self._presence = presence
        # It is published anew with each change of the model, too.
        news = before is None or (before.status, before.boot_id) != (
            presence.status,
            presence.boot_id,
        )
        if news and self._on_presence is not None:
            self._on_presence(presence)

    def _timeout(self) -> AnswerTimeoutError:
        last = self.course.last
        stands = f"is still {state_in_words(last)}" if last else "has not begun with the wish"
        where = (
            presence_in_words(self._presence)
            if self._link.connected
            else "the broker cannot be reached just now"
        )
        return AnswerTimeoutError(
            f"device {self._device} {stands} after {self._timeout_s:g} s; {where}"
        )


def state_in_words(report: Reported) -> str:
    """The state of a report with its progress and what it waits for."""
    words = str(report.state).replace("_", " ")
    if report.progress is not None:
        words += f" {report.progress} %"
    if report.reason is not None:
        words += f" ({report.reason.message} [{report.reason.code}])"
    return words


def _parse(kind: type[WireT], payload: bytes) -> WireT | None:
    try:
        return kind.model_validate_json(payload)
    except ValidationError:
        return None
