"""The engine over a real broker and real databases, with devices that follow its wishes."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
import structlog
from sqlalchemy import select
from structlog.testing import capture_logs
from support.broker import Broker
from support.cloud import wait_until
from support.fleet import NEW, OLD
from support.fleet_databases import Databases
from support.following_fleet import BAD, THIRD
from support.steered import GATES, Steered, steered

from edgeqa.commands import unix_ms
from edgeqa.operator import Operator
from edgeqa_cloud.database import Database
from edgeqa_cloud.rollout.leadership import Leadership
from edgeqa_cloud.rollout.lost_wishes import LostWishes
from edgeqa_cloud.rollout.states import Action
from edgeqa_cloud.rollout.tables import rollouts, wishes
from edgeqa_cloud.tables import leases

NAMES = [f"pi-{number}" for number in range(6)]
ONE_STAGE = [{"percent": 100, "soak_s": 0.2}]
# A canary that nobody has to wait for, and a stage that waits for a person.
LONG_SOAK = [{"percent": 100, "soak_s": 600}]


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    broker = Broker(tmp_path_factory.mktemp("broker")).start()
    yield broker
    broker.stop()


@pytest.fixture
def bench(sqlite_databases: Databases, broker: Broker) -> Iterator[Steered]:
    yield from made(sqlite_databases, broker)


@pytest.fixture
def each_bench(cloud_databases: Databases, broker: Broker) -> Iterator[Steered]:
    """On both databases."""
    yield from made(cloud_databases, broker)


def made(databases: Databases, broker: Broker) -> Iterator[Steered]:
    with databases.open(databases.new()) as database, steered(database, broker, NAMES) as bench:
        yield bench


@pytest.fixture(autouse=True)
def nothing_retained(broker: Broker) -> Iterator[None]:
    """The next test's devices are to get no wishes of this one's."""
    yield
    with Operator(broker=broker.url) as operator:
        for name in [*NAMES, "late"]:
            operator.withdraw(name)


def versions(bench: Steered, name: str) -> list[str]:
    return [version for _, version in bench.fleet.devices[name].wishes]


def test_a_good_rollout_completes(each_bench: Steered) -> None:
    bench = each_bench
    bench.start()
    rollout = bench.create()
    view = bench.wait(rollout, "completed")
    assert view.states == {"changed": 6}
    assert bench.fleet.on_model(NEW) == set(NAMES)
    # Each got one wish, and the canaries first.
    assert all(versions(bench, name) == [NEW["version"]] for name in NAMES)
    gates = {gate.gate: gate for gate in view.gates}
    assert gates["f1"].status == "passed"
    assert gates["f1"].value == pytest.approx(-1.0)
    actions = bench.actions(rollout)
    assert actions[0] == "rollout_created"
    assert actions.index("stage_begun") < actions.index("completed")
    with bench.database.reading() as connection:
        rows = connection.execute(select(wishes)).all()
    assert len(rows) == 6
    wait_until(lambda: not unpublished(bench), "all are noted as published")


def unpublished(bench: Steered) -> int:
    with bench.database.reading() as connection:
        query = select(wishes.c.id).where(wishes.c.published_ms.is_(None))
        return len(connection.execute(query).all())


def test_a_bad_model_is_stopped_in_the_canary_stage_and_undone(each_bench: Steered) -> None:
    bench = each_bench
    bench.start()
    rollout = bench.create(BAD["version"])
    view = bench.wait(rollout, "undone")
    assert view.states == {"reverted": 2, "untouched": 4}
    assert view.stage == 0
    assert bench.fleet.on_model(OLD) == set(NAMES)
    seen = [versions(bench, name) for name in NAMES]
    assert sorted(seen) == [[]] * 4 + [[BAD["version"], OLD["version"]]] * 2
    assert {"gate_breached", "undo_begun"} <= set(bench.actions(rollout))


def test_failed_swaps_breach_their_gate(bench: Steered) -> None:
    for device in bench.fleet.devices.values():
        device.refuses = {NEW["version"]}
    bench.start()
    rollout = bench.create()
    bench.wait(rollout, "undone")
    view = bench.view(rollout)
    assert bench.fleet.on_model(OLD) == set(NAMES)
    assert view.stage == 0
    assert view.states["untouched"] == 4


def test_a_device_that_comes_back_catches_up(bench: Steered) -> None:
    bench.fleet.go(NAMES[5])
    bench.start()
    rollout = bench.create()
    bench.wait_members(rollout, changed=5, wished=1)
    assert bench.view(rollout).state == "running"
    bench.fleet.come(NAMES[5])
    bench.wait(rollout, "completed")
    assert bench.fleet.on_model(NEW) == set(NAMES)


def test_a_device_that_does_not_come_back_expires_and_keeps_its_model(bench: Steered) -> None:
    bench.fleet.go(NAMES[5])
    bench.start()
    rollout = bench.create(offline_expire_s=1.0)
    bench.wait(rollout, "completed")
    assert bench.members(rollout) == {"changed": 5, "expired": 1}
    device = bench.fleet.devices[NAMES[5]]
    wait_until(
        lambda: device.retained is None or device.retained.version == OLD["version"], "taken back"
    )
    bench.fleet.come(NAMES[5])
    assert bench.fleet.on_model(OLD) == {NAMES[5]}


def test_a_device_that_comes_to_match_the_target_joins(bench: Steered) -> None:
    bench.start()
    rollout = bench.create(stages=LONG_SOAK)
    bench.wait_members(rollout, changed=6)
    bench.fleet.add("late")
    bench.wait_members(rollout, changed=7)
    assert bench.fleet.on_model(NEW) == {*NAMES, "late"}
    assert bench.state_of(rollout, "late").before_version == OLD["version"]


def test_of_two_rollouts_the_newer_has_the_device(bench: Steered) -> None:
    bench.start()
    first = bench.create(stages=LONG_SOAK)
    bench.wait_members(first, changed=6)
    second = bench.create(THIRD["version"], target={"devices": NAMES[:2]}, stages=ONE_STAGE)
    bench.wait(second, "completed")
    bench.wait_members(first, changed=4, superseded=2)
    # Undoing the older leaves the newer's devices alone.
    assert bench.order(first, Action.UNDO) == "obeyed"
    bench.wait(first, "undone")
    assert bench.fleet.on_model(THIRD) == set(NAMES[:2])
    assert bench.fleet.on_model(OLD) == set(NAMES[2:])
    # And undoing the newer goes back to what it had found.
    assert bench.order(second, Action.UNDO) == "obeyed"
    bench.wait(second, "undone")
    assert bench.fleet.on_model(NEW) == set(NAMES[:2])


def test_somebody_elses_wish_takes_the_device_over(bench: Steered, broker: Broker) -> None:
    bench.start()
    rollout = bench.create(stages=LONG_SOAK)
    bench.wait_members(rollout, changed=6)
    with Operator(broker=broker.url) as operator:
        operator.wish(NAMES[0], THIRD["name"], THIRD["version"], digest=THIRD["digest"])
    bench.wait_members(rollout, changed=5, superseded=1)
    assert bench.order(rollout, Action.UNDO) == "obeyed"
    bench.wait(rollout, "undone")
    assert bench.fleet.on_model(THIRD) == {NAMES[0]}


def test_the_wish_that_a_device_had_before_is_nobodys_new_one(
    bench: Steered, broker: Broker
) -> None:
    with Operator(broker=broker.url) as operator:
        operator.wish(NAMES[0], THIRD["name"], THIRD["version"], digest=THIRD["digest"])
    device = bench.fleet.devices[NAMES[0]]
    wait_until(lambda: device.model == THIRD, "the wish is followed")
    bench.fleet.go(NAMES[0])
    bench.start()
    rollout = bench.create(stages=LONG_SOAK)
    bench.wait_members(rollout, changed=5, wished=1)
    # It connects, and tells first what it last had told.
    bench.fleet.report(device, "active")
    bench.fleet.come(NAMES[0])
    bench.wait_members(rollout, changed=6)


def test_forged_and_replayed_reports_change_nothing(bench: Steered) -> None:
    for device in bench.fleet.devices.values():
        device.refuses = {NEW["version"]} if device.device == NAMES[0] else set()
    bench.start()
    gates = {**GATES, "failed_swaps": None}
    rollout = bench.create(stages=LONG_SOAK, gates=gates)
    bench.wait_members(rollout, changed=5, failed=1)
    victim, other = (bench.fleet.devices[name] for name in NAMES[:2])
    # Another device's report under its own topic, and its own under another's.
    forged = bench.fleet.report(other, "rolled_back", active=OLD, **OLD)
    bench.fleet.report(other, "active")
    bench.fleet.say(victim.device, "model/reported", forged)
    strange = {**forged, "device": victim.device, "state": "dancing"}
    bench.fleet.say(victim.device, "model/reported", strange)
    hostile = bench.fleet.report(victim, "failed", reason={"code": "x" * 5000, "message": "<b>"})
    assert bench.order(rollout, Action.UNDO) == "obeyed"
    bench.wait(rollout, "undone")
    # What was true once is told again.
    replayed = {**hostile, "state": "active", "active": NEW, **NEW, "wish": victim.wishes[0][0]}
    bench.fleet.say(victim.device, "model/reported", replayed)
    assert bench.view(rollout).state == "undone"
    assert bench.fleet.on_model(OLD) == set(NAMES)


def test_orders_are_obeyed_or_refused(bench: Steered) -> None:
    bench.start()
    rollout = bench.create(stages=[{"count": 2, "soak_s": 600}, {"percent": 100, "soak_s": 0.2}])
    bench.wait_members(rollout, changed=2, waiting=4)
    assert bench.order(rollout, Action.PAUSE) == "obeyed"
    assert bench.view(rollout).state == "paused"
    assert bench.order(rollout, Action.RESUME) == "obeyed"
    assert bench.order(rollout, Action.PROMOTE) == "obeyed"
    bench.wait(rollout, "completed")
    assert bench.order(rollout, Action.UNDO) == "obeyed"
    bench.wait(rollout, "undone")
    assert bench.fleet.on_model(OLD) == set(NAMES)


def test_an_abort_keeps_what_has_changed(bench: Steered) -> None:
    bench.start()
    rollout = bench.create(stages=[{"count": 2, "soak_s": 600}, {"percent": 100}])
    bench.wait_members(rollout, changed=2, waiting=4)
    assert bench.order(rollout, Action.ABORT) == "obeyed"
    bench.wait(rollout, "aborted")
    assert bench.members(rollout) == {"changed": 2, "untouched": 4}
    assert len(bench.fleet.on_model(NEW)) == 2


def test_a_device_that_runs_the_model_already_gets_no_wish(bench: Steered) -> None:
    device = bench.fleet.devices[NAMES[0]]
    device.model = dict(NEW)
    bench.fleet.report(device, "active")
    bench.fleet.presence(device)
    bench.start()
    rollout = bench.create(stages=ONE_STAGE)
    bench.wait(rollout, "completed")
    assert versions(bench, NAMES[0]) == []
    assert bench.members(rollout) == {"changed": 6}


def test_an_engine_with_nothing_to_do_writes_nothing(bench: Steered) -> None:
    engine = bench.start()
    rollout = bench.create(stages=ONE_STAGE)
    bench.wait(rollout, "completed")
    wait_until(lambda: not unpublished(bench), "all are noted as published")

    def lease() -> Any:
        with bench.database.reading() as connection:
            return connection.execute(select(leases)).all(), connection.execute(
                select(rollouts.c.revision)
            ).all()

    engine.poke()
    wait_until(lambda: engine.under_way == 0, "nothing is kept")
    before = lease()
    for _ in range(5):
        engine.round()
    assert lease() == before


def test_of_two_engines_one_steers_and_the_other_takes_over(bench: Steered) -> None:
    first, second = bench.start(), bench.start()
    rollout = bench.create(stages=LONG_SOAK)
    bench.wait_members(rollout, changed=6)
    assert all(versions(bench, name) == [NEW["version"]] for name in NAMES)
    leading = next(one for one in (first, second) if one.leads)
    bench.stop(leading)
    assert bench.order(rollout, Action.UNDO) == "obeyed"
    bench.wait(rollout, "undone")
    with bench.database.reading() as connection:
        (lease,) = connection.execute(select(leases)).all()
    assert lease.until_ms > unix_ms()


@contextmanager
def away(database: Database) -> Iterator[None]:
    """Nobody gets into the database, or can write to it."""
    url = database.engine.url
    if database.is_sqlite:
        with closing(sqlite3.connect(url.database or "", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            yield
        return
    server = url.set(drivername="postgresql", database="postgres")
    with psycopg.connect(server.render_as_string(False), autocommit=True) as other:
        name = url.database or ""
        allow = "ALTER DATABASE {} ALLOW_CONNECTIONS {}"
        other.execute(allow.format(name, "false").encode())
        other.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,)
        )
        yield
        other.execute(allow.format(name, "true").encode())


def test_a_database_that_goes_away_is_waited_for(
    cloud_databases: Databases, broker: Broker
) -> None:
    with (
        capture_logs() as logs,
        cloud_databases.open(cloud_databases.new()) as database,
        steered(database, broker, NAMES, database_timeout_s=0.2) as bench,
    ):
        bench.start()
        rollout = bench.create(stages=[{"count": 2, "soak_s": 600}, {"percent": 100}])
        bench.wait_members(rollout, changed=2, waiting=4)

        def said(event: str) -> int:
            return sum(one["event"] == event for one in logs)

        with away(database):
            wait_until(lambda: said("rollouts_wait_for_database") == 1, "it waits")
        assert bench.order(rollout, Action.PROMOTE) == "obeyed"
        bench.wait_members(rollout, changed=6)
        wait_until(lambda: said("rollouts_go_on") == 1, "it goes on")
        assert said("rollouts_wait_for_database") == 1
        assert said("rollouts_failed") == 0
    assert all(versions(bench, name) == [NEW["version"]] for name in NAMES)


def test_a_broker_that_restarts_loses_no_wish(sqlite_databases: Databases, tmp_path: Path) -> None:
    broker = Broker(tmp_path, persistence=True).start()
    try:
        with (
            sqlite_databases.open(sqlite_databases.new()) as database,
            steered(database, broker, NAMES) as bench,
        ):
            bench.start()
            rollout = bench.create(stages=[{"count": 2, "soak_s": 600}, {"percent": 100}])
            bench.wait_members(rollout, changed=2, waiting=4)
            broker.stop(kill=True)
            assert bench.order(rollout, Action.PROMOTE) == "obeyed"
            bench.wait_members(rollout, changed=2, wished=4)
            broker.start()
            bench.wait_members(rollout, changed=6)
    finally:
        broker.stop()


def test_a_broker_that_forgets_is_told_again(sqlite_databases: Databases, tmp_path: Path) -> None:
    broker = Broker(tmp_path).start()
    try:
        with (
            sqlite_databases.open(sqlite_databases.new()) as database,
            steered(database, broker, NAMES) as bench,
        ):
            bench.fleet.go(NAMES[5])
            bench.start()
            rollout = bench.create(stages=ONE_STAGE)
            bench.wait_members(rollout, changed=5, wished=1)
            wait_until(lambda: not unpublished(bench), "all are noted as published")
            wish = bench.state_of(rollout, NAMES[5]).wish
            broker.restart(kill=True)
            with Operator(broker=broker.url) as operator:

                def retained() -> str | None:
                    found = operator.desired(NAMES[5], timeout_s=0.3)
                    return None if found is None else found.id

                wait_until(lambda: retained() == wish, "it is retained again", timeout_s=40)
                # What nobody waits for any more is not.
                assert operator.desired(NAMES[0], timeout_s=0.3) is None
    finally:
        broker.stop()


def test_somebody_elses_wish_is_not_lost(bench: Steered, broker: Broker) -> None:
    bench.fleet.go(NAMES[5])
    bench.start()
    rollout = bench.create(stages=ONE_STAGE)
    bench.wait_members(rollout, changed=5, wished=1)
    wait_until(lambda: not unpublished(bench), "all are noted as published")
    bench.stop()
    lost = LostWishes(
        database=bench.database,
        leadership=Leadership(holder="test", now_ms=unix_ms),
        broker=broker.address(),
        stop=threading.Event(),
        log=structlog.get_logger(),
    )
    assert lost.put_back() == 0
    with Operator(broker=broker.url) as operator:
        operator.wish(NAMES[5], THIRD["name"], THIRD["version"])
        assert lost.put_back() == 0
        operator.withdraw(NAMES[5])
        assert lost.put_back() == 1
    assert unpublished(bench) == 1
