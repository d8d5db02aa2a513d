"""Wishes from the table to a real broker: all of them, the newest last, whatever goes away."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from sqlalchemy import select, text
from structlog.testing import capture_logs
from support.broker import Broker
from support.cloud import wait_until
from support.fleet import NEW, Fleet
from support.fleet_databases import Databases

from edgeqa.commands import unix_ms
from edgeqa.messages import ModelRef
from edgeqa.model_messages import Desired
from edgeqa.mqtt import MqttLink
from edgeqa.packets import Delivery, Subscription
from edgeqa.topics import Kind, device_in, of_all_devices
from edgeqa_cloud.database import Database
from edgeqa_cloud.retention import KeepDays, Retention
from edgeqa_cloud.rollout.deployer import Deployer
from edgeqa_cloud.rollout.leadership import Leadership, LeaseLostError
from edgeqa_cloud.rollout.model import Rollout, Wish
from edgeqa_cloud.rollout.spec import RolloutSpec
from edgeqa_cloud.rollout.store import insert_rollout
from edgeqa_cloud.rollout.tables import wishes
from edgeqa_cloud.rollout.wish_rows import insert_wishes, mark_published, payload_of
from edgeqa_cloud.rollups import DAY_MS
from edgeqa_cloud.tables import devices

TARGET = ModelRef(**NEW)
SPEC = RolloutSpec.model_validate(
    {
        "package": {"name": NEW["name"], "version": NEW["version"]},
        "target": {"all": True},
        "device_gates": {"min_f1": 60.0},
    }
)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    broker = Broker(tmp_path / "broker", persistence=True).start()
    yield broker
    broker.stop()


class Retained:
    """What the broker sends of the devices' wishes, in the order in which it comes."""

    def __init__(self, broker: Broker) -> None:
        self.seen: list[tuple[str, str | None]] = []
        self._link = MqttLink(
            broker=broker.address(),
            client_id="watcher",
            subscriptions=[Subscription(of_all_devices(Kind.DESIRED), self._take)],
            log=structlog.get_logger(),
        )
        self._link.start()

    def _take(self, delivery: Delivery) -> None:
        wish = Desired.model_validate_json(delivery.payload).id if delivery.payload else None
        self.seen.append((device_in(delivery.topic) or "", wish))
        self._link.acknowledge(delivery)

    @property
    def last(self) -> dict[str, str | None]:
        return dict(self.seen)

    def stop(self) -> None:
        self._link.stop()


class Bench:
    """A rollout over some devices, and a deployer."""

    def __init__(self, database: Database, broker: Broker, count: int) -> None:
        self.database = database
        self.broker = broker
        Fleet(database, unix_ms()).many(count)
        with database.writing() as connection:
            key = insert_rollout(connection, rollout="r-1", spec=SPEC, target=TARGET, members=(),
                                 created_ms=1, created_by="user:anna")  # fmt: skip
            query = select(devices.c.id, devices.c.device).order_by(devices.c.id)
            self.devices = [(row[0], row[1]) for row in connection.execute(query)]
        self.rollout = Rollout(key, "r-1", SPEC, TARGET, 1)
        self.leadership = Leadership(holder="me", now_ms=unix_ms)
        self.deployers: list[Deployer] = []

    def lead(self) -> None:
        with self.database.writing() as connection:
            self.leadership.renew(connection)

    def deployer(self) -> Deployer:
        made = Deployer(
            database=self.database,
            leadership=self.leadership,
            broker=self.broker.address(broker_connect_timeout_s=1.0),
            client_id="deployer",
            now_ms=unix_ms,
            log=structlog.get_logger(),
        )
        self.deployers.append(made)
        made.start()
        made.wake()
        return made

    def wish(self, *made: tuple[int, str | None]) -> None:
        with self.database.writing() as connection:
            insert_wishes(
                connection,
                self.rollout,
                [
                    Wish(*self.devices[number], wish, TARGET if wish else None, forward=True)
                    for number, wish in made
                ],
                now_ms=1,
            )

    def waiting(self) -> int:
        with self.database.reading() as connection:
            query = select(wishes.c.id).where(wishes.c.published_ms.is_(None))
            return len(connection.execute(query).all())

    def all_published(self) -> bool:
        self.lead()  # the engine renews it every few seconds
        return self.waiting() == 0


@pytest.fixture
def bench(cloud_databases: Databases, broker: Broker) -> Iterator[Bench]:
    with cloud_databases.open(cloud_databases.new()) as database:
        bench = Bench(database, broker, 1500)
        yield bench
        for one in bench.deployers:
            one.stop()


