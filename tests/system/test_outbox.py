"""A real agent's records and heartbeats over a real broker: across kill, restart and command."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import pytest
import structlog
from support.agents import DEVICE, AgentProcess, serving
from support.broker import Broker
from support.swaps import L3, Watcher

from edgeqa.mqtt import MqttLink
from edgeqa.packets import Delivery, Subscription
from edgeqa.topics import DeviceTopics

pytestmark = pytest.mark.system

TOPICS = DeviceTopics(DEVICE)
# Evaluations would come in between; the numbers of these tests count records.
SETTINGS = {"evaluation_data": "off", "heartbeat_interval_s": 1}


class Listener:
    """Hears swap records and heartbeats."""

    def __init__(self, broker: Broker) -> None:
        self.swaps: list[dict[str, Any]] = []
        self.heartbeats: list[dict[str, Any]] = []
        self._link = MqttLink(
            broker=broker.address(),
            client_id="listener",
            subscriptions=[
                Subscription(TOPICS.record("swap"), self._into(self.swaps)),
                Subscription(TOPICS.record("telemetry"), self._into([])),
                Subscription(TOPICS.heartbeat, self._into(self.heartbeats)),
            ],
            log=structlog.get_logger(),
        )

    def __enter__(self) -> Self:
        self._link.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._link.stop()

    def _into(self, heard: list[dict[str, Any]]) -> Callable[[Delivery], None]:
        def on_message(delivery: Delivery) -> None:
            self._link.acknowledge(delivery)
            heard.append(json.loads(delivery.payload))

        return on_message


def eventually(condition: Callable[[], object], timeout_s: float = 30.0) -> bool:
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def test_swaps_are_told_once_across_a_kill_and_again_on_command(
    broker: Broker, tmp_path: Path
) -> None:
    with Listener(broker) as heard, Watcher(broker) as watcher:
        agent = AgentProcess(broker, tmp_path, dict(SETTINGS)).start()
        try:
            wish = watcher.wish(L3)
            watcher.outcome(wish)
            assert eventually(lambda: len(heard.swaps) == 2)
            first, second = heard.swaps
            boot = first["boot_id"]
            assert (first["state"], first.get("wish")) == ("active", None)
            assert (second["state"], second["wish"]) == ("active", wish)
            assert second["name"] == L3.manifest.name
            assert second["duration_ms"] > 0
            assert first["seq"] < second["seq"]
            assert heard.heartbeats[0]["boots"][0]["boot_id"] == boot
            assert eventually(lambda: heard.heartbeats[-1]["seq"] >= second["seq"])
        finally:
            agent.signal(signal.SIGKILL)
            agent.wait()
        with serving(broker, tmp_path, **SETTINGS):
            assert eventually(lambda: heard.heartbeats[-1]["boot_id"] != boot)
            told = next(h for h in reversed(heard.heartbeats) if h["boot_id"] != boot)
            told = next(h for h in heard.heartbeats if h["boot_id"] == told["boot_id"])
            earlier = {one["boot_id"]: one for one in told["boots"]}[boot]
            assert (earlier["first"], earlier["last"] >= second["seq"]) == (1, True)
            ranges = [{"boot_id": boot, "first": second["seq"], "last": second["seq"] + 1000}]
            reply = watcher.command("resend", ranges=ranges)
            assert reply["status"] == "ok"
            assert reply["queued"] + reply["missing"] == 1001
            assert reply["queued"] >= 1
            # The new start told nothing of its own: it serves what the one before did.
            assert eventually(lambda: len(heard.swaps) == 3)
            assert heard.swaps[2] == second
            broken = watcher.command("resend", ranges=[])
            assert broken["error"]["code"] == "invalid_payload"
