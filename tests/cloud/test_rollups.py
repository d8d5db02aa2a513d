"""Roll-ups: equal to sums over the raw records, with late ones and repeats; what is old goes."""

from __future__ import annotations

import random
from typing import Any

import pytest
import structlog
from support.cloud import NOW_MS, Store, arrival, evaluation, heartbeat, swap, telemetry

from edgeqa.histogram import Histogram
from edgeqa_cloud.leases import give_up, hold
from edgeqa_cloud.retention import KeepDays, Retention
from edgeqa_cloud.rollups import DAY_MS, Rollups
from edgeqa_cloud.tables import devices, evaluations, records, rollups, rollups_due, swaps

HOUR_MS = 3_600_000
START_MS = NOW_MS // DAY_MS * DAY_MS
BOOT_MS = START_MS - DAY_MS


def measured(seq: int, at_ms: int, values: list[float]) -> dict[str, Any]:
    total = Histogram.of(values).model_dump()
    return telemetry(
        seq=seq,
        uptime_ms=at_ms - BOOT_MS,
        outcomes={"answered": len(values), "busy": 1},
        latency={"total": total, "inference": total},
        temperature_max_celsius=40.0 + seq % 10,
        cpu_load=0.25,
    )


def roll_up(store: Store, now_ms: int) -> None:
    jobs = Rollups(database=store.database, log=structlog.get_logger())
    while jobs.roll_up(now_ms=now_ms):
        pass


def started(store: Store) -> None:
    store.store(arrival("heartbeat", heartbeat(uptime_ms=START_MS - BOOT_MS), at_ms=START_MS))


def test_hours_and_days_are_the_sums_of_their_records(store: Store) -> None:
    rng = random.Random(1)
    started(store)
    values = [[rng.uniform(1, 100) for _ in range(rng.randint(1, 9))] for _ in range(150)]
    sent = [measured(seq, START_MS + seq * 60_000, some) for seq, some in enumerate(values, 1)]
    order = sent + sent[:40]
    rng.shuffle(order)
    half = len(order) // 2
    later = START_MS + 3 * HOUR_MS
    store.store(*(arrival("telemetry", one, at_ms=later) for one in order[:half]))
    roll_up(store, START_MS + 5 * HOUR_MS)
    store.store(*(arrival("telemetry", one, at_ms=later) for one in order[half:]))
    scored = evaluation(seq=500, uptime_ms=START_MS + 70_000 - BOOT_MS, model=sent[0]["model"])
    store.store(arrival("evaluation", scored, at_ms=later))
    roll_up(store, START_MS + 5 * HOUR_MS)
    assert not store.rows(rollups_due)
    hours = store.rows(rollups, period="hour")
    assert [row.start_ms for row in hours] == [START_MS + n * HOUR_MS for n in range(3)]
    assert [row.answered for row in hours] == [
        sum(map(len, some)) for some in (values[:59], values[59:119], values[119:])
    ]
    day = store.one(rollups, period="day")
    flat = [value for some in values for value in some]
    assert day.records == 151
    assert day.outcomes == {"answered": len(flat), "busy": 150}
    total = Histogram.model_validate(day.total)
    assert total.counts == Histogram.of(flat).counts
    assert total.sum == pytest.approx(sum(flat), abs=0.2)
    assert day.covered_s == 150 * 60
    assert day.temperature_max_celsius == 49.0
    assert day.cpu_load_mean == pytest.approx(0.25)
    assert (day.evaluations, day.evaluation_questions) == (1, 50)
    assert (day.exact_match, day.f1) == (pytest.approx(78.0), pytest.approx(86.1))


def test_an_hour_is_not_rolled_up_before_it_is_over(store: Store) -> None:
    started(store)
    store.store(arrival("telemetry", measured(1, START_MS + 1000, [1.0]), at_ms=START_MS + 1000))
    roll_up(store, START_MS + HOUR_MS)
    assert not store.rows(rollups)
    roll_up(store, START_MS + 2 * HOUR_MS)
    assert len(store.rows(rollups)) == 2


