"""What a real agent tells of itself over a real broker: every question once, and how it came."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest
from support.agents import PASSAGE, QUESTION, RawClient, a_question, serving
from support.broker import Broker
from support.records import TIMEOUT_S, Records
from support.swaps import L3, L6, Watcher

from edgeqa.telemetry_messages import Latency
from edgeqa_agent.meter import PARTS

pytestmark = pytest.mark.system


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
