"""What counts as evidence of a rollout, and what does not; on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import update
from support.cloud import Store, arrival, evaluation
from support.fleet import HOUR_MS, NEW, OLD, Fleet, paired, spread
from support.fleet_databases import Databases

from edgeqa.codes import CODES
from edgeqa.error_code import Where
from edgeqa.messages import ModelRef
from edgeqa_cloud.database import Database
from edgeqa_cloud.rollout import lost_questions
from edgeqa_cloud.rollout.baselines import Baseline, read_baselines, write_baselines
from edgeqa_cloud.rollout.evidence import SAMPLE, Gatherer
from edgeqa_cloud.rollout.hearing import Hearing
from edgeqa_cloud.rollout.model import Evidence, Member
from edgeqa_cloud.rollout.spec import RolloutSpec
from edgeqa_cloud.rollout.states import MemberState
from edgeqa_cloud.rollout.store import Stored, insert_rollout, load_active, save
from edgeqa_cloud.tables import devices, records

NOW_MS = 1_800_000_000_000
MINUTE_MS = 60_000
TARGET, BEFORE = ModelRef(**NEW), ModelRef(**OLD)
SPEC = RolloutSpec.model_validate(
    {
        "package": {"name": NEW["name"], "version": NEW["version"]},
        "target": {"all": True},
        "stages": [{"count": 2}, {"count": 4}],
    }
)
# It changed ten minutes ago, a minute after its wish.
WISHED_MS, CHANGED_MS = NOW_MS - 11 * MINUTE_MS, NOW_MS - 10 * MINUTE_MS


@pytest.fixture
def fleet(cloud_databases: Databases) -> Iterator[Fleet]:
    with cloud_databases.open(cloud_databases.new()) as database:
        yield Fleet(database, NOW_MS)


def member(device_id: int, device: str, **fields: Any) -> Member:
    usual: dict[str, Any] = {
        "stage": 0, "position": device_id, "state": MemberState.CHANGED, "before": BEFORE,
        "wish": f"w{device_id}", "wished_ms": WISHED_MS, "online_when_wished": True,
        "settled_ms": CHANGED_MS,
    }  # fmt: skip
    return Member(device_id, device, **{**usual, **fields})


def rolled_out(database: Database, members: Sequence[Member], stage: int = 0) -> Stored:
    with database.writing() as connection:
        insert_rollout(connection, rollout="r-1", spec=SPEC, target=TARGET, members=members,
                       created_ms=WISHED_MS, created_by="user:anna")  # fmt: skip
    with database.reading() as connection:
        (stored,) = load_active(connection)
    with database.writing() as connection:
        after = replace(stored.rollout, stage=stage)
        return save(connection, stored, after, changed=(), now_ms=NOW_MS)


def gather(
    database: Database, stored: Stored, gatherer: Gatherer | None = None, **given: Any
) -> Evidence:
    gatherer = gatherer or Gatherer(stored.rollout, {})
    with database.reading() as connection:
        evidence, pasts = gatherer.gather(
            connection, stored.rollout, **{"now_ms": NOW_MS, "deaf": False, **given}
        )
    gatherer.reached(pasts)
    return evidence


def served_with(model: dict[str, str], *latencies: float, **outcomes: int) -> dict[str, Any]:
    return {
        "model": model,
        "interval_s": 60,
        "outcomes": {"answered": len(latencies), **outcomes},
        "latency": {"total": spread(latencies)},
    }


def test_paired_evaluations_of_the_new_model_against_the_one_before_count(fleet: Fleet) -> None:
    key = fleet.device("pi")
    stored = rolled_out(fleet.database, [member(key, "pi")])
    fleet.evaluation(key, age_ms=MINUTE_MS, model=NEW, paired=paired(-9.0, -12.0, -6.0, -8.0))
    (score,) = gather(fleet.database, stored).paired
    assert (score.device_id, score.f1_difference, score.f1_interval) == (key, -9.0, (-12.0, -6.0))
    assert (score.exact_match_difference, score.slice_id) == (-8.0, "s0b2f7a1e9c4d8e3f")


def test_other_evaluations_do_not_count(fleet: Fleet) -> None:
    key, other, already = (fleet.device(name) for name in ("pi", "other", "already"))
    later = fleet.device("later")
    stored = rolled_out(
        fleet.database,
        [
            member(key, "pi"),
            member(already, "already", wish=None, wished_ms=None),
            member(later, "later", stage=1),
        ],
    )
    worse = paired(-9.0, -12.0, -6.0)
    stranger = {**worse, "previous": {**OLD, "digest": f"sha256:{'9' * 64}"}}
    fleet.evaluation(key, age_ms=MINUTE_MS, model=OLD, paired=worse)  # of the old model
    fleet.evaluation(key, age_ms=HOUR_MS, model=NEW, paired=worse)  # before the wish
    fleet.evaluation(key, age_ms=MINUTE_MS, model=NEW, paired=stranger)  # against another model
    fleet.evaluation(key, age_ms=MINUTE_MS, model=NEW)  # against none
    fleet.evaluation(other, age_ms=MINUTE_MS, model=NEW, paired=worse)  # of no member
    fleet.evaluation(already, age_ms=MINUTE_MS, model=NEW, paired=worse)  # it did not change
    fleet.evaluation(later, age_ms=MINUTE_MS, model=NEW, paired=worse)  # of a later stage
    assert list(gather(fleet.database, stored).paired) == []


def test_a_forged_record_is_no_evidence(store: Store) -> None:
    fleet = Fleet(store.database, NOW_MS)
    key = fleet.device("pi")
    stored = rolled_out(store.database, [member(key, "pi")])
    forged = evaluation(device="pi", model=NEW, seq=1, time_ms=NOW_MS,
                        paired=paired(-50.0, -60.0, -40.0))  # fmt: skip
    store.store(arrival("evaluation", forged, device="mallory", at_ms=NOW_MS))
    assert list(gather(store.database, stored).paired) == []
    # The same from the device itself does count.
    store.store(arrival("evaluation", forged, device="pi", at_ms=NOW_MS))
    assert len(gather(store.database, stored).paired) == 1


def test_a_device_is_compared_with_itself(fleet: Fleet) -> None:
    key = fleet.device("pi")
    stored = rolled_out(fleet.database, [member(key, "pi")])
    old, new = served_with(OLD, *[20.0] * 40, busy=2), served_with(NEW, *[60.0] * 30, expired=9)
    fleet.telemetry(key, age_ms=20 * MINUTE_MS, **old)
    fleet.telemetry(key, age_ms=5 * MINUTE_MS, **new)
    (device,) = gather(fleet.database, stored).served
    assert device.before is not None
    assert device.after is not None
    assert (device.before.answered, device.before.failed) == (40, 2)
    # What came too late is nobody's fault.
    assert (device.after.answered, device.after.failed) == (30, 0)
    assert device.after.latency is not None
    assert 55 < (device.after.latency.quantile(0.5) or 0) < 65
    assert device.after.resident_bytes


def test_what_covers_the_change_belongs_to_neither_side(fleet: Fleet) -> None:
    key = fleet.device("pi")
    stored = rolled_out(fleet.database, [member(key, "pi")])
    at_change = NOW_MS - CHANGED_MS - 30_000
    fleet.telemetry(key, age_ms=at_change, **served_with(NEW, 1.0))
    fleet.telemetry(key, age_ms=MINUTE_MS, **served_with(OLD, 1.0))  # a stale record
    fleet.telemetry(key, age_ms=48 * HOUR_MS, **served_with(OLD, 1.0))  # too long ago
    fleet.telemetry(key, age_ms=20 * MINUTE_MS, **served_with(NEW, 1.0))  # of an earlier time
    (device,) = gather(fleet.database, stored).served
    assert device.before is None
    assert device.after is None


def test_hours_that_are_rolled_up_count_once(fleet: Fleet) -> None:
    key = fleet.device("pi")
    stored = rolled_out(fleet.database, [member(key, "pi")])
    fleet.rollup(key, age_ms=5 * HOUR_MS)
    fleet.rollup(key, age_ms=4 * HOUR_MS)
    fleet.rollup(key, age_ms=4 * HOUR_MS, model_digest=NEW["digest"])
    # Within the last of those hours, and behind it.
    start_ms = (NOW_MS - 4 * HOUR_MS) // HOUR_MS * HOUR_MS
    fleet.telemetry(key, age_ms=NOW_MS - start_ms - 5 * MINUTE_MS, **served_with(OLD, 20.0))
    fleet.telemetry(key, age_ms=30 * MINUTE_MS, **served_with(OLD, 20.0, 20.0))
    (device,) = gather(fleet.database, stored).served
    assert device.before is not None
    assert device.before.answered == 100 + 100 + 2
    assert device.before.failed == 4


def test_the_past_is_read_once_and_kept(fleet: Fleet) -> None:
    key = fleet.device("pi")
    stored = rolled_out(fleet.database, [member(key, "pi")])
    fleet.telemetry(key, age_ms=20 * MINUTE_MS, **served_with(OLD, 20.0))
    gatherer = Gatherer(stored.rollout, {key: Baseline(wish="w0")})
    with fleet.database.reading() as connection:
        first, pasts = gatherer.gather(connection, stored.rollout, now_ms=NOW_MS, deaf=False)
    assert pasts[key].wish == "w0"
    with fleet.database.writing() as connection:
        write_baselines(connection, stored.rollout.key, stored.rollout.members, pasts)
        connection.execute(records.delete())
    with fleet.database.reading() as connection:
        kept = read_baselines(connection, stored.rollout.key)
        assert kept == pasts
        again, nothing = Gatherer(stored.rollout, kept).gather(
            connection, stored.rollout, now_ms=NOW_MS, deaf=False
        )
    assert nothing == {}
    assert again.served[0].before == first.served[0].before


def test_records_are_counted_once_as_they_come(fleet: Fleet) -> None:
    key = fleet.device("pi")
    stored = rolled_out(fleet.database, [member(key, "pi")])
    gatherer = Gatherer(stored.rollout, {})
    answered = []
    for minutes in (8, 7, 6, 5):
        fleet.telemetry(key, age_ms=minutes * MINUTE_MS, **served_with(NEW, 20.0))
        seen_ms = NOW_MS - minutes * MINUTE_MS + 1000
        (device,) = gather(fleet.database, stored, gatherer, now_ms=seen_ms).served
        assert device.after is not None
        answered.append(device.after.answered)
    assert answered == [1, 2, 3, 4]


def test_of_many_devices_the_same_sample_is_read(fleet: Fleet) -> None:
    count = 3 * SAMPLE
    fleet.many(count)
    members = [member(n + 1, f"sim-{n:05}") for n in range(count)]
    stored = rolled_out(fleet.database, members)
    gatherer = Gatherer(stored.rollout, {})
    first = [one.device_id for one in gather(fleet.database, stored, gatherer).served]
    assert first == [one.device_id for one in gather(fleet.database, stored, gatherer).served]
    assert len(first) == SAMPLE
    assert first != sorted(first)
    # All of them are counted.
    assert gather(fleet.database, stored).stage_tally.changed == count


def test_counts_are_of_devices_that_got_a_wish(fleet: Fleet) -> None:
    keys = {name: fleet.device(name) for name in
            ("changed", "wished", "failed", "waiting", "already", "taken", "earlier")}  # fmt: skip
    stored = rolled_out(
        fleet.database,
        [
            member(keys["changed"], "changed", stage=1),
            member(keys["wished"], "wished", stage=1, state=MemberState.WISHED),
            member(keys["failed"], "failed", stage=1, state=MemberState.FAILED),
            member(keys["waiting"], "waiting", stage=1, state=MemberState.WAITING, wish=None),
            member(keys["already"], "already", stage=1, wish=None),
            member(keys["taken"], "taken", stage=1, state=MemberState.SUPERSEDED),
            member(keys["earlier"], "earlier", stage=0),
        ],
        stage=1,
    )
    evidence = gather(fleet.database, stored)
    stage, whole = evidence.stage_tally, evidence.rollout_tally
    assert (stage.size, stage.wished, stage.changed, stage.failed, stage.silent) == (4, 3, 1, 1, 0)
    assert (whole.size, whole.wished, whole.changed, whole.failed, whole.silent) == (5, 4, 2, 1, 0)


SEEN_LATE: dict[str, tuple[dict[str, Any], int]] = {
    "now": ({}, 0),
    "just": ({"last_seen_ms": NOW_MS - 179_000}, 0),
    "late": ({"last_seen_ms": NOW_MS - 181_000}, 1),
    "slow": ({"last_seen_ms": NOW_MS - 181_000, "heartbeat_interval_s": 120.0}, 0),
    "lost": (
        {"last_seen_ms": NOW_MS - 181_000, "presence": "offline", "presence_reason": "lost"},
        1,
    ),
    "stopped": (
        {"last_seen_ms": NOW_MS - 181_000, "presence": "offline", "presence_reason": "stopped"},
        0,
    ),
    "untold": ({"last_seen_ms": NOW_MS - 181_000, "presence": None}, 1),
}


def test_who_is_silent(fleet: Fleet) -> None:
    # Each in a stage of its own.
    members = [
        member(fleet.device(name, **columns), name, stage=stage)
        for stage, (name, (columns, _)) in enumerate(SEEN_LATE.items())
    ]
    stored = rolled_out(fleet.database, members)

    def silent(stage: int, *, deaf: bool) -> int:
        at = replace(stored, rollout=replace(stored.rollout, stage=stage))
        return gather(fleet.database, at, deaf=deaf).stage_tally.silent

    found = {name: silent(stage, deaf=False) for stage, name in enumerate(SEEN_LATE)}
    assert found == {name: expected for name, (_, expected) in SEEN_LATE.items()}
    assert not any(silent(stage, deaf=True) for stage in range(len(members)))


def test_who_was_offline_at_its_wish_is_not_silent(fleet: Fleet) -> None:
    key = fleet.device("pi", last_seen_ms=NOW_MS - HOUR_MS)
    away = member(key, "pi", online_when_wished=False, state=MemberState.WISHED)
    stored = rolled_out(fleet.database, [away])
    assert gather(fleet.database, stored).stage_tally.silent == 0


def test_a_cloud_that_hears_nobody_blames_nobody(fleet: Fleet) -> None:
    key = fleet.device("pi", heartbeat_interval_s=60.0, last_seen_ms=NOW_MS)
    fleet.device("pi2", heartbeat_interval_s=60.0, last_seen_ms=NOW_MS - HOUR_MS)
    hearing = Hearing()

    def deaf(seconds: int, seen: int) -> bool:
        with fleet.database.writing() as connection:
            connection.execute(
                update(devices).where(devices.c.id == key).values(last_seen_ms=NOW_MS + 1000 * seen)
            )
        with fleet.database.reading() as connection:
            return hearing.deaf(connection, now_ms=NOW_MS + 1000 * seconds)

    # After a start it has to listen for as long as a device may be silent.
    assert deaf(0, 0)
    assert deaf(170, 150)
    assert not deaf(190, 170)
    # The broker is away, or the collector is.
    assert not deaf(250, 170)
    assert deaf(265, 170)
    # It is back, and so is the first of the devices.
    assert deaf(300, 300)
    assert deaf(400, 390)
    assert not deaf(490, 480)


def test_what_counts_as_lost_is_a_code_of_ours() -> None:
    known = {code.slug for code in CODES}
    assert set(lost_questions.LOST) <= known
    client = {"empty_question", "unknown_context", "question_too_long", "expired", "stopping"}
    assert not client & set(lost_questions.LOST)
    assert Where.ANSWER in {code.where for code in CODES if code.slug in lost_questions.LOST}
