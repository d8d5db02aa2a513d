"""From a device's messages to the operator's terminal and to Prometheus, all parts real."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from prometheus_client.parser import text_string_to_metric_families
from support.broker import Broker

from edgeqa.telemetry_examples import EVALUATIONS, HEARTBEATS, SWAPS, TELEMETRY
from edgeqa.topics import DeviceTopics

pytestmark = pytest.mark.system

BIRTH = {
    "schema": 1, "status": "online", "device": "pi5", "boot_id": "0b2f7a1e",
    "agent_version": "0.1.0", "onnxruntime_version": "1.23.2", "groups": ["site-1"],
    "model": TELEMETRY["serving"]["model"],
    "hardware": {"machine": "aarch64", "board": "<b>\x1b[31mPi</b>", "cpus": 4, "memory_bytes": 8},
}  # fmt: skip


@contextmanager
def cloud(broker: Broker, database: str, folder: Path) -> Iterator[str]:
    """`edgeqa cloud run`; gives the URL of its metrics."""
    log = folder / "cloud.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "edgeqa.cli", "cloud", "run", "--broker", broker.url,
             "--database", database, "--metrics-listen", "127.0.0.1:0", "--listen", "off",
             "--metrics-cache-s", "0", "--log-format", "json"],
            stdout=output, stderr=output, env=clean_environment(),
        )  # fmt: skip
    try:
        wait_for(lambda: b"collector_online" in log.read_bytes(), "online", log)
        found = re.search(rb'"url": "(http://[^"]+)/metrics"', log.read_bytes())
        assert found is not None
        yield found[1].decode()
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0, log.read_text()


def clean_environment() -> dict[str, str]:
    return {name: text for name, text in os.environ.items() if not name.startswith("EDGEQA_")}


def wait_for(happened: Callable[[], bool], what: str, log: Path) -> None:
    deadline = time.monotonic() + 30
    while not happened():
        if time.monotonic() > deadline:
            pytest.fail(f"never {what}: {log.read_text()}")
        time.sleep(0.1)


def exposed(url: str) -> dict[tuple[str, ...], float]:
    with urllib.request.urlopen(url, timeout=10) as response:  # noqa: S310  ours
        text = response.read().decode()
    return {
        (sample.name, *(f"{name}={label}" for name, label in sorted(sample.labels.items()))):
            sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }  # fmt: skip


def publish(broker: Broker, messages: list[tuple[str, bytes, bool]]) -> None:
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
    client.connect("127.0.0.1", broker.port)
    client.loop_start()
    for topic, payload, retain in messages:
        client.publish(topic, payload, qos=1, retain=retain).wait_for_publish(10)
    client.disconnect()
    client.loop_stop()


def stamped(record: dict[str, Any], seq: int) -> bytes:
    now_ms = round(time.time() * 1000)
    return json.dumps(record | {"seq": seq, "time_ms": now_ms, "uptime_ms": 1000 + seq}).encode()


def test_what_devices_tell_reaches_the_operator(broker: Broker, tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path}/cloud.db"
    topics = DeviceTopics("pi5")
    heartbeat = HEARTBEATS["heartbeat"] | {
        "time_ms": round(time.time() * 1000), "uptime_ms": 1000, "seq": 3,
    }  # fmt: skip
    telemetry = stamped(TELEMETRY["serving"], 1)
    messages = [
        (topics.status, json.dumps(BIRTH).encode(), True),
        (topics.heartbeat, json.dumps(heartbeat).encode(), False),
        (topics.record("telemetry"), telemetry, False),
        (topics.record("telemetry"), telemetry, False),
        (topics.record("evaluation"), stamped(EVALUATIONS["afterSwap"], 2), False),
        (topics.record("swap"), stamped(SWAPS["failed"], 3), False),
        (topics.record("telemetry"), b"{not json", False),
    ]
    with cloud(broker, database, tmp_path) as url:
        publish(broker, messages)
        prefix = "edgeqa_collector_messages"
        wait_for(
            lambda: exposed(f"{url}/metrics")[f"{prefix}_acknowledged_total",] >= len(messages),
            "acknowledged",
            tmp_path / "cloud.log",
        )
        wait_for(
            lambda: exposed(f"{url}/metrics")["edgeqa_collector_broker_up",] == 1,
            "told as connected",
            tmp_path / "cloud.log",
        )
        counted = exposed(f"{url}/metrics")
        state = exposed(f"{url}/metrics/fleet")
        listed = json.loads(fleet(database, "--json"))
        shown = fleet(database, "show", "pi5", "--since", "1h")
        summary = json.loads(fleet(database, "summary", "--json"))

    assert counted[f"{prefix}_received_total", "kind=telemetry"] == 3
    assert counted[f"{prefix}_stored_total", "kind=telemetry"] == 1
    assert counted[f"{prefix}_duplicate_total", "kind=telemetry"] == 1
    assert counted[f"{prefix}_quarantined_total", "code=not_json"] == 1
    # Counted once, though the record came twice.
    model = ("model=minilm-l6-squad", "version=0.1.1")
    series = ("edgeqa_questions_total", model[0], "outcome=answered", model[1])
    assert counted[series] == 3
    assert counted["edgeqa_latency_seconds_count", model[0], "part=total", model[1]] == 3
    assert counted["edgeqa_swap_failures_total", "code=gate_latency"] == 1
    assert state["edgeqa_fleet_devices", "presence=online"] == 1
    assert state["edgeqa_fleet_quarantine_messages", "code=not_json"] == 1
    assert state[
        "edgeqa_fleet_paired_f1_difference_ratio", "model=minilm-l3-distil-squad", "version=0.2.0"
    ] == pytest.approx(-0.031)

    (device,) = listed["devices"]
    assert (device["device"], device["presence"]) == ("pi5", "online")
    assert (device["exact_match"], device["f1"]) == (78.0, 86.1)
    assert device["temperature_celsius"] == 51.6
    assert device["p95_ms"] == pytest.approx(21.66, rel=0.05)
    assert device["groups"] == ["site-1"]
    assert "\x1b" not in shown
    assert "hardware   <b>\ufffd[31mPi</b>, aarch64" in shown
    assert "served     3 answered, 1 refused" in shown
    assert re.search(r"failed .*gate_latency: p95 312\.0 ms", shown)
    assert summary["quarantine"] == {"not_json": 1}
    assert summary["latency"]["questions"] == 3


def fleet(database: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "edgeqa.cli", "fleet", *arguments, "--database", database],
        capture_output=True, text=True, check=False, env=clean_environment(), timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_an_address_in_use_is_said_at_the_start(broker: Broker, tmp_path: Path) -> None:
    with cloud(broker, f"sqlite:///{tmp_path}/one.db", tmp_path) as url:
        done = subprocess.run(
            [sys.executable, "-m", "edgeqa.cli", "cloud", "run", "--broker", broker.url,
             "--name", "another", "--database", f"sqlite:///{tmp_path}/two.db",
             "--listen", "off", "--metrics-listen", url.removeprefix("http://")],
            capture_output=True, text=True, check=False, env=clean_environment(), timeout=60,
        )  # fmt: skip
    assert done.returncode == 4
    assert "Address already in use" in done.stderr
    assert done.stderr.splitlines()[-1].endswith("[cannot_listen]")
    assert "Traceback" not in done.stderr
