"""The device in Home Assistant: announced, kept up to date, and taken back.

Announced at every connect and whenever Home Assistant says that it has started. Switched off, what
an earlier start left behind is removed once, and then nothing of this runs.

Thread: one of its own, begun at the first connect, does everything that publishes or writes;
`asked`, `heard` and `connected` only note and wake it.
"""

from __future__ import annotations

import functools
import queue
import random
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from structlog.typing import FilteringBoundLogger

from edgeqa.errors import BrokerError
from edgeqa.home_assistant_messages import HomeAnswer, HomeState
from edgeqa.packets import Delivered, Delivery, Outgoing, Subscription
from edgeqa.topics import DeviceTopics
from edgeqa_agent.home_assistant_figures import HomeFigures
from edgeqa_agent.home_assistant_file import LeftTopics
from edgeqa_agent.home_assistant_questions import HomeQuestions, Overheard
from edgeqa_agent.router import Publisher

ONLINE = b"online"
# A fleet that answers Home Assistant's start all at once keeps it busy while it is starting.
# Source: https://www.home-assistant.io/integrations/mqtt, "birth and last will messages".
_SPREAD_S = 3.0
_MAX_ANSWERS = 64
_JOIN_S = 5.0
_AFTER_BUG_S = 5.0
# What MQTT 5 says where nobody listens yet; it is a success.
_NOBODY_LISTENS = "No matching subscribers"


class Link(Publisher, Protocol):
    """The part of an MQTT link that this needs."""

    @property
    def connected(self) -> bool:
        """See `MqttLink.connected`."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a device shows itself.

    Attributes:
        discovery: topic of the message that announces it; None: it does not show itself.
        birth: topic on which Home Assistant says that it has started.
        topics: of the device.
        asks: whether questions come from there.
    """

    discovery: str | None
    birth: str
    topics: DeviceTopics
    asks: bool

    @property
    def retained(self) -> frozenset[str]:
        """Topics that hold a retained message."""
        if self.discovery is None:
            return frozenset()
        state = {self.discovery, self.topics.home_state}
        return frozenset(state | ({self.topics.home_answer} if self.asks else set()))


