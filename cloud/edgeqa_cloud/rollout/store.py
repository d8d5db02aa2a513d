"""Rollouts between the database's rows and `rollout.model`.

Whoever creates a rollout calls `insert_rollout`; from then on the engine alone changes it, by
`save`, which writes all that follows from one decision in the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, insert, or_, select, update

from edgeqa.messages import ModelRef
from edgeqa_cloud.bulk import Upsert
from edgeqa_cloud.reading import clean
from edgeqa_cloud.rollout.audit_log import MAX_MESSAGE_CHARS
from edgeqa_cloud.rollout.model import Member, Rollout
from edgeqa_cloud.rollout.spec import RolloutSpec
from edgeqa_cloud.rollout.states import MemberState, RolloutState
from edgeqa_cloud.rollout.tables import rollout_claims, rollout_members, rollout_orders, rollouts
from edgeqa_cloud.tables import devices

FINAL_STATES = tuple(one.value for one in RolloutState if one.final)
# Its device belongs to the rollout from here on, until a newer one reaches it.
_REACHED = frozenset({MemberState.WISHED, MemberState.CHANGED})

_MEMBER = (
    "rollout_id", "device_id", "stage", "position", "state", "before_name", "before_version",
    "before_digest", "wish", "wished_ms", "online_when_wished", "settled_ms", "revert_wish",
    "reverting_ms", "code", "message",
)  # fmt: skip
_NEW_MEMBERS = Upsert(rollout_members, _MEMBER)
_MEMBERS = Upsert(
    rollout_members,
    _MEMBER,
    key=("rollout_id", "device_id"),
    changes=lambda new: {name: new[name] for name in _MEMBER[2:]},
)
_CLAIMS = Upsert(
    rollout_claims,
    ("device_id", "rollout_id"),
    key=("device_id",),
    changes=lambda new: {"rollout_id": new.rollout_id},
    where=lambda new: new.rollout_id > rollout_claims.c.rollout_id,
)


class OvertakenError(Exception):
    """Somebody else has changed the rollout since it was read: read it again."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A rollout as it was read, and the revision that it had then."""

    rollout: Rollout
    revision: int


def insert_rollout(
    connection: Connection,
    *,
    rollout: str,
    spec: RolloutSpec,
    target: ModelRef,
    members: Iterable[Member],
    created_ms: int,
    created_by: str,
) -> int:
    """A new rollout, running, and its members; returns its key.

    Args:
        connection: a writing transaction.
        rollout: its public id, of nobody else.
        spec: as ordered.
        target: what its package is.
        members: from `planning.assign`.
        created_ms: now.
        created_by: an actor, as `user:anna`.
    """
    made = connection.execute(
        insert(rollouts).values(
            rollout=rollout,
            created_ms=created_ms,
            created_by=created_by,
            spec=spec.model_dump(mode="json"),
            model_name=target.name,
            model_version=target.version,
            model_digest=target.digest,
            state=RolloutState.RUNNING.value,
            updated_ms=created_ms,
        )
    ).inserted_primary_key
    if made is None:
        raise TypeError("the database gave the new rollout no key")
    key = int(made[0])
    _NEW_MEMBERS.run(connection, [_member_row(key, one) for one in members])
    return key


def load(connection: Connection, rollout: str) -> Rollout | None:
    """A rollout whole, by its public id."""
    row = connection.execute(select(rollouts).where(rollouts.c.rollout == rollout)).one_or_none()
    return None if row is None else _rollout(connection, row)


def load_active(
    connection: Connection, *, known: Mapping[int, int] | None = None, also: Iterable[int] = ()
) -> list[Stored]:
    """All that the engine has something to do with, newest first: those that are not over, and
    those for which an order waits.

    Args:
        connection: in a transaction.
        known: revisions of rollouts by key, which are left out where they still are the same.
        also: keys of others.
    """
    ordered = select(rollout_orders.c.rollout_id).where(rollout_orders.c.state == "waiting")
    wanted = or_(
        rollouts.c.state.not_in(FINAL_STATES), rollouts.c.id.in_(ordered), rollouts.c.id.in_(also)
    )
    # First without the specs, which may name all devices.
    keys = [
        row.id
        for row in connection.execute(select(rollouts.c.id, rollouts.c.revision).where(wanted))
        if known is None or known.get(row.id) != row.revision
    ]
    rows = connection.execute(
        select(rollouts).where(rollouts.c.id.in_(keys)).order_by(rollouts.c.id.desc())
    ).all()
    return [Stored(_rollout(connection, row), row.revision) for row in rows]


