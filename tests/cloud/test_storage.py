"""Messages in the database: each record once, its time right, every value as it came."""

from __future__ import annotations

import json

import pytest
from support.cloud import NOW_MS, Store, arrival, evaluation, heartbeat, swap, telemetry

from edgeqa_cloud.quarantine import Choice, Keep
from edgeqa_cloud.retry import retry
from edgeqa_cloud.tables import (
    boots,
    devices,
    evaluations,
    quarantine,
    records,
    rollups_due,
    swaps,
)

NASTY = [
    "'; DROP TABLE records; --",
    '"><script>alert(1)</script>',
    '{1,NULL,"a\\"b",\'}',
    "\\x41 \\\\ \\u0041 %s %(boot)s :boot ?",
    "ünïcödé \N{PILE OF POO} \u2028\u202e",
]
HOUR_MS = 3_600_000


def test_a_record_is_stored_once_however_often_it_comes(store: Store) -> None:
    same = arrival("telemetry", telemetry())
    assert store.store(same, same).counts == {"telemetry": 1}
    another = Store(store.database)  # another collector, which remembers nothing
    for storage in (store, another):
        stored = storage.store(same, arrival("telemetry", telemetry(seq=42)))
        assert stored.duplicates["telemetry"] >= 1
    assert [row.seq for row in store.rows(records)] == [41, 42]
    assert len(store.rows(devices)) == len(store.rows(boots)) == 1


@pytest.mark.parametrize("nasty", NASTY)
def test_every_string_comes_back_as_it_came(store: Store, nasty: str) -> None:
    scored = evaluation(seq=1, dataset={**evaluation()["dataset"], "name": nasty})
    failed = swap(seq=2, wish=nasty, rollout=nasty, reason={"code": nasty[:64], "message": nasty})
    born = {
        "schema": 1, "status": "online", "device": "pi5", "boot_id": "0b2f7a1e",
        "agent_version": nasty, "groups": [nasty],
        "hardware": {"machine": nasty, "cpus": 4, "memory_bytes": 2**62},
    }  # fmt: skip
    said = {
        "schema": 1, "device": "pi5", "boot_id": "0b2f7a1e", "time_ms": 1, "state": "failed",
        "name": nasty, "version": nasty, "reason": {"code": nasty, "message": nasty},
        "active": {"name": nasty, "version": nasty, "digest": nasty},
    }  # fmt: skip
    odd = {**telemetry(seq=3), "later": nasty}
    stored = store.store(
        arrival("evaluation", scored),
        arrival("swap", failed),
        arrival("status", born),
        arrival("model/reported", said),
        arrival("telemetry", odd),
    )
    assert not stored.refused
    assert store.one(evaluations).dataset == nasty
    row = store.one(swaps)
    assert (row.wish, row.rollout, row.code, row.message) == (nasty, nasty, nasty[:64], nasty)
    device = store.one(devices)
    assert device.agent_version == nasty
    assert device.groups == [nasty]
    assert device.hardware["machine"] == nasty
    assert device.reported["reason"]["message"] == nasty
    assert json.loads(store.one(records, seq=3).payload) == odd


def test_nul_is_kept_in_the_payload_and_replaced_in_columns(store: Store) -> None:
    scored = evaluation(dataset={**evaluation()["dataset"], "name": "a\0b"})
    assert not store.store(arrival("evaluation", scored)).refused
    assert store.one(evaluations).dataset == "a\N{REPLACEMENT CHARACTER}b"
    assert json.loads(store.one(records).payload) == scored


def test_what_is_refused_lies_in_quarantine_and_counts_as_come(store: Store) -> None:
    stored = store.store(
        arrival("evaluation", evaluation(seq=5, exact_match=140)),
        arrival("telemetry", b'{"seq": 7, "boot_id": "0b2f7a1e", \xff'),
        arrival("telemetry", b"?", device="pi6"),
    )
    assert len(stored.refused) == 3
    assert [row.code for row in store.rows(quarantine)] == ["invalid_payload", "not_utf8",
                                                           "not_json"]  # fmt: skip
    assert {(row.seq, row.kind) for row in store.rows(records)} == {
        (5, "quarantined"),
        (7, "quarantined"),
    }


def test_quarantine_is_bounded_and_the_oldest_give_way(store: Store) -> None:
    small = Store(store.database, keep=Keep(rows=3, payload_bytes=10))
    dropped = 0
    for number in range(5):
        dropped += small.store(arrival("telemetry", b"%d" % number + b"?" * 50)).dropped
    rows = small.rows(quarantine)
    assert [bytes(row.payload[:2]) for row in rows] == [b"2?", b"3?", b"4?"]
    assert dropped == 2
    assert rows[0].bytes == 51
    assert len(rows[0].payload) == 10


