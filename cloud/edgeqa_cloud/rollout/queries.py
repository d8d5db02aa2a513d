"""Reading rollouts: a page of them, one whole, its devices, and the audit log.

Two statements for a page and four for a rollout, however many devices it has: those are counted
where they are, by an index, and read a page at a time.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    Connection,
    Row,
    Select,
    func,
    select,
)

from edgeqa_cloud.fleet_views import ModelView
from edgeqa_cloud.presence import Presence
from edgeqa_cloud.presence_column import presence_column
from edgeqa_cloud.rollout.filters import (
    ALL_AUDIT,
    ALL_MEMBERS,
    ALL_ROLLOUTS,
    DEFAULT_PAGE,
    AuditFilter,
    MemberFilter,
    RolloutFilter,
)
from edgeqa_cloud.rollout.standing import Counts, Standing, order_view, rollout_view, summary_view
from edgeqa_cloud.rollout.states import MemberState
from edgeqa_cloud.rollout.tables import audit, rollout_members, rollout_orders, rollouts
from edgeqa_cloud.rollout.views import (
    AuditEntry,
    AuditPage,
    MemberPage,
    MemberView,
    OrderView,
    RolloutPage,
    RolloutView,
)
from edgeqa_cloud.rollout.wanted import audit_wanted, members_wanted, rollouts_wanted
from edgeqa_cloud.tables import devices
from edgeqa_cloud.targets.columns import is_storable

# Of a rollout's view; all of them are in the audit log.
MAX_ORDERS = 20
_UNDER_WAY = (MemberState.WISHED.value, MemberState.REVERTING.value)


def list_rollouts(
    connection: Connection,
    *,
    which: RolloutFilter = ALL_ROLLOUTS,
    limit: int = DEFAULT_PAGE,
    offset: int = 0,
) -> RolloutPage:
    """A page of rollouts, newest first."""
    wanted = rollouts_wanted(which)
    total = _count(connection, select(func.count()).select_from(rollouts).where(wanted))
    # Specs are read whole: a page has few, and the number of stages stands in them.
    rows = connection.execute(
        select(rollouts).where(wanted).order_by(rollouts.c.id.desc()).limit(limit).offset(offset)
    ).all()
    states = _states(connection, [row.id for row in rows])
    return RolloutPage(
        total=total, rollouts=[summary_view(row, states.get(row.id, {})) for row in rows]
    )


def find_key(connection: Connection, rollout: str) -> int | None:
    """The key in the database of a rollout, by its public id; None if there is none."""
    if not is_storable(rollout):
        return None
    return connection.execute(
        select(rollouts.c.id).where(rollouts.c.rollout == rollout)
    ).scalar_one_or_none()


def find_rollout(connection: Connection, rollout: str, *, now_ms: int) -> RolloutView | None:
    """A rollout whole, by its public id; None if there is none."""
    if not is_storable(rollout):
        return None
    row = connection.execute(select(rollouts).where(rollouts.c.rollout == rollout)).one_or_none()
    if row is None:
        return None
    standing = Standing(
        counts=_counts(connection, row.id),
        away=_away(connection, row.id, now_ms),
        orders=list_orders(connection, row.id),
        now_ms=now_ms,
    )
    return rollout_view(row, standing)


def list_members(
    connection: Connection,
    rollout_id: int,
    *,
    which: MemberFilter = ALL_MEMBERS,
    limit: int = DEFAULT_PAGE,
    offset: int = 0,
) -> MemberPage:
    """A page of a rollout's devices, in the order of their turns.

    Args:
        connection: in a transaction.
        rollout_id: the rollout's key in the database.
        which: the filter.
        limit: most on this page.
        offset: that come before it.
    """
    member = rollout_members.c
    joined = rollout_members.join(devices, devices.c.id == member.device_id)
    wanted = members_wanted(rollout_id, which)
    # Devices are joined for the count only where the filter asks for their names.
    counted = rollout_members if which.text is None else joined
    total = _count(connection, select(func.count()).select_from(counted).where(wanted))
    rows = connection.execute(
        select(rollout_members, devices.c.device)
        .select_from(joined)
        .where(wanted)
        .order_by(member.position, member.device_id)
        .limit(limit)
        .offset(offset)
    )
    return MemberPage(total=total, members=[_member_view(row) for row in rows])


def list_orders(
    connection: Connection, rollout_id: int, *, limit: int = MAX_ORDERS
) -> list[OrderView]:
    """The last orders about a rollout, newest first."""
    rows = connection.execute(
        select(rollout_orders)
        .where(rollout_orders.c.rollout_id == rollout_id)
        .order_by(rollout_orders.c.id.desc())
        .limit(limit)
    )
    return [order_view(row) for row in rows]


def list_audit(
    connection: Connection,
    *,
    which: AuditFilter = ALL_AUDIT,
    limit: int = DEFAULT_PAGE,
    offset: int = 0,
) -> AuditPage:
    """A page of the audit log, newest first."""
    wanted = audit_wanted(which)
    total = _count(connection, select(func.count()).select_from(audit).where(wanted))
    rows = connection.execute(
        select(audit).where(wanted).order_by(audit.c.id.desc()).limit(limit).offset(offset)
    )
    return AuditPage(total=total, entries=[_audit_entry(row) for row in rows])


def _count(connection: Connection, query: Select[Any]) -> int:
    return int(connection.execute(query).scalar_one())


def _states(connection: Connection, keys: list[int]) -> dict[int, dict[MemberState, int]]:
    """Members of rollouts by state; an index holds all of it."""
    member = rollout_members.c
    found: dict[int, dict[MemberState, int]] = {}
    for key, state, count in connection.execute(
        select(member.rollout_id, member.state, func.count())
        .where(member.rollout_id.in_(keys))
        .group_by(member.rollout_id, member.state)
    ):
        found.setdefault(key, {})[MemberState(state)] = count
    return found


def _counts(connection: Connection, key: int) -> Counts:
    """Members of a rollout by stage and state."""
    member = rollout_members.c
    rows = connection.execute(
        select(member.stage, member.state, func.count())
        .where(member.rollout_id == key)
        .group_by(member.stage, member.state)
    )
    return {(stage, MemberState(state)): count for stage, state, count in rows}


def _away(connection: Connection, key: int, now_ms: int) -> dict[MemberState, int]:
    """Members that something is awaited of, and that are not online now, by state."""
    member = rollout_members.c
    rows = connection.execute(
        select(member.state, func.count())
        .select_from(rollout_members.join(devices, devices.c.id == member.device_id))
        .where(
            member.rollout_id == key,
            member.state.in_(_UNDER_WAY),
            presence_column(now_ms) != Presence.ONLINE.value,
        )
        .group_by(member.state)
    )
    return {MemberState(state): count for state, count in rows}


def _member_view(row: Row[Any]) -> MemberView:
    before = None
    if row.before_name is not None:
        before = ModelView(
            name=row.before_name, version=row.before_version or "", digest=row.before_digest
        )
    return MemberView(
        device=row.device,
        stage=row.stage,
        position=row.position,
        state=MemberState(row.state),
        before=before,
        wished_ms=row.wished_ms,
        settled_ms=row.settled_ms,
        code=row.code,
        message=row.message,
    )


def _audit_entry(row: Row[Any]) -> AuditEntry:
    return AuditEntry(
        entry=row.id,
        time_ms=row.time_ms,
        actor=row.actor,
        action=row.action,
        rollout=row.rollout,
        device=row.device,
        message=row.message,
        evidence=row.evidence or {},
    )
