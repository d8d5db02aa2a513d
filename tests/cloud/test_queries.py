"""Queries of the fleet, over SQLite and PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from sqlalchemy import event
from support.fleet import HOUR_MS, MINUTE_MS, NEW, OLD, Fleet, paired, spread
from support.fleet_databases import Databases, postgres_server

from edgeqa_cloud.device_filter import DeviceFilter, DeviceSort
from edgeqa_cloud.fleet_metrics import FleetMetrics
from edgeqa_cloud.fleet_views import DeviceHistory, DevicePage
from edgeqa_cloud.history import device_history
from edgeqa_cloud.presence import Presence
from edgeqa_cloud.queries import list_devices
from edgeqa_cloud.serving_history import MAX_POINTS, STEPS_MS, step_for
from edgeqa_cloud.summary import fleet_summary

# Ten minutes past an hour, late in the day of UTC.
NOW_MS = 1_799_964_600_000
DAY_MS = 24 * HOUR_MS


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def databases(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Databases]:
    folder = tmp_path_factory.mktemp("queries")
    with ExitStack() as stack:
        server = None
        if request.param == "postgresql":
            server = stack.enter_context(postgres_server())
        yield Databases(folder, server)


@pytest.fixture
def fleet(databases: Databases) -> Iterator[Fleet]:
    with databases.open(databases.new()) as database:
        yield Fleet(database, NOW_MS)


def page(fleet: Fleet, **wanted: Any) -> DevicePage:
    with fleet.database.reading() as connection:
        return list_devices(connection, now_ms=fleet.now_ms, **wanted)


def names(fleet: Fleet, **wanted: Any) -> list[str]:
    return [one.device for one in page(fleet, **wanted).devices]


def history(fleet: Fleet, device: str, since_ms: int) -> DeviceHistory:
    with fleet.database.reading() as connection:
        found = device_history(connection, device, since_ms=NOW_MS - since_ms, now_ms=fleet.now_ms)
    assert found is not None
    return found


def test_an_empty_database(fleet: Fleet) -> None:
    assert page(fleet).model_dump() == {
        "now_ms": NOW_MS, "total": 0, "devices": [], "presence": dict.fromkeys(Presence, 0),
    }  # fmt: skip
    with fleet.database.reading() as connection:
        assert device_history(connection, "pi5", since_ms=0, now_ms=NOW_MS) is None
        summary = fleet_summary(connection, now_ms=NOW_MS)
    assert (summary.devices, summary.models, summary.f1, summary.latency) == (0, [], None, None)


def test_a_device_says_all_that_is_known(fleet: Fleet) -> None:
    fleet.device("pi5", reported={"state": "failed", "reason": {"code": "disk_full",
                                                               "message": "no room"}})  # fmt: skip
    (device,) = page(fleet).devices
    assert device.presence is Presence.ONLINE
    assert device.model is not None
    assert device.model.model_dump() == OLD
    assert (device.swap_state, device.swap_code) == ("failed", "disk_full")
    assert (device.board, device.machine) == ("Raspberry Pi 5 Model B Rev 1.0", "aarch64")
    assert device.groups == ["site-1"]
    assert (device.exact_match, device.f1, device.p95_ms) == (76.0, 80.5, 64.2)
    assert device.last_seen_ms == NOW_MS - 12_000


def test_filters(fleet: Fleet) -> None:
    fleet.device("a", groups=["site-1", "gpu"], hardware={"board": "Jetson", "machine": "aarch64"})
    fleet.device("b", groups=["site-10"], presence="offline")
    fleet.device("c", groups=None, last_seen_ms=NOW_MS - HOUR_MS, model_name=NEW["name"],
                 model_version=NEW["version"])  # fmt: skip
    fleet.device("D_1%", groups=[], model_name=None, model_version=None, hardware=None)

    def found(**filters: Any) -> list[str]:
        return names(fleet, which=DeviceFilter(**filters))

    assert found() == sorted(["a", "b", "c", "D_1%"], key=str)
    assert found(presence=frozenset({Presence.SILENT})) == ["c"]
    assert found(presence=frozenset({Presence.SILENT, Presence.OFFLINE})) == ["b", "c"]
    assert found(group="site-1") == ["a"]
    assert found(group="site") == []
    assert found(model=OLD["name"]) == ["a", "b"]
    assert found(model=f"{NEW['name']}@{NEW['version']}") == ["c"]
    assert found(model=f"{NEW['name']}@9.9.9") == []
    assert found(text="jetson") == ["a"]
    assert found(text="DISTIL") == ["c"]
    # What LIKE would read as wildcards, and what would end its string.
    assert found(text="_1%") == ["D_1%"]
    assert found(text="%") == ["D_1%"]
    assert found(text="' OR 1=1 --") == []
    assert found(group='%"') == []
    assert found(group="site-1", presence=frozenset({Presence.OFFLINE})) == []


def test_counts_are_of_all_that_match(fleet: Fleet) -> None:
    fleet.many(50)
    some = page(fleet, limit=10, offset=20, which=DeviceFilter(text="sim-"))
    assert [one.device for one in some.devices] == [f"sim-{number:05}" for number in range(20, 30)]
    assert some.total == sum(some.presence.values()) == 50
    assert page(fleet, limit=10, offset=1000).devices == []


def test_sorting_puts_the_unknown_last(fleet: Fleet) -> None:
    fleet.device("b", f1=70.0, p95_ms=10.0, last_seen_ms=NOW_MS - 3)
    fleet.device("a", f1=70.0, p95_ms=30.0, last_seen_ms=NOW_MS - 1)
    fleet.device("c", f1=None, p95_ms=None, last_seen_ms=NOW_MS - 2)
    fleet.device("d", f1=90.0, p95_ms=20.0, last_seen_ms=NOW_MS - 4)
    assert names(fleet, sort=DeviceSort.F1) == ["a", "b", "d", "c"]
    assert names(fleet, sort=DeviceSort.F1, descending=True) == ["d", "a", "b", "c"]
    assert names(fleet, sort=DeviceSort.P95, descending=True) == ["a", "d", "b", "c"]
    assert names(fleet, sort=DeviceSort.SEEN, descending=True) == ["a", "c", "b", "d"]
    for sort in DeviceSort:
        assert sorted(names(fleet, sort=sort)) == ["a", "b", "c", "d"]


def test_ten_thousand_devices_take_as_many_statements_as_one(fleet: Fleet) -> None:
    statements: list[str] = []

    @event.listens_for(fleet.database.engine, "before_cursor_execute")
    def _note(*details: Any) -> None:
        if details[2].lstrip().startswith("SELECT"):
            statements.append(details[2])

    def counted() -> tuple[int, int]:
        statements.clear()
        listed = page(fleet, sort=DeviceSort.F1)
        lists = len(statements)
        with fleet.database.reading() as connection:
            fleet_summary(connection, now_ms=NOW_MS)
        assert len(listed.devices) == listed.total
        return lists, len(statements) - lists

    fleet.many(1)
    few = counted()
    with fleet.database.writing() as connection:
        connection.exec_driver_sql("DELETE FROM devices")
    fleet.many(10_000)
    assert counted() == few
    assert few[0] == 2
    assert page(fleet).total == 10_000


def test_the_summary_weighs_by_questions(fleet: Fleet) -> None:
    pi5 = fleet.device("pi5", exact_match=80.0, f1=90.0, evaluation_questions=100)
    fleet.device("small", exact_match=50.0, f1=60.0, evaluation_questions=50)
    fleet.device("new", model_name=NEW["name"], model_version=NEW["version"], presence="offline",
                 model_digest=NEW["digest"], exact_match=None, f1=None)  # fmt: skip
    fleet.device("bare", model_name=None, model_version=None, model_digest=None,
                 evaluation_questions=None, exact_match=None, f1=None, presence=None,
                 heartbeat_interval_s=None)  # fmt: skip
    fleet.gap(pi5, 3, 7)
    fleet.gap(pi5, 9, 9, "lost")
    fleet.gap(pi5, 1, 1, "filled")
    fleet.quarantine(["not_json", "device_mismatch", "not_json"])
    with fleet.database.reading() as connection:
        summary = fleet_summary(connection, now_ms=NOW_MS)
    assert summary.presence == {"online": 2, "silent": 0, "offline": 1, "unknown": 1}
    assert [one.devices for one in summary.models] == [2, 1, 1]
    first = summary.models[0]
    assert (first.exact_match, first.f1, first.online) == (70.0, 80.0, 2)
    assert (summary.exact_match, summary.f1, summary.evaluation_questions) == (70.0, 80.0, 150)
    assert summary.gap_records == {"open": 5, "lost": 1}
    assert list(summary.quarantine.items()) == [("not_json", 2), ("device_mismatch", 1)]


def test_latency_of_the_fleet_is_of_merged_histograms(fleet: Fleet) -> None:
    one, two = fleet.device("one"), fleet.device("two")
    fleet.telemetry(one, age_ms=MINUTE_MS, latency={"total": spread([10.0] * 90)})
    fleet.telemetry(two, age_ms=MINUTE_MS, latency={"total": spread([1000.0] * 10)})
    fleet.telemetry(two, age_ms=HOUR_MS, latency={"total": spread([5000.0] * 1000)})
    with fleet.database.reading() as connection:
        latency = fleet_summary(connection, now_ms=NOW_MS).latency
    assert latency is not None
    assert latency.questions == 100
    assert latency.p50_ms == pytest.approx(10, rel=0.045)
    assert latency.p95_ms == pytest.approx(1000, rel=0.045)
    # As soon as an hour is rolled up, it is the whole hour's.
    fleet.rollup(one, age_ms=HOUR_MS, total=spread([20.0] * 400))
    with fleet.database.reading() as connection:
        latency = fleet_summary(connection, now_ms=NOW_MS).latency
    assert latency is not None
    assert latency.questions == 400
    assert latency.until_ms - latency.since_ms == HOUR_MS


def test_a_short_history_is_read_from_records(fleet: Fleet) -> None:
    pi5, other = fleet.device("pi5"), fleet.device("other")
    for age in range(60):
        fleet.telemetry(pi5, age_ms=age * MINUTE_MS, interval_s=60.0,
                        outcomes={"answered": 2, "busy": 1}, temperature_max_celsius=50.0 + age,
                        latency={"total": spread([10.0, 100.0])}, cpu_load=0.5)  # fmt: skip
    fleet.telemetry(pi5, age_ms=2 * HOUR_MS, outcomes={"answered": 1000})
    fleet.telemetry(other, age_ms=MINUTE_MS, outcomes={"answered": 1000})
    # Not used: the records themselves say it better.
    fleet.rollup(pi5, age_ms=HOUR_MS)
    told = history(fleet, "pi5", HOUR_MS)
    assert told.step_ms == 5 * MINUTE_MS
    assert told.total is not None
    assert (told.total.answered, told.total.refused) == (120, 60)
    assert told.total.temperature_max_celsius == 109.0
    assert told.total.cpu_load_mean == 0.5
    assert told.total.covered_s == 3600
    assert told.total.p50_ms == pytest.approx(10, rel=0.045)
    assert told.total.p95_ms == pytest.approx(100, rel=0.045)
    assert sum(point.answered for point in told.serving) == 120
    starts = [point.start_ms for point in told.serving]
    assert starts == sorted(starts)
    assert all(start % told.step_ms == 0 for start in starts)


def test_a_week_is_read_from_hours_and_then_from_records(fleet: Fleet) -> None:
    pi5 = fleet.device("pi5")
    for hours in range(1, 24 * 6):
        fleet.rollup(pi5, age_ms=hours * HOUR_MS, answered=100, outcomes={"answered": 100})
    fleet.rollup(pi5, age_ms=5 * HOUR_MS, model_digest=NEW["digest"], outcomes={"answered": 7})
    # In the hours that are rolled up already, and in the one that is not over.
    fleet.telemetry(pi5, age_ms=5 * HOUR_MS, outcomes={"answered": 9000})
    fleet.telemetry(pi5, age_ms=MINUTE_MS, outcomes={"answered": 5})
    told = history(fleet, "pi5", 7 * DAY_MS)
    assert told.step_ms == 3 * HOUR_MS
    assert told.total is not None
    assert told.total.answered == (24 * 6 - 1) * 100 + 7 + 5


def test_months_are_read_from_days_and_today_from_hours(fleet: Fleet) -> None:
    pi5 = fleet.device("pi5")
    for days in range(60):
        # Today's row is there from its first hour on, and not whole.
        fleet.rollup(pi5, age_ms=days * DAY_MS, period="day", outcomes={"answered": 1000})
    fleet.rollup(pi5, age_ms=HOUR_MS, outcomes={"answered": 30})
    fleet.rollup(pi5, age_ms=2 * DAY_MS, outcomes={"answered": 500})
    fleet.telemetry(pi5, age_ms=MINUTE_MS, outcomes={"answered": 5})
    told = history(fleet, "pi5", 61 * DAY_MS)
    assert told.total is not None
    assert told.total.answered == 59 * 1000 + 30 + 5
    assert len(told.serving) <= MAX_POINTS + 1


def test_spans_are_cut_into_a_bounded_number_of_steps() -> None:
    for days in (0.001, 0.5, 1, 7, 14, 30, 365, 3650):
        step = step_for(round(days * DAY_MS))
        assert step in STEPS_MS
        assert days * DAY_MS / step <= MAX_POINTS + 2


def test_what_happened_to_a_device(fleet: Fleet) -> None:
    pi5, other = fleet.device("pi5"), fleet.device("other")
    fleet.evaluation(pi5, age_ms=HOUR_MS, model=NEW, paired=paired(-3.1, -8.8, 2.2, em=-4.0))
    fleet.evaluation(pi5, age_ms=2 * HOUR_MS)
    fleet.evaluation(pi5, age_ms=9 * DAY_MS)
    fleet.evaluation(other, age_ms=HOUR_MS)
    fleet.swap(pi5, age_ms=HOUR_MS + 1)
    fleet.swap(pi5, age_ms=3 * HOUR_MS, state="failed", code="gate_latency", message="too slow")
    fleet.gap(pi5, 12, 14)
    fleet.gap(pi5, 2, 2, "filled")
    fleet.gap(other, 1, 1)
    told = history(fleet, "pi5", 7 * DAY_MS)
    assert [one.model.name for one in told.evaluations] == [NEW["name"], OLD["name"]]
    first = told.evaluations[0]
    assert first.exact_match_interval == (62.6, 85.7)
    assert first.paired is not None
    assert (first.paired.f1_difference, first.paired.f1_interval) == (-3.1, (-8.8, 2.2))
    assert told.evaluations[1].paired is None
    assert [(one.state, one.code) for one in told.swaps] == [
        ("active", None), ("failed", "gate_latency"),
    ]  # fmt: skip
    assert [(one.first, one.last, one.state) for one in told.gaps] == [(12, 14, "open")]
    assert [one.boot_id for one in told.boots] == ["boot-pi5"]
    assert (told.boots[0].settled, told.boots[0].announced) == (40, 41)
    # The JSON is what `--json` prints: it can be read back.
    assert DeviceHistory.model_validate(json.loads(told.model_dump_json())) == told


def test_metrics_of_the_fleet_are_read_from_either_database(fleet: Fleet) -> None:
    pi5 = fleet.device("pi5", throttled=["under_voltage"], temperature_celsius=66.0)
    fleet.evaluation(pi5, age_ms=HOUR_MS, model=NEW, questions=40,
                     paired=paired(-4, -6, -2) | {"questions": 40})  # fmt: skip
    fleet.evaluation(pi5, age_ms=HOUR_MS, model=NEW, paired=paired(1, -1, 3) | {"questions": 10})
    fleet.evaluation(pi5, age_ms=HOUR_MS, paired=None)
    fleet.gap(pi5, 1, 3)
    fleet.quarantine(["not_json"])
    metrics = FleetMetrics(database=fleet.database, each_device=3, clock=lambda: NOW_MS / 1000)
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in metrics.collect()
        for sample in family.samples
    }
    new = (NEW["name"], NEW["version"])
    assert samples["edgeqa_fleet_database_up",] == 1
    assert samples["edgeqa_fleet_devices", "online"] == 1
    assert samples["edgeqa_fleet_paired_questions", *new] == 50
    assert samples["edgeqa_fleet_paired_f1_difference_ratio", *new] == pytest.approx(-0.03)
    assert samples["edgeqa_fleet_paired_worse_evaluations", *new] == 1
    assert samples["edgeqa_fleet_f1_ratio", OLD["name"], OLD["version"]] == 0.805
    assert samples["edgeqa_fleet_throttled_devices", "under_voltage"] == 1
    assert samples["edgeqa_fleet_gap_records", "open"] == 3
    assert samples["edgeqa_fleet_quarantine_messages", "not_json"] == 1
    assert samples["edgeqa_device_temperature_celsius", "pi5"] == 66.0