def test_a_record_that_comes_meanwhile_is_not_forgotten(store: Store) -> None:
    started(store)
    at_ms = START_MS + 2 * HOUR_MS
    store.store(arrival("telemetry", measured(1, START_MS + 1000, [1.0]), at_ms=at_ms))
    jobs = Rollups(database=store.database, log=structlog.get_logger())
    write = jobs._write

    def write_late(summed: Any, now_ms: int) -> None:
        store.store(arrival("telemetry", measured(2, START_MS + 2000, [2.0]), at_ms=at_ms))
        jobs._write = write  # type: ignore[method-assign]  # once
        write(summed, now_ms)

    jobs._write = write_late  # type: ignore[method-assign]  # the moment between reading and writing
    assert jobs.roll_up(now_ms=START_MS + 3 * HOUR_MS) == 1
    assert not store.rows(rollups)
    roll_up(store, START_MS + 3 * HOUR_MS)
    assert store.one(rollups, period="hour").records == 2


def test_sums_too_large_for_the_database_are_given_up(store: Store) -> None:
    started(store)
    huge = [
        {**measured(seq, START_MS + 1000 + seq, [1.0]), "outcomes": {"answered": 2**53 - 1}}
        for seq in range(1, 1100)
    ]
    at_ms = START_MS + 2 * HOUR_MS
    store.store(*(arrival("telemetry", one, at_ms=at_ms) for one in huge))
    roll_up(store, START_MS + 3 * HOUR_MS)
    assert not store.rows(rollups_due)


def test_old_rows_go_and_their_sums_stay(store: Store) -> None:
    started(store)
    at_ms = START_MS + 2 * HOUR_MS
    store.store(
        arrival("telemetry", measured(1, START_MS + 1000, [1.0, 2.0]), at_ms=at_ms),
        arrival("telemetry", measured(2, START_MS + 2000, [3.0]), at_ms=at_ms),
        arrival("evaluation", evaluation(seq=3, uptime_ms=START_MS + 70_000 - BOOT_MS),
                at_ms=at_ms),
        arrival("swap", swap(seq=4, uptime_ms=START_MS + 70_000 - BOOT_MS), at_ms=at_ms),
    )  # fmt: skip
    keep = Retention(database=store.database, keep=KeepDays(raw=7, hours=90, days=1000))
    late = START_MS + 8 * DAY_MS
    assert list(keep.delete(now_ms=late)) == []  # their hour is not rolled up yet
    roll_up(store, late)
    assert sum(keep.delete(now_ms=late)) == 4
    assert not store.rows(records)
    assert len(store.rows(evaluations)) == len(store.rows(swaps)) == 1
    assert len(store.rows(rollups, period="hour")) == 2  # of two models
    # One that comes later still, or again, takes nothing away.
    store.store(arrival("telemetry", measured(1, START_MS + 1000, [1.0, 2.0]), at_ms=late))
    roll_up(store, late + DAY_MS)
    served = [row for row in store.rows(rollups, period="hour") if row.answered]
    assert [row.answered for row in served] == [3]
    assert sum(keep.delete(now_ms=START_MS + 100 * DAY_MS)) == 3
    assert {row.period for row in store.rows(rollups)} == {"day"}
    assert sum(keep.delete(now_ms=START_MS + 1002 * DAY_MS)) == 4
    assert not store.rows(rollups)
    assert len(store.rows(devices)) == 1


def test_a_lease_is_for_one_until_it_ends(store: Store) -> None:
    def take(holder: str, now_ms: int) -> bool:
        with store.database.writing() as connection:
            return hold(connection, "jobs", holder=holder, now_ms=now_ms, for_ms=1000)

    assert take("one", 0)
    assert not take("two", 900)
    assert take("one", 900)
    assert not take("two", 1800)
    assert take("two", 2000)
    assert not take("one", 2001)
    with store.database.writing() as connection:
        give_up(connection, "jobs", holder="two")
    assert take("one", 2002)
