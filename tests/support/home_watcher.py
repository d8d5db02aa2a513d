"""Listens to a broker as Home Assistant does, and says what it would say."""

from __future__ import annotations

import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import structlog

from edgeqa.mqtt import MqttLink
from edgeqa.packets import Delivery, Outgoing, Subscription
from edgeqa.topics import DeviceTopics
from edgeqa_agent.home_assistant_discovery import discovery_topic
from support.agents import DEVICE
from support.broker import Broker

TIMEOUT_S = 20.0
FoundT = TypeVar("FoundT")


class HomeWatcher:
    """What came on each topic, in order."""

    def __init__(self, broker: Broker, *, prefix: str = "homeassistant") -> None:
        self.topics = DeviceTopics(DEVICE)
        self.prefix = prefix
        self.config_topic = discovery_topic(prefix, DEVICE)
        self._came: dict[str, list[Delivery]] = defaultdict(list)
        self._changed = threading.Condition()
        filters = (f"{prefix}/#", f"{self.topics.root}/home-assistant/+", self.topics.answers)
        self.link = MqttLink(
            broker=broker.address(),
            client_id=f"home-{uuid.uuid4().hex[:8]}",
            subscriptions=[Subscription(one, self._on_message) for one in filters],
            log=structlog.get_logger(),
        )

    def came(self, topic: str) -> list[Delivery]:
        """On a topic so far."""
        with self._changed:
            return list(self._came[topic])

    def wait(self, topic: str, *, after: int = 0, payload: bytes | None = None) -> Delivery:
        """The first message there behind so many, if wanted with this payload."""

        def found() -> Delivery | None:
            later = self._came[topic][after:]
            wanted = [one for one in later if payload is None or one.payload == payload]
            return wanted[0] if wanted else None

        return self._until(found, topic)

    def say(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Publish."""
        self.link.publish(Outgoing(topic, payload, retain=retain))

    def _until(self, found: Callable[[], FoundT | None], what: str) -> FoundT:
        deadline = time.monotonic() + TIMEOUT_S
        with self._changed:
            while (value := found()) is None:
                if not self._changed.wait(deadline - time.monotonic()):
                    raise AssertionError(f"nothing came on {what}")
            return value

    def _on_message(self, delivery: Delivery) -> None:
        self.link.acknowledge(delivery)
        with self._changed:
            self._came[delivery.topic].append(delivery)
            self._changed.notify_all()


@contextmanager
def watching(broker: Broker, *, prefix: str = "homeassistant") -> Iterator[HomeWatcher]:
    """A watcher that is connected inside the block."""
    watcher = HomeWatcher(broker, prefix=prefix)
    watcher.link.start()
    try:
        yield watcher
    finally:
        watcher.link.stop()