def test_all_wishes_are_retained_and_noted(bench: Bench, broker: Broker) -> None:
    bench.lead()
    bench.wish(*((number, f"w{number}") for number in range(1500)))
    bench.deployer()
    wait_until(bench.all_published, "all are published")
    watcher = Retained(broker)
    wait_until(lambda: len(watcher.last) == 1500, "all are retained")
    watcher.stop()
    assert watcher.last == {device: f"w{n}" for n, (_, device) in enumerate(bench.devices)}


def test_only_the_newest_of_a_device_is_published(bench: Bench, broker: Broker) -> None:
    watcher = Retained(broker)
    bench.wish((0, "first"), (1, "other"), (0, "second"), (1, None), (0, "third"))
    bench.lead()
    bench.deployer()
    wait_until(bench.all_published, "all are noted")
    watcher.stop()
    assert watcher.seen == [(bench.devices[1][1], None), (bench.devices[0][1], "third")]


def test_nothing_is_published_without_the_lease(bench: Bench, broker: Broker) -> None:
    with bench.database.writing() as connection:
        Leadership(holder="another", now_ms=unix_ms).renew(connection)
    with pytest.raises(LeaseLostError):
        bench.lead()
    watcher = Retained(broker)
    bench.wish((0, "w"))
    deployer = bench.deployer()
    deployer.stop()
    watcher.stop()
    assert watcher.seen == []
    assert bench.waiting() == 1
    assert deployer.connected is None


def test_a_wish_that_was_not_noted_is_published_again(bench: Bench, broker: Broker) -> None:
    bench.lead()
    bench.wish((0, "w"))
    bench.deployer()
    wait_until(bench.all_published, "it is published")
    bench.deployers.pop().stop()
    with bench.database.writing() as connection:
        connection.execute(text("UPDATE wishes SET published_ms = NULL"))
    bench.deployer()
    wait_until(bench.all_published, "it is published again")
    watcher = Retained(broker)
    wait_until(lambda: bool(watcher.seen), "it is retained")
    watcher.stop()
    assert watcher.last == {bench.devices[0][1]: "w"}


def test_it_goes_on_after_the_broker_was_away(bench: Bench, broker: Broker) -> None:
    bench.lead()
    bench.wish((0, "w0"))
    deployer = bench.deployer()
    wait_until(bench.all_published, "the first is published")
    broker.stop(kill=True)
    bench.wish((1, "w1"), (0, "w0b"))
    deployer.wake()
    broker.start()
    wait_until(bench.all_published, "the others are published")
    watcher = Retained(broker)
    names = [device for _, device in bench.devices]
    wait_until(lambda: len(watcher.last) == 2, "both are retained")
    watcher.stop()
    assert watcher.last == {names[0]: "w0b", names[1]: "w1"}


def test_it_waits_for_a_broker_that_was_never_there(bench: Bench, broker: Broker) -> None:
    broker.stop()
    bench.lead()
    bench.wish((0, "w"))
    with capture_logs() as logs:
        deployer = bench.deployer()
        wait_until(lambda: any(one["event"] == "deployer_waits" for one in logs), "it says so",
                   timeout_s=20)  # fmt: skip
        broker.start()
        bench.lead()
        deployer.wake()
        wait_until(bench.all_published, "it is published")
    assert [one["event"] for one in logs].count("deployer_waits") == 1


def test_it_ends_at_once_when_nothing_is_to_do(bench: Bench) -> None:
    deployer = bench.deployer()
    done = threading.Event()
    threading.Thread(target=lambda: (deployer.stop(), done.set())).start()
    assert done.wait(5)


def test_a_wish_says_what_its_device_shall_check_and_a_way_back_does_not(bench: Bench) -> None:
    device_id, device = bench.devices[0]
    there = payload_of(bench.rollout, Wish(device_id, device, "w", TARGET, forward=True))
    back = payload_of(bench.rollout, Wish(device_id, device, "w", TARGET, forward=False))
    assert Desired.model_validate_json(there).gates == SPEC.device_gates
    assert Desired.model_validate_json(back).gates is None
    assert Desired.model_validate_json(there).rollout == "r-1"
    assert payload_of(bench.rollout, Wish(device_id, device, None, None, forward=False)) == ""


def test_wishes_that_were_published_long_ago_go_and_those_that_wait_stay(bench: Bench) -> None:
    bench.wish((0, "old"), (1, "new"), (2, "waits"))
    with bench.database.writing() as connection:
        mark_published(connection, [1], now_ms=1000)
        mark_published(connection, [2], now_ms=2000 + 90 * DAY_MS)
    keep = Retention(database=bench.database, keep=KeepDays(raw=7, hours=90, days=1000))
    assert sum(keep.delete(now_ms=2000 + 90 * DAY_MS)) == 1
    with bench.database.reading() as connection:
        left = connection.execute(select(wishes.c.wish).order_by(wishes.c.id)).scalars().all()
    assert left == ["new", "waits"]