class HomeAssistant:
    """Shows the device, or removes what was shown.

    Args:
        place: in Home Assistant.
        describe: the message that announces the device.
        figures: of the device.
        left: what was left there, now and by earlier starts.
        link: to the broker; asked for when the first message is published.
        interval_s: between looks at the figures.
        log: of the agent.
        spread_s: most that an announcement waits after Home Assistant's start.
    """

    def __init__(
        self,
        *,
        place: Place,
        describe: Callable[[], bytes],
        figures: HomeFigures,
        left: LeftTopics,
        link: Callable[[], Link],
        interval_s: float,
        log: FilteringBoundLogger,
        spread_s: float = _SPREAD_S,
    ) -> None:
        self._place = place
        self._describe = describe
        self._figures = figures
        self._left = left
        self._link = link
        self._interval_s = interval_s
        self._log = log
        self._spread_s = spread_s
        self._questions = HomeQuestions()
        self._answers: queue.Queue[HomeAnswer] = queue.Queue(_MAX_ANSWERS)
        self._last_answer: HomeAnswer | None = None
        self._sent: HomeState | None = None
        self._removed: deque[str] = deque()
        self._woken = threading.Event()
        self._reconnected = threading.Event()
        self._born = threading.Event()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="home-assistant", daemon=True)
        self._begun = False

    @property
    def subscriptions(self) -> list[Subscription]:
        """What the link must listen to."""
        return [] if self._off else [Subscription(self._place.birth, self._on_birth)]

    @property
    def _off(self) -> bool:
        return self._place.discovery is None

    def through(self, link: Publisher) -> Publisher:
        """The same link, its answers heard."""
        return Overheard(link, self._heard) if self._place.asks and not self._off else link

    def asked(self, delivery: Delivery) -> None:
        """A question came, from whomever; called in the network thread."""
        if self._place.asks and not self._off:
            self._questions.asked(delivery)

    def connected(self) -> None:
        """A connection stands; called in the network thread."""
        if self._nothing_left:
            return
        self._reconnected.set()
        self._woken.set()
        if not self._begun and not self._ending.is_set():
            self._begun = True
            self._thread.start()

    def stop(self) -> None:
        """Publish no more; idempotent. What is retained stays: the device is only offline."""
        self._ending.set()
        self._woken.set()
        if self._thread.is_alive():
            self._thread.join(_JOIN_S)

    def _heard(self, message: Outgoing) -> None:
        answer = self._questions.answered(message)
        if answer is None:
            return
        try:
            self._answers.put_nowait(answer)
        except queue.Full:
            self._log.warning("home_assistant_answer_dropped")
        self._woken.set()

    def _on_birth(self, delivery: Delivery) -> None:
        self._link().acknowledge(delivery)
        if delivery.payload == ONLINE:
            self._born.set()
            self._woken.set()

    @property
    def _nothing_left(self) -> bool:
        return self._off and not self._left.topics

    def _run(self) -> None:
        while not (self._ending.is_set() or self._nothing_left):
            try:
                self._turn()
            except Exception:  # noqa: BLE001  a thread's edge; logged with its traceback
                self._log.exception("home_assistant_failed")
                self._ending.wait(_AFTER_BUG_S)
            if not (self._nothing_left or self._ending.is_set()):
                self._woken.wait(self._interval_s)
                self._woken.clear()
        self._note_removed()

    def _turn(self) -> None:
        self._note_removed()
        if not self._link().connected:
            return
        if self._reconnected.is_set():
            self._reconnected.clear()
            self._remove(self._left.topics - self._place.retained)
            self._announce()
        if self._born.is_set():
            # The wait may be cut short by the agent's end, and then nothing is announced.
            if self._ending.wait(random.uniform(0, self._spread_s)):  # noqa: S311  no secret
                return
            self._born.clear()
            self._announce()
        while not self._answers.empty():
            self._last_answer = self._answers.get_nowait()
            self._publish(self._place.topics.home_answer, self._last_answer.to_json())
        if not self._off:
            self._tell()

    def _announce(self) -> None:
        if self._place.discovery is None:
            return
        self._left.note(self._left.topics | self._place.retained)
        self._sent = None
        self._publish(self._place.discovery, self._describe())
        if self._last_answer is not None:
            self._publish(self._place.topics.home_answer, self._last_answer.to_json())
        self._log.info("home_assistant_announced", topic=self._place.discovery)

    def _tell(self) -> None:
        state = self._figures.state()
        if state != self._sent and self._publish(self._place.topics.home_state, state.to_json()):
            self._sent = state

    def _remove(self, topics: frozenset[str]) -> None:
        for topic in sorted(topics):
            self._publish(topic, b"", functools.partial(self._gone, topic))

    def _note_removed(self) -> None:
        while self._removed:
            self._left.note(self._left.topics - {self._removed.popleft()})

    def _gone(self, topic: str, reason: str | None) -> None:
        """The broker has dropped a retained message; called in the network thread."""
        if reason not in {None, _NOBODY_LISTENS}:
            return
        self._log.info("home_assistant_removed", topic=topic)
        self._removed.append(topic)
        self._woken.set()

    def _publish(self, topic: str, payload: bytes, delivered: Delivered | None = None) -> bool:
        def heard(reason: str | None) -> None:
            if reason not in {None, _NOBODY_LISTENS}:
                self._log.warning("home_assistant_refused", topic=topic, reason=reason)
            if delivered is not None:
                delivered(reason)

        try:
            self._link().publish(Outgoing(topic, payload, retain=True), heard)
        except BrokerError as error:
            self._log.warning("home_assistant_not_told", topic=topic, code=error.code)
            return False
        return True
