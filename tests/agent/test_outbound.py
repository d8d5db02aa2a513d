"""Outbox, courier and heartbeat over a real broker that comes and goes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import structlog
from support.broker import Broker
from support.outboxes import DEVICE, Box, swap, telemetry

from edgeqa.mqtt import Limits, MqttLink
from edgeqa.outbox import Outbox, OutboxFile
from edgeqa.packets import Delivery, Subscription
from edgeqa.telemetry_examples import EVALUATIONS, TELEMETRY
from edgeqa.telemetry_messages import (
    Evaluation,
    Heartbeat,
    ResendCommand,
    SeqRange,
    Telemetry,
)
from edgeqa.topics import DeviceTopics
from edgeqa_agent.outbound import Outbound, resend_handler

TOPICS = DeviceTopics(DEVICE)
_OF_THE_OUTBOX = {"schema", "device", "boot_id", "seq", "time_ms", "uptime_ms"}


def eventually(condition: Callable[[], object], timeout_s: float = 20.0) -> bool:
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


class Collector:
    """Listens to all that a device says.

    Attributes:
        heard: what came: kind of message, and its number.
    """

    def __init__(self, broker: Broker) -> None:
        self.heard: list[tuple[str, int]] = []
        self.heartbeats: list[Heartbeat] = []
        self.link = MqttLink(
            broker=broker.address(),
            client_id="collector",
            subscriptions=[Subscription(f"{TOPICS.root}/+", self._on_message)],
            log=structlog.get_logger(),
        )

    def __enter__(self) -> Self:
        self.link.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.link.stop()

    @property
    def records(self) -> list[int]:
        """Numbers of the records, in the order in which they came."""
        return [seq for kind, seq in self.heard if kind != "heartbeat"]

    def _on_message(self, delivery: Delivery) -> None:
        self.link.acknowledge(delivery)
        said = json.loads(delivery.payload)
        kind = delivery.topic.rpartition("/")[2]
        if kind == "heartbeat":
            self.heartbeats.append(Heartbeat.model_validate_json(delivery.payload))
        self.heard.append((kind, said["seq"]))


@contextmanager
def sending(broker: Broker, outbox: Outbox, *, beat_s: float = 60.0) -> Iterator[Outbound]:
    """An outbound and its link, as the agent has them."""

    def ready() -> None:
        outbound.connected()

    link = MqttLink(
        broker=broker.address(),
        client_id="device",
        subscriptions=[],
        log=structlog.get_logger(),
        on_ready=ready,
        limits=Limits(session_expiry_s=60, max_queued=100),
    )
    outbound = Outbound(outbox=outbox, link=link, beat_s=beat_s, log=structlog.get_logger())
    outbound.start()
    link.start()
    try:
        yield outbound
    finally:
        outbound.flush(timeout_s=2)
        link.stop()
        outbound.stop()


@contextmanager
def opened(folder: Path, boot_id: str = "boot-1") -> Iterator[tuple[Outbox, OutboxFile]]:
    box = Box(folder)
    with box.file(durable=False) as file:
        yield box.open(boot_id, file=file), file


def test_a_heartbeat_goes_before_the_backlog(broker: Broker, tmp_path: Path) -> None:
    with opened(tmp_path) as (outbox, _), Collector(broker) as collector:
        telemetry(outbox, 30)
        with sending(broker, outbox):
            assert eventually(lambda: len(collector.records) == 30)
        assert collector.heard[0] == ("heartbeat", 0)
        assert collector.records == list(range(1, 31))
        assert collector.heartbeats[0].boots is not None


def test_the_end_of_an_earlier_start_goes_first(broker: Broker, tmp_path: Path) -> None:
    with opened(tmp_path) as (outbox, file), Collector(broker) as collector:
        telemetry(outbox, 3)
        later = Box(tmp_path).open("boot-2", file=file)
        telemetry(later, 2)
        with sending(broker, later):
            assert eventually(lambda: len(collector.records) == 5)
        assert collector.records == [1, 2, 3, 1, 2]


def test_a_broker_that_forgets_everything_costs_no_record(broker: Broker, tmp_path: Path) -> None:
    """Killed three times, without persistence, while records are appended all the time."""
    with opened(tmp_path) as (outbox, _):
        with sending(broker, outbox), Collector(broker) as collector:
            for _ in range(3):
                telemetry(outbox, 40)
                broker.stop(kill=True)
                telemetry(outbox, 40)
                broker.start()
                assert eventually(lambda: collector.link.connected)
            assert eventually(lambda: outbox.state().waiting == 0)
            first, second = list(dict.fromkeys(collector.records)), outbox.acknowledged
            # What the broker took and nobody heard is the collector's to ask for.
            missing = sorted(set(range(1, 241)) - set(first))
            ranges = [SeqRange(boot_id="boot-1", first=seq, last=seq) for seq in missing]
            assert outbox.resend(ranges) == (len(missing), 0)
            assert eventually(lambda: set(collector.records) == set(range(1, 241)))
        assert second == 240


def test_where_nobody_collects_nothing_is_lost(broker: Broker, tmp_path: Path) -> None:
    with opened(tmp_path) as (outbox, _), sending(broker, outbox, beat_s=1.0) as outbound:
        telemetry(outbox, 5)
        assert eventually(lambda: outbound.stalled)
        assert (outbox.state().waiting, outbox.acknowledged) == (5, 0)
        assert not outbound.flush(timeout_s=30)  # a stop does not wait for it
        with Collector(broker) as collector:
            assert eventually(lambda: outbox.state().waiting == 0)
            # The broker acknowledges to the one before it has delivered to the other.
            assert eventually(lambda: len(collector.records) >= 5)
            assert collector.records == [1, 2, 3, 4, 5]


def test_a_day_offline_is_replayed_in_order_within_the_default_bounds(
    broker: Broker, tmp_path: Path
) -> None:
    """A record a minute, two evaluations an hour and some swaps, all while there is no broker."""
    serving, scores = (
        {name: value for name, value in example.items() if name not in _OF_THE_OUTBOX}
        for example in (TELEMETRY["serving"], EVALUATIONS["afterSwap"])
    )
    broker.stop(kill=True)
    with opened(tmp_path) as (outbox, _):
        for minute in range(24 * 60):
            outbox.append(Telemetry, **serving)
            if minute % 30 == 0:
                outbox.append(Evaluation, **scores)
            if minute % 300 == 0:
                swap(outbox)
    count = 24 * 60 + 48 + 5
    broker.start()
    with opened(tmp_path, "boot-2") as (outbox, _), Collector(broker) as collector:
        assert outbox.state().waiting == count
        with sending(broker, outbox):
            assert eventually(lambda: len(collector.records) >= count)
            assert eventually(lambda: outbox.held()[1].last == count)
        assert collector.records == list(range(1, count + 1))
        assert (outbox.state().waiting, outbox.state().dropped) == (0, {})


def test_heartbeats_do_not_pile_up_while_there_is_no_connection(
    broker: Broker, tmp_path: Path
) -> None:
    with opened(tmp_path) as (outbox, _), Collector(broker) as collector:
        with sending(broker, outbox, beat_s=0.02):
            assert eventually(lambda: len(collector.heartbeats) > 3)
            broker.stop(kill=True)
            time.sleep(0.5)  # 25 intervals
            before = len(collector.heartbeats)
            broker.start()
            assert eventually(lambda: collector.link.connected and outbox is not None)
            assert eventually(lambda: len(collector.heartbeats) > before + 6)
        uptimes = [one.uptime_ms for one in collector.heartbeats[before : before + 6]]
        assert len(uptimes) == 6
        gaps = [one.time_ms for one in collector.heartbeats]
        assert gaps == sorted(gaps)


def test_records_are_sent_again_on_command(broker: Broker, tmp_path: Path) -> None:
    with opened(tmp_path) as (outbox, _), Collector(broker) as collector:
        telemetry(outbox, 6)
        with sending(broker, outbox):
            assert eventually(lambda: len(collector.records) == 6)
            assert eventually(lambda: outbox.state().waiting == 0)
            wanted: dict[str, Any] = {"boot_id": "boot-1", "first": 5, "last": 8}
            command = ResendCommand(number=1, expires_ms=1, ranges=[SeqRange(**wanted)])
            assert resend_handler(outbox).act(command) == {"queued": 2, "missing": 2}
            assert eventually(lambda: len(collector.records) == 8)
        assert collector.records == [1, 2, 3, 4, 5, 6, 5, 6]


def test_a_stop_sends_what_waits_and_notes_it(broker: Broker, tmp_path: Path) -> None:
    with opened(tmp_path) as (outbox, _), Collector(broker) as collector:
        with sending(broker, outbox):
            assert eventually(lambda: collector.heartbeats)
            telemetry(outbox, 50)
        assert collector.records == list(range(1, 51))
        assert outbox.state().waiting == 0
    with opened(tmp_path, "boot-2") as (again, _):
        assert again.waiting(after=0, limit=10) == []
        assert again.state().waiting == 0


def test_a_broker_that_takes_only_small_packets_gets_the_small_ones(
    start_broker: Callable[..., Broker], tmp_path: Path
) -> None:
    broker = start_broker(extra=("max_packet_size 4000",))
    with opened(tmp_path) as (outbox, _), Collector(broker) as collector:
        telemetry(outbox)
        telemetry(outbox, outcomes={f"outcome_{'x' * 40}_{n}": 1 for n in range(60)})
        telemetry(outbox)
        with sending(broker, outbox):
            assert eventually(lambda: len(collector.records) == 2)
            assert eventually(lambda: outbox.acknowledged == 3)
        assert collector.records == [1, 3]
        assert outbox.state().dropped == {"telemetry": 1}


def test_a_broker_that_refuses_records_keeps_them_on_the_device(
    start_broker: Callable[..., Broker], tmp_path: Path
) -> None:
    rules = tmp_path / "rules"
    rules.write_text(f"topic readwrite {TOPICS.heartbeat}\ntopic read #\n")
    rules.chmod(0o600)
    broker = start_broker(extra=(f"acl_file {rules}",))
    with opened(tmp_path) as (outbox, _), Collector(broker) as collector:
        telemetry(outbox, 2)
        with sending(broker, outbox) as outbound:
            assert eventually(lambda: outbound.stalled)
        assert outbox.state().waiting == 2
        assert collector.records == []


def test_stop_is_idempotent_and_needs_no_start(tmp_path: Path) -> None:
    class Down:
        connected = False

        def publish(self, *_: object) -> None:
            raise AssertionError("there is no connection")

    with opened(tmp_path) as (outbox, _):
        down = Outbound(outbox=outbox, link=Down(), beat_s=1, log=structlog.get_logger())
        down.stop()
        down.stop()
        down.start()
        telemetry(outbox)
        assert not down.flush(timeout_s=5)
        down.stop()
        assert outbox.state().waiting == 1
