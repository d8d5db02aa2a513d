"""What a device tells of its serving, as a collector hears it."""

from __future__ import annotations

import queue
import time
from collections import Counter
from collections.abc import Callable
from typing import Self

import structlog

from edgeqa.mqtt import MqttLink
from edgeqa.packets import Delivery, Subscription
from edgeqa.telemetry_messages import Latency, Telemetry
from edgeqa.topics import DeviceTopics
from support.agents import DEVICE
from support.broker import Broker

TIMEOUT_S = 20.0


class Records:
    """Everything that a device has told of its serving."""

    def __init__(self, broker: Broker) -> None:
        self.all: list[Telemetry] = []
        self._news: queue.Queue[Telemetry] = queue.Queue()
        topics = DeviceTopics(DEVICE)
        self._link = MqttLink(
            broker=broker.address(),
            client_id="records",
            subscriptions=[
                Subscription(topics.record("telemetry"), self._on_record),
                # So that nothing waits for want of a listener.
                Subscription(topics.record("swap"), self._on_other),
                Subscription(topics.record("evaluation"), self._on_other),
            ],
            log=structlog.get_logger(),
        )

    def __enter__(self) -> Self:
        self._link.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._link.stop()

    def wait_for(self, wanted: Callable[[Telemetry], bool]) -> Telemetry:
        """The next record like this."""
        deadline = time.monotonic() + TIMEOUT_S
        while True:
            record = self._news.get(timeout=max(0.0, deadline - time.monotonic()))
            if wanted(record):
                return record

    @property
    def outcomes(self) -> Counter[str]:
        """Of all records together."""
        total: Counter[str] = Counter()
        for record in self.all:
            total.update(record.outcomes)
        return total

    def count(self, part: str) -> int:
        """Questions in all histograms of a part."""
        latencies = [record.latency or Latency() for record in self.all]
        histograms = [getattr(latency, part) for latency in latencies]
        return sum(histogram.count for histogram in histograms if histogram is not None)

    def _on_other(self, delivery: Delivery) -> None:
        self._link.acknowledge(delivery)

    def _on_record(self, delivery: Delivery) -> None:
        self._link.acknowledge(delivery)
        record = Telemetry.model_validate_json(delivery.payload)
        self.all.append(record)
        self._news.put(record)
