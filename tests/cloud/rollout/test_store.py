"""Rollouts as rows: written, read back, changed; on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from sqlalchemy import func, select
from support.fleet import NEW, OLD, Fleet
from support.fleet_databases import Databases

from edgeqa.messages import ModelRef
from edgeqa_cloud.database import Database
from edgeqa_cloud.rollout import audit_log
from edgeqa_cloud.rollout.model import Decision, Member, Rollout
from edgeqa_cloud.rollout.spec import RolloutSpec
from edgeqa_cloud.rollout.states import MemberState, RolloutState
from edgeqa_cloud.rollout.store import (
    OvertakenError,
    Stored,
    insert_rollout,
    load,
    load_active,
    save,
)
from edgeqa_cloud.rollout.tables import audit, rollout_claims, rollout_members, rollouts
from edgeqa_cloud.tables import devices

NOW_MS = 1_800_000_000_000
TARGET = ModelRef(**NEW)
BEFORE = ModelRef(**OLD)
SPEC = RolloutSpec.model_validate(
    {"package": {"name": NEW["name"], "version": NEW["version"]}, "target": {"all": True}}
)


@pytest.fixture
def database(cloud_databases: Databases) -> Iterator[Database]:
    with cloud_databases.open(cloud_databases.new()) as database:
        yield database


def devices_of(database: Database, count: int) -> list[tuple[int, str]]:
    Fleet(database, NOW_MS).many(count)
    with database.reading() as connection:
        query = select(devices.c.id, devices.c.device).order_by(devices.c.id)
        return [(row[0], row[1]) for row in connection.execute(query)]


def create(database: Database, members: list[Member], rollout: str = "r-1") -> Stored:
    with database.writing() as connection:
        insert_rollout(
            connection, rollout=rollout, spec=SPEC, target=TARGET, members=members,
            created_ms=NOW_MS, created_by="user:anna",
        )  # fmt: skip
    return read(database, rollout)


def read(database: Database, rollout: str = "r-1") -> Stored:
    with database.reading() as connection:
        loaded = load(connection, rollout)
        assert loaded is not None
        row = connection.execute(select(rollouts).where(rollouts.c.rollout == rollout)).one()
        return Stored(loaded, row.revision)


def changed(stored: Stored, *members: Member, **fields: object) -> Rollout:
    all_members = {**stored.rollout.members, **{one.device_id: one for one in members}}
    return replace(stored.rollout, members=all_members, **fields)  # type: ignore[arg-type]  # a test's fields


def members_of(database: Database, count: int) -> list[Member]:
    return [
        Member(device_id=key, device=device, stage=number // 2, position=number)
        for number, (key, device) in enumerate(devices_of(database, count))
    ]


def test_what_is_inserted_is_read_back(database: Database) -> None:
    members = members_of(database, 5)
    members[1] = replace(members[1], state=MemberState.CHANGED, before=BEFORE, wish="w",
                         wished_ms=NOW_MS, online_when_wished=True, settled_ms=NOW_MS + 5,
                         revert_wish="v", reverting_ms=NOW_MS + 9, code="c",
                         message="m")  # fmt: skip
    stored = create(database, members)
    assert list(stored.rollout.members.values()) == members
    assert stored.rollout.spec == SPEC
    assert stored.rollout.target == TARGET
    assert stored.rollout.state is RolloutState.RUNNING
    with database.reading() as connection:
        assert load(connection, "r-2") is None
        assert load_active(connection) == [stored]
        assert load_active(connection, known={stored.rollout.key: stored.revision}) == []


def test_ten_thousand_members_are_written_and_read(database: Database) -> None:
    members = members_of(database, 10_000)
    stored = create(database, members)
    assert len(stored.rollout.members) == 10_000
    after = changed(stored, *(replace(one, state=MemberState.WISHED) for one in members[:1000]))
    with database.writing() as connection:
        save(connection, stored, after, changed=[one.device_id for one in members[:1000]],
             now_ms=NOW_MS)  # fmt: skip
    assert read(database).rollout == after


def test_a_change_is_written_and_raises_the_revision(database: Database) -> None:
    stored = create(database, members_of(database, 3))
    first, *_ = stored.rollout.members.values()
    member = replace(first, state=MemberState.FAILED, code="x", message="a\0b", before=BEFORE)
    after = changed(
        stored, member, state=RolloutState.PAUSED, code="undecided", reason="why", stage=1,
        stage_begun_ms=1, soak_begun_ms=2, promoted=True, undo_begun_ms=3, ended_ms=4,
    )  # fmt: skip
    with database.writing() as connection:
        again = save(connection, stored, after, changed=[member.device_id], now_ms=NOW_MS + 1,
                     gates=[{"gate": "f1"}])  # fmt: skip
    found = read(database)
    assert found.revision == again.revision == stored.revision + 1
    told = replace(member, message="a\N{REPLACEMENT CHARACTER}b")
    assert found.rollout == changed(Stored(after, 0), told)
    with database.reading() as connection:
        row = connection.execute(select(rollouts)).one()
    assert (row.gates, row.gates_stage, row.updated_ms) == ([{"gate": "f1"}], 0, NOW_MS + 1)


def test_a_joiner_is_added(database: Database) -> None:
    *members, joiner = members_of(database, 3)
    stored = create(database, members)
    after = changed(stored, joiner)
    with database.writing() as connection:
        save(connection, stored, after, changed=[joiner.device_id], now_ms=NOW_MS)
    assert read(database).rollout == after


def test_what_somebody_else_changed_is_not_overwritten(database: Database) -> None:
    stored = create(database, members_of(database, 2))
    other = changed(stored, state=RolloutState.PAUSED)
    with database.writing() as connection:
        save(connection, stored, other, changed=[], now_ms=NOW_MS)
    first, *_ = stored.rollout.members.values()
    mine = changed(stored, replace(first, state=MemberState.WISHED))
    with pytest.raises(OvertakenError), database.writing() as connection:
        save(connection, stored, mine, changed=[first.device_id], now_ms=NOW_MS)
    assert read(database).rollout == other


def test_a_device_belongs_to_the_newest_rollout_that_reached_it(database: Database) -> None:
    members = members_of(database, 2)
    old, new = create(database, members), create(database, members, "r-2")

    def reach(stored: Stored, state: MemberState) -> Stored:
        first, *_ = stored.rollout.members.values()
        after = changed(stored, replace(first, state=state))
        with database.writing() as connection:
            return save(connection, stored, after, changed=[first.device_id], now_ms=NOW_MS)

    def claims() -> dict[int, int]:
        with database.reading() as connection:
            return {row.device_id: row.rollout_id for row in connection.execute(
                select(rollout_claims))}  # fmt: skip

    assert claims() == {}
    old = reach(old, MemberState.WISHED)
    assert claims() == {members[0].device_id: old.rollout.key}
    new = reach(new, MemberState.CHANGED)
    assert claims() == {members[0].device_id: new.rollout.key}
    # It was reached before: nothing of this claims it again.
    reach(old, MemberState.CHANGED)
    assert claims() == {members[0].device_id: new.rollout.key}


def test_rollouts_that_are_over_are_left_alone(database: Database) -> None:
    stored = create(database, members_of(database, 1))
    over = changed(stored, state=RolloutState.COMPLETED, ended_ms=NOW_MS)
    with database.writing() as connection:
        save(connection, stored, over, changed=[], now_ms=NOW_MS)
    with database.reading() as connection:
        assert load_active(connection) == []
        assert load_active(connection, also=[over.key])[0].rollout == over


def test_nothing_of_an_insert_stays_if_it_fails(database: Database) -> None:
    members = members_of(database, 2)
    create(database, members)
    with pytest.raises(Exception, match=r"(?i)unique"):
        create(database, members)
    with database.reading() as connection:
        count = connection.execute(select(func.count()).select_from(rollout_members)).scalar_one()
    assert count == 2


def test_the_audit_log_takes_what_devices_and_gates_say(database: Database) -> None:
    evidence = {"interval": (float("-inf"), 2.0), "model": TARGET, "text": "a\0b\ud800",
                "state": MemberState.FAILED, "ok": True, "none": None}  # fmt: skip
    with database.writing() as connection:
        audit_log.append(
            connection,
            Decision("device_failed", "x" * 5000, evidence, device="pi", actor="token:ci"),
            rollout="r-1", time_ms=NOW_MS,
        )  # fmt: skip
    with database.reading() as connection:
        row = connection.execute(select(audit)).one()
    assert row.evidence["interval"] == [None, 2.0]
    assert row.evidence["model"] == NEW
    assert row.evidence["state"] == "failed"
    assert "\0" not in row.evidence["text"]
    assert len(row.message) == audit_log.MAX_MESSAGE_CHARS
    assert (row.actor, row.action, row.device, row.rollout) == (
        "token:ci", "device_failed", "pi", "r-1",
    )  # fmt: skip
