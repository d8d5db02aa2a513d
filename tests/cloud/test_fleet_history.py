"""The fleet over time and its alarms: hours that are added up, and records behind them."""

from __future__ import annotations

from sqlalchemy import insert, select
from support.cloud import Store
from support.fleet import HOUR_MS, MINUTE_MS, Fleet
from support.rollout_rows import RolloutRows

from edgeqa_cloud import tables
from edgeqa_cloud.alarms import Severity, read_alarms
from edgeqa_cloud.fleet_history import SAMPLE, FleetHistory, FleetPast
from edgeqa_cloud.fleet_hours import SETTLE_MS, FleetHours, mark_due
from edgeqa_cloud.rollout.states import RolloutState
from edgeqa_cloud.summary import fleet_summary

NOW_MS = 1_799_964_600_000
HOUR = NOW_MS // HOUR_MS * HOUR_MS


def add_up(store: Store, *hours: int) -> None:
    with store.database.writing() as connection:
        mark_due(connection, hours, now_ms=NOW_MS)
    while FleetHours(database=store.database).add_up(now_ms=NOW_MS + SETTLE_MS):
        pass


def read(store: Store, past: FleetPast, span_ms: int, now_ms: int = NOW_MS) -> FleetHistory:
    with store.database.reading() as connection:
        return past.read(connection, since_ms=now_ms - span_ms, now_ms=now_ms)


def test_hours_of_all_devices_are_added_up(store: Store) -> None:
    fleet = Fleet(store.database, NOW_MS)
    age = NOW_MS - (HOUR - 3 * HOUR_MS)
    for device, questions, score in (("a", 10, 50.0), ("b", 30, 90.0)):
        key = fleet.device(device)
        fleet.rollup(key, age_ms=age, evaluation_questions=questions, exact_match=score, f1=score)
    add_up(store, HOUR - 3 * HOUR_MS)
    (hour,) = store.rows(tables.fleet_hours)
    assert (hour.devices, hour.covered_s, hour.answered, hour.refused) == (2, 7200, 200, 4)
    assert (hour.evaluation_questions, hour.exact_match) == (40, 80.0)
    assert hour.total["count"] == 200
    assert not store.rows(tables.fleet_hours_due)
    (point,) = read(store, FleetPast(), 24 * HOUR_MS).points
    assert (point.start_ms, point.online, point.exact_match) == (hour.start_ms, 2.0, 80.0)
    assert point.p50_ms is not None
    assert 18 < point.p50_ms < 22


def test_an_hour_that_changes_is_added_up_anew_when_it_has_settled(store: Store) -> None:
    fleet = Fleet(store.database, NOW_MS)
    key = fleet.device("a")
    start_ms = HOUR - 3 * HOUR_MS
    fleet.rollup(key, age_ms=NOW_MS - start_ms)
    with store.database.writing() as connection:
        mark_due(connection, [start_ms], now_ms=NOW_MS)
    hours = FleetHours(database=store.database)
    assert not hours.add_up(now_ms=NOW_MS + SETTLE_MS - 1)
    assert hours.add_up(now_ms=NOW_MS + SETTLE_MS)
    assert not hours.add_up(now_ms=NOW_MS + SETTLE_MS)
    fleet.rollup(fleet.device("b"), age_ms=NOW_MS - start_ms)
    add_up(store, start_ms)
    assert [one.devices for one in store.rows(tables.fleet_hours)] == [2]


def test_the_newest_hours_come_from_records(store: Store) -> None:
    fleet = Fleet(store.database, NOW_MS)
    key = fleet.device("a")
    for minute in range(30):
        fleet.telemetry(key, age_ms=minute * MINUTE_MS + 1000, interval_s=60.0)
    fleet.evaluation(key, age_ms=7 * MINUTE_MS, exact_match=60.0, f1=70.0)
    points = read(store, FleetPast(), 24 * HOUR_MS).points
    assert all(one.length_ms == 5 * MINUTE_MS for one in points)
    assert sum(one.answered for one in points) > 0
    assert [one.exact_match for one in points if one.exact_match is not None] == [60.0]
    whole = points[1:-1]
    assert {round(one.online) for one in whole} == {1}


def test_a_large_fleet_is_read_by_a_sample(store: Store) -> None:
    fleet = Fleet(store.database, NOW_MS)
    key = fleet.device("a")
    one = fleet.telemetry(key, age_ms=40 * MINUTE_MS)
    with store.database.reading() as connection:
        row = dict(connection.execute(select(tables.records)).mappings().one())
    start_ms = (NOW_MS - 20 * MINUTE_MS) // (5 * MINUTE_MS) * 5 * MINUTE_MS
    count = 10 * SAMPLE
    rows = [
        {**row, "seq": 100 + number, "time_ms": at_ms, "received_ms": at_ms}
        for number in range(count)
        for at_ms in [start_ms + number * 5 * MINUTE_MS // count]
    ]
    with store.database.writing() as connection:
        connection.execute(insert(tables.records), rows)
    past = FleetPast()
    found = {one.start_ms: one for one in read(store, past, 24 * HOUR_MS).points}[start_ms]
    assert found.answered == count * one.outcomes["answered"]
    # What is over is not read again.
    with store.database.writing() as connection:
        connection.execute(tables.records.delete())
    again = {one.start_ms: one for one in read(store, past, 24 * HOUR_MS).points}
    assert again[start_ms] == found


def test_what_somebody_must_look_at(store: Store) -> None:
    fleet, rows = Fleet(store.database, NOW_MS), RolloutRows(store.database, NOW_MS)

    def alarms() -> dict[str, tuple[Severity, int]]:
        with store.database.reading() as connection:
            summary = fleet_summary(connection, now_ms=NOW_MS)
            found = read_alarms(connection, summary, now_ms=NOW_MS).alarms
        assert [one.severity for one in found] == sorted(one.severity for one in found)
        return {one.kind: (one.severity, one.count) for one in found}

    key = fleet.device("a")
    for number in range(20):
        fleet.device(f"well-{number}")
    assert alarms() == {}
    fleet.device("silent", last_seen_ms=NOW_MS - HOUR_MS)
    fleet.device("hot", temperature_celsius=84.0, throttled=["throttled"])
    fleet.swap(key, age_ms=HOUR_MS, state="failed", code="digest_mismatch")
    fleet.gap(key, 1, 5, "lost")
    fleet.quarantine(["not_json", "not_json"])
    assert alarms() == {
        "silent": (Severity.WARNING, 1),
        "throttled": (Severity.WARNING, 1),
        "hot": (Severity.WARNING, 1),
        "failed_swaps": (Severity.WARNING, 1),
        "lost_records": (Severity.WARNING, 5),
        "quarantine": (Severity.WARNING, 2),
    }
    for number in range(3):
        fleet.device(f"gone-{number}", last_seen_ms=NOW_MS - HOUR_MS)
    rows.rollout([(key, 0, "changed")], rollout="r-paused", state=RolloutState.PAUSED)
    found = alarms()
    assert found["silent"] == (Severity.CRITICAL, 4)
    assert found["rollout_paused"] == (Severity.CRITICAL, 1)
