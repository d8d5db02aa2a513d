"""Whole collectors against a real broker: hostile messages, two at once, kills, a database away."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog
from support.broker import Broker
from support.cloud import (
    CollectorProcess,
    Store,
    count,
    evaluation,
    heartbeat,
    swap,
    telemetry,
    wait_until,
)
from support.outboxes import Box
from support.outboxes import telemetry as append

from edgeqa.commands import unix_ms
from edgeqa.messages import Status
from edgeqa.mqtt import Limits, MqttLink
from edgeqa.packets import Delivery, Outgoing, Subscription
from edgeqa.postgres_process import PostgresServer
from edgeqa.telemetry_messages import ResendCommand
from edgeqa.topics import DeviceTopics
from edgeqa_cloud.database import Database
from edgeqa_cloud.migrate import migrate
from edgeqa_cloud.settings import DatabaseSettings
from edgeqa_cloud.tables import boots, devices, gaps, quarantine, records, swaps

pytestmark = pytest.mark.system

SUPPORT = Path(__file__).parents[1]


@contextmanager
def sender(broker: Broker, *subscriptions: Subscription) -> Iterator[MqttLink]:
    link = MqttLink(
        broker=broker.address(),
        client_id=f"sender-{os.urandom(4).hex()}",
        subscriptions=subscriptions,
        log=structlog.get_logger(),
        limits=Limits(max_queued=10_000),
    )
    link.start()
    yield link
    link.stop()


def publish(
    link: MqttLink,
    kind: str,
    body: dict[str, Any] | bytes,
    *,
    device: str = "pi5",
    retain: bool = False,
) -> None:
    payload = body if isinstance(body, bytes) else json.dumps(body).encode()
    link.publish(Outgoing(f"{DeviceTopics(device).root}/{kind}", payload, retain=retain))


def burst(link: MqttLink, seqs: range, *, device: str = "pi5") -> None:
    for seq in seqs:
        publish(link, "telemetry", telemetry(device=device, seq=seq, time_ms=unix_ms()),
                device=device)  # fmt: skip
    assert link.wait_delivered(timeout_s=60)


@contextmanager
def stored(url: str) -> Iterator[Store]:
    with Database.of(DatabaseSettings(database=url)) as database:
        yield Store(database)


StartCollector = Callable[..., CollectorProcess]


@pytest.fixture
def collect(broker: Broker, tmp_path: Path) -> Iterator[StartCollector]:
    """Start collectors of the broker; those that still run are killed after the test."""
    made: list[CollectorProcess] = []

    def start(database: str, **options: Any) -> CollectorProcess:
        made.append(CollectorProcess(broker, tmp_path, database, **options))
        return made[-1].start()

    yield start
    for one in made:
        one.kill()


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'cloud.db'}"


def test_hostile_messages_are_quarantined_and_the_intake_goes_on(
    broker: Broker, collect: StartCollector, tmp_path: Path, url: str
) -> None:
    retained = Status(status="online", device="pi7", boot_id="x", agent_version="1.2.3")
    with sender(broker) as link:
        publish(link, "status", retained.to_json(), device="pi7", retain=True)
        assert link.wait_delivered(timeout_s=10)
        health = tmp_path / "health.json"
        collector = collect(url, settings={"health_file": health})
        bad: list[tuple[str, dict[str, Any] | bytes]] = [
            ("telemetry", b"not json"),
            ("telemetry", b"\xff"),
            ("telemetry", b""),
            ("telemetry", b"[" * 200_000),
            ("telemetry", json.dumps(telemetry(seq=9, pad="x" * 5_000_000)).encode()),
            ("telemetry", telemetry(device="other")),
            ("telemetry", telemetry(schema=0)),
            ("telemetry", telemetry(schema=2)),
            ("telemetry", telemetry(seq=10, time_ms=0)),
            ("telemetry", telemetry(seq=11, time_ms=4_102_444_800_000)),
            ("evaluation", evaluation(seq=12, exact_match=140)),
            ("evaluation", evaluation(seq=13, f1=float("nan"))),
            ("swap", swap(seq=14, duration_ms=-1)),
            ("heartbeat", b"{}"),
            ("status", b"{}"),
        ]
        for number, (kind, body) in enumerate(bad):
            publish(link, kind, body)
            publish(link, "telemetry", telemetry(seq=100 + number, time_ms=unix_ms()))
        publish(link, "telemetry", telemetry(device="a b"), device="a b")
        nasty = "'; DROP TABLE records; -- <script>\0"
        publish(link, "swap", swap(seq=200, time_ms=unix_ms(), wish=nasty))
        wait_until(lambda: count(url, quarantine) == len(bad) + 1, "all in quarantine")
        wait_until(lambda: count(url, swaps) == 1, "all stored")
        assert collector.stop() == 0
        with stored(url) as store:
            whole = [row.seq for row in store.rows(records) if row.kind == "telemetry"]
            assert whole == [100 + number for number in range(len(bad))]
            codes = {row.code for row in store.rows(quarantine)}
            assert codes == {"not_json", "not_utf8", "payload_too_large", "device_mismatch",
                             "unsupported_schema", "impossible_time", "invalid_payload",
                             "unknown_topic"}  # fmt: skip
            big = store.one(quarantine, code="payload_too_large")
            assert big.bytes > 5_000_000
            assert len(big.payload) < 20_000
            assert store.one(swaps).wish == nasty.replace("\0", "\N{REPLACEMENT CHARACTER}")
            assert store.one(devices, device="pi7").agent_version == "1.2.3"
        assert json.loads(health.read_bytes())["state"] == "stopped"


@pytest.mark.parametrize(
    "databases", ["postgres_databases", pytest.param("sqlite_databases", marks=pytest.mark.slow)]
)
def test_several_collectors_divide_the_messages_and_none_is_stored_twice(
    broker: Broker, collect: StartCollector, databases: str, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue(databases).new()
    two = [collect(url, name=name) for name in ("one", "two")]
    with sender(broker) as link:
        for device in ("a", "b", "c"):
            burst(link, range(1, 201), device=device)
        wait_until(lambda: count(url, records) == 600, "all stored")
        two[0].kill()
        burst(link, range(201, 301))
        two[0].start()  # its session kept what was on its way to it
        wait_until(lambda: count(url, records) == 700, "all stored again")
    assert [one.stop() for one in two] == [0, 0]
    for one in two:
        assert not one.has("batch_failed"), one.log_file.read_text()
        assert one.has("collector_stopped")
    with stored(url) as store:
        assert len(store.rows(devices)) == len(store.rows(boots)) == 4  # a, b, c and pi5


def test_a_kill_between_commit_and_acknowledgement_stores_nothing_twice(
    broker: Broker, collect: StartCollector, tmp_path: Path, url: str
) -> None:
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("EDGEQA")},
        "PYTHONPATH": str(SUPPORT),
        "EDGEQA_CLOUD_BROKER": broker.url,
        "EDGEQA_CLOUD_DATABASE": url,
        "EDGEQA_CLOUD_NAME": "collector",
    }
    with (tmp_path / "killed.log").open("wb") as log:
        killed = subprocess.Popen(
            [sys.executable, "-m", "support.kill_collector"], env=environment, stdout=log,
            stderr=log,
        )  # fmt: skip
    wait_until(lambda: b"collector_online" in (tmp_path / "killed.log").read_bytes(), "online")
    with sender(broker) as link:
        burst(link, range(1, 51))
        assert killed.wait(60) == -signal.SIGKILL
        committed = count(url, records)
        assert committed > 0
        collector = collect(url)
        wait_until(lambda: count(url, records) == 50, "the rest")
        time.sleep(0.3)
    assert collector.stop() == 0
    assert count(url, records) == 50


def test_a_database_that_goes_and_comes_back_loses_nothing(
    broker: Broker, collect: StartCollector, world_folder: Path
) -> None:
    server = PostgresServer(world_folder / "stopped", durable=False)
    server.make()
    with server.running():
        with stored(server.url) as store:
            migrate(store.database)
        collector = collect(server.url)
        with sender(broker) as link:
            burst(link, range(1, 101))
            wait_until(lambda: count(server.url, records) == 100, "stored before")
    with sender(broker) as link:
        burst(link, range(101, 301))
        wait_until(lambda: collector.has("database_failed"), "trouble is logged")
        with server.running():
            wait_until(lambda: count(server.url, records) == 300, "stored after")
            assert collector.stop() == 0
    events = [one["event"] for one in collector.events]
    assert events.count("database_failed") == events.count("database_back") == 1


def test_a_record_lost_on_the_way_is_sent_again_by_its_outbox(
    broker: Broker, collect: StartCollector, tmp_path: Path, url: str
) -> None:
    box = Box(tmp_path)
    box.wall_ms = unix_ms()
    outbox = box.open(device="pi5")
    topics = DeviceTopics("pi5")
    append(outbox, 20)

    def send(link: MqttLink, *, losing: tuple[int, ...] = ()) -> None:
        for row in outbox.waiting(after=0, limit=100):
            if json.loads(row.payload)["seq"] not in losing:
                link.publish(Outgoing(topics.record(row.kind), row.payload))
            outbox.mark_sent([row.id])

    def obey(delivery: Delivery) -> None:
        link.acknowledge(delivery)
        outbox.resend(ResendCommand.model_validate_json(delivery.payload).ranges)
        send(link)

    collector = collect(url)
    with sender(broker, Subscription(topics.command("resend"), obey)) as link:
        boot_id = json.loads(outbox.waiting(after=0, limit=1)[0].payload)["boot_id"]
        send(link, losing=(3, 4, 5, 11, 20))
        beat = heartbeat(boot_id=boot_id, seq=outbox.acknowledged, time_ms=unix_ms())
        publish(link, "heartbeat", beat)
        wait_until(lambda: count(url, records) == 20, "all twenty")
        with stored(url) as store:
            wait_until(lambda: store.one(boots).settled == 20, "settled")
            assert {row.state for row in store.rows(gaps)} == {"filled"}
    assert collector.stop() == 0
    assert collector.has("resend_asked")
    outbox.close()