def test_the_time_of_a_record_does_not_depend_on_the_device_clock(store: Store) -> None:
    """The clock says 1970, then 2100; uptime and one heartbeat tell the truth."""
    beat = heartbeat(uptime_ms=100_000, time_ms=12_345)
    store.store(arrival("heartbeat", beat, at_ms=NOW_MS))
    late = NOW_MS + 3_000_000
    stored = store.store(
        arrival("telemetry", telemetry(seq=1, uptime_ms=160_000, time_ms=72_345), at_ms=late),
        arrival("telemetry", telemetry(seq=2, uptime_ms=220_000, time_ms=4_102_444_800_000),
                at_ms=late),
    )  # fmt: skip
    assert not stored.refused
    assert [row.time_ms for row in store.rows(records)] == [NOW_MS + 60_000, NOW_MS + 120_000]
    assert store.one(devices).skew_ms == 12_345 - NOW_MS


def test_without_a_heartbeat_impossible_times_are_refused_and_stored_later(store: Store) -> None:
    stored = store.store(
        arrival("telemetry", telemetry(seq=1, uptime_ms=60_000, time_ms=0)),
        arrival("telemetry", telemetry(seq=2, uptime_ms=120_000, time_ms=4_102_444_800_000)),
        arrival("telemetry", telemetry(seq=3, uptime_ms=180_000, time_ms=NOW_MS - 1000)),
    )
    assert [one.code for one in stored.refused] == ["impossible_time"] * 2
    assert store.one(records, seq=3).time_ms == NOW_MS - 1000
    store.store(arrival("heartbeat", heartbeat(uptime_ms=200_000), at_ms=NOW_MS))
    done = retry(store.database, Choice(), most_bytes=10_000)
    assert (done.stored, done.failed) == (2, [])
    assert not store.rows(quarantine)
    assert [(row.seq, row.kind) for row in store.rows(records)] == [
        (1, "telemetry"),
        (2, "telemetry"),
        (3, "telemetry"),
    ]
    assert store.one(records, seq=1).time_ms == NOW_MS - 140_000


def test_a_retry_that_fails_stays(store: Store) -> None:
    store.store(arrival("telemetry", b"?"))
    done = retry(store.database, Choice(), most_bytes=10_000)
    assert done.stored == 0
    assert len(store.rows(quarantine)) == len(done.failed) == 1


def test_a_heartbeat_that_was_held_up_neither_dates_nor_revives(store: Store) -> None:
    store.store(arrival("heartbeat", heartbeat(uptime_ms=1000, time_ms=NOW_MS)))
    held = heartbeat(uptime_ms=61_000, time_ms=NOW_MS + 60_000)
    store.store(arrival("heartbeat", held, at_ms=NOW_MS + 900_000))
    assert store.one(boots).epoch_ms == NOW_MS - 1000
    device = store.one(devices)
    assert device.skew_ms == 0
    assert device.last_seen_ms == NOW_MS + 60_000


def test_the_last_figures_are_those_of_the_newest_record(store: Store) -> None:
    store.store(arrival("heartbeat", heartbeat(uptime_ms=1_000_000)))
    for seq, uptime_ms, celsius in ((2, 900_000, 60.0), (1, 600_000, 50.0)):
        store.store(
            arrival(
                "telemetry",
                telemetry(seq=seq, uptime_ms=uptime_ms, temperature_celsius=celsius),
            )
        )
    device = store.one(devices)
    assert device.temperature_celsius == 60.0
    assert device.telemetry_ms == NOW_MS - 100_000
    assert device.p95_ms > 20


def test_hours_that_lack_records_are_noted(store: Store) -> None:
    start_ms = NOW_MS // HOUR_MS * HOUR_MS
    store.store(arrival("heartbeat", heartbeat(uptime_ms=10 * HOUR_MS), at_ms=start_ms + 60_000))
    at_ms = start_ms + 120_000
    late = telemetry(seq=1, uptime_ms=8 * HOUR_MS)
    now = telemetry(seq=2, uptime_ms=10 * HOUR_MS + 30_000)
    store.store(arrival("telemetry", late, at_ms=at_ms), arrival("telemetry", now, at_ms=at_ms))
    assert [row.start_ms for row in store.rows(rollups_due)] == [start_ms - 2 * HOUR_MS, start_ms]


def test_a_batch_that_fails_leaves_nothing_behind(store: Store) -> None:
    class BrokenError(Exception):
        pass

    def fail(*_: object) -> None:
        raise BrokenError

    standings = store.storage._standings
    original, standings.update = standings.update, fail  # type: ignore[assignment,method-assign]  # a fault
    with pytest.raises(BrokenError):
        store.store(arrival("telemetry", telemetry()))
    standings.update = original  # type: ignore[method-assign]  # as it was
    assert not store.rows(records)
    assert not store.rows(devices)
    assert store.store(arrival("telemetry", telemetry())).counts == {"telemetry": 1}
