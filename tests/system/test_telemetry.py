"""What a real agent tells of itself over a real broker: every question once, and how it came."""

from __future__ import annotations

import os
import queue
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Self

import pytest
import structlog
from support.agents import DEVICE, PASSAGE, QUESTION, RawClient, a_question, serving
from support.broker import Broker
from support.swaps import L3, L6, Watcher

from edgeqa.mqtt import MqttLink
from edgeqa.packets import Delivery, Subscription
from edgeqa.telemetry_messages import Latency, Telemetry
from edgeqa.topics import DeviceTopics
from edgeqa_agent.meter import PARTS

pytestmark = pytest.mark.system

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


def ask_all(client: RawClient, questions: int) -> None:
    """Several clients at once."""

    def ask() -> None:
        for _ in range(questions // 4):
            assert client.ask(a_question())["status"] == "ok"

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_records_add_up_over_refusals_a_crash_a_swap_a_broker_and_a_stop(
    broker: Broker, tmp_path: Path
) -> None:
    settings = {
        "package": L3.path,
        "threads": 1,
        "telemetry_interval_s": 1,
        "telemetry_idle_interval_s": 3,
    }
    with Records(broker) as records, RawClient(broker) as client:
        with serving(broker, tmp_path, **settings) as agent, Watcher(broker) as watcher:
            first = records.wait_for(lambda record: record.model is not None)
            assert first.model is not None
            assert first.model.digest == L3.digest
            assert [process.role for process in first.processes] == ["agent", "model"]
            assert all(10 << 20 < process.resident_bytes < 1 << 30 for process in first.processes)
            assert first.memory_total_bytes is not None
            assert first.disk_total_bytes is not None
            assert first.host_uptime_s is not None
            assert first.outbox is not None

            ask_all(client, 20)
            batch = [{"question": QUESTION}, {"question": " "}, {"question": QUESTION}]
            client.ask({"context": PASSAGE, "questions": batch})
            client.ask(b"{")
            client.ask(a_question(context_id="nowhere", context=None))

            dying = agent.model_pid
            waiting = [client.send(a_question()) for _ in range(8)]
            os.kill(dying, signal.SIGKILL)
            assert [client.take(one)["status"] for one in waiting] == ["ok"] * 8

            watcher.wish(L6)
            swapped = records.wait_for(
                lambda record: record.model is not None and record.model.digest == L6.digest
            )
            assert swapped.processes[-1].role == "model"
            ask_all(client, 12)

            broker.restart()
            assert records.wait_for(lambda record: record.reconnects > 0).reconnects == 1

        deadline = time.monotonic() + TIMEOUT_S
        while records.outcomes["answered"] < 42 and time.monotonic() < deadline:
            time.sleep(0.05)

    assert records.outcomes == {
        "answered": 42,
        "empty_question": 1,
        "not_json": 1,
        "unknown_context": 1,
    }
    assert {part: records.count(part) for part in PARTS} == dict.fromkeys(PARTS, 42)
    assert sum(record.batch.count for record in records.all if record.batch) == 41
    assert max(record.queue_depth_max for record in records.all) >= 4
    assert len({record.boot_id for record in records.all}) == 1
    assert sum(record.reconnects for record in records.all) == 1
    # Parts of the way of one question come to about the whole of it.
    sums = {part: _sum(records, part) for part in PARTS}
    parts = sums["queue"] + sums["tokenise"] + sums["inference"] + sums["decode"]
    assert 0 < sums["tokenise"] < sums["inference"]
    assert 0 < sums["decode"] < sums["inference"]
    assert sums["inference"] < parts <= sums["total"]


def _sum(records: Records, part: str) -> float:
    latencies = [record.latency or Latency() for record in records.all]
    histograms = [getattr(latency, part) for latency in latencies]
    return float(sum(histogram.sum for histogram in histograms if histogram is not None))