def save(
    connection: Connection,
    before: Stored,
    after: Rollout,
    *,
    changed: Iterable[int],
    now_ms: int,
    gates: Sequence[Mapping[str, Any]] | None = None,
) -> Stored:
    """What has changed of a rollout: its row, members, and whose turn has come claims its device.

    Args:
        connection: the writing transaction of the decision.
        before: as it was read.
        after: as it is now.
        changed: members that differ, or are new.
        now_ms: for `updated_ms` and `gates_ms`.
        gates: results as they were just judged, of the stage that was current before.

    Raises:
        OvertakenError: the row is not what was read; nothing must be committed.
    """
    values: dict[str, Any] = {name: getattr(after, name) for name in _OWN}
    values |= {
        "state": after.state.value,
        "reason": _text(after.reason),
        "revision": before.revision + 1,
        "updated_ms": now_ms,
    }
    if gates is not None:
        values |= {"gates": list(gates), "gates_stage": before.rollout.stage, "gates_ms": now_ms}
    done = connection.execute(
        update(rollouts)
        .where(rollouts.c.id == after.key, rollouts.c.revision == before.revision)
        .values(values)
    )
    if done.rowcount != 1:
        raise OvertakenError(after.rollout)
    members = [after.members[device_id] for device_id in sorted(changed)]
    _MEMBERS.run(connection, [_member_row(after.key, one) for one in members])
    reached = [one.device_id for one in members if _reached(before.rollout, one)]
    _CLAIMS.run(connection, [(device_id, after.key) for device_id in reached])
    return Stored(after, before.revision + 1)


def _reached(before: Rollout, member: Member) -> bool:
    """Whether its turn has just come."""
    was = before.members.get(member.device_id)
    return member.state in _REACHED and (was is None or was.state is MemberState.WAITING)


# Columns that are fields of `Rollout` by the same name, and that change.
_OWN = ("code", "stage", "stage_begun_ms", "soak_begun_ms", "promoted", "undo_begun_ms",
        "ended_ms")  # fmt: skip


def _rollout(connection: Connection, row: Row[Any]) -> Rollout:
    return Rollout(
        key=row.id,
        rollout=row.rollout,
        spec=RolloutSpec.model_validate(row.spec),
        target=ModelRef(name=row.model_name, version=row.model_version, digest=row.model_digest),
        created_ms=row.created_ms,
        state=RolloutState(row.state),
        reason=row.reason,
        members=_members(connection, row.id),
        **{name: getattr(row, name) for name in _OWN},
    )


def _members(connection: Connection, key: int) -> dict[int, Member]:
    columns = [rollout_members.c[name] for name in _MEMBER[1:]]
    query = (
        select(devices.c.device, *columns)
        .join(devices, devices.c.id == rollout_members.c.device_id)
        .where(rollout_members.c.rollout_id == key)
        .order_by(rollout_members.c.position)
    )
    # Thousands of devices had the same model: one object for all of them.
    models: dict[tuple[str, ...], ModelRef] = {}
    members: dict[int, Member] = {}
    for row in connection.execute(query):
        (device, device_id, stage, position, state, *before, wish, wished_ms, online, settled_ms,
         revert_wish, reverting_ms, code, message) = row  # fmt: skip
        members[device_id] = Member(
            device_id=device_id,
            device=device,
            stage=stage,
            position=position,
            state=MemberState(state),
            before=_model(models, *before),
            wish=wish,
            wished_ms=wished_ms,
            online_when_wished=online,
            settled_ms=settled_ms,
            revert_wish=revert_wish,
            reverting_ms=reverting_ms,
            code=code,
            message=message,
        )
    return members


def _model(
    models: dict[tuple[str, ...], ModelRef],
    name: str | None,
    version: str | None,
    digest: str | None,
) -> ModelRef | None:
    if name is None:
        return None
    key = (name, version or "", digest or "")
    if key not in models:
        models[key] = ModelRef(name=key[0], version=key[1], digest=key[2])
    return models[key]


def _member_row(key: int, one: Member) -> tuple[Any, ...]:
    before = one.before
    return (
        key, one.device_id, one.stage, one.position, one.state.value,
        *((None, None, None) if before is None else (before.name, before.version, before.digest)),
        one.wish, one.wished_ms, one.online_when_wished, one.settled_ms, one.revert_wish,
        one.reverting_ms, _text(one.code, 64), _text(one.message),
    )  # fmt: skip


def _text(text: str | None, most: int = MAX_MESSAGE_CHARS) -> str | None:
    return None if text is None else clean(text)[:most]
