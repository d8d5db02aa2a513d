"""What the engine sees at a look: the facts that `machine.step` decides by.

A look is cheap: of members under way presence and model in one statement, and reports only of
devices that reported since the last look. Everything about the others is asked when their turn
comes, or when something about them changes.

Thread: the engine's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import chain

from sqlalchemy import Connection, select
from structlog.typing import FilteringBoundLogger

from edgeqa.model_messages import ModelState
from edgeqa_cloud.reading import clean
from edgeqa_cloud.rollout import wish_rows
from edgeqa_cloud.rollout.device_now import (
    Standing,
    read_reports,
    reported_since,
    standings_of,
    standings_under_way,
)
from edgeqa_cloud.rollout.model import DeviceNow, Facts, Member, Order, Report
from edgeqa_cloud.rollout.states import Action, MemberState
from edgeqa_cloud.rollout.tables import rollout_orders
from edgeqa_cloud.rollout.world import NOT_OURS, Course, World

# Devices whose turn may come in one look. The next look follows at once.
WAVE = 2000
# Reports may be committed so much later than they came, also when the database was away.
_OVERLAP_MS = 60_000
_UNDER_WAY = (MemberState.WISHED.value, MemberState.REVERTING.value)
_ENDS = frozenset({ModelState.ACTIVE, ModelState.FAILED, ModelState.ROLLED_BACK})


def read_orders(connection: Connection) -> dict[int, list[Order]]:
    """Those that wait, by the rollout's key; oldest first."""
    query = (
        select(
            rollout_orders.c.rollout_id,
            rollout_orders.c.id,
            rollout_orders.c.action,
            rollout_orders.c.actor,
            rollout_orders.c.note,
        )
        .where(rollout_orders.c.state == "waiting")
        .order_by(rollout_orders.c.id)
    )
    found: dict[int, list[Order]] = {}
    for key, order, action, actor, note in connection.execute(query):
        found.setdefault(key, []).append(Order(order, Action(action), actor, note))
    return found


def news(connection: Connection, world: World, *, now_ms: int) -> set[int]:
    """Devices that reported since the last look; the first look takes all for known."""
    since_ms = world.seen_ms
    world.seen_ms = now_ms
    if since_ms is None:
        return set()
    found = reported_since(connection, since_ms - _OVERLAP_MS)
    return {one for one, at_ms in found.items() if world.reported_ms.get(one) != at_ms}


def look(
    connection: Connection,
    world: World,
    course: Course,
    *,
    fresh: Iterable[int],
    orders: Iterable[Order],
    now_ms: int,
    log: FilteringBoundLogger,
) -> Facts:
    """The facts of one rollout.

    Args:
        connection: in a transaction.
        world: gets the reports that are read.
        course: of which rollout.
        fresh: devices that reported since the last look.
        orders: of this rollout.
        now_ms: by our clock.
        log: for reports that are ignored.
    """
    members = course.rollout.members
    turns = course.next_waiting(WAVE)
    attention = {
        one
        for one in chain(fresh, course.attention)
        if one in members and members[one].state not in NOT_OURS
    }
    standings = standings_under_way(connection, course.rollout.key, _UNDER_WAY, now_ms=now_ms)
    others = attention.union(one.device_id for one in turns) - standings.keys()
    standings |= standings_of(connection, others, now_ms=now_ms)
    _read_new_reports(connection, world, standings, log)
    strangers = _strangers(connection, world, course, standings)
    return Facts(
        now_ms=now_ms,
        devices={
            device_id: DeviceNow(
                online=standing.online,
                model=standing.model,
                report=world.reports.get(device_id),
                taken_by=world.newer_owner(course.rollout.key, device_id)
                or strangers.get(device_id),
            )
            for device_id, standing in standings.items()
        },
        gates=course.current_gates,
        orders=tuple(orders),
        joiners=course.joiners,
    )


def _read_new_reports(
    connection: Connection,
    world: World,
    standings: Mapping[int, Standing],
    log: FilteringBoundLogger,
) -> None:
    changed = {
        device_id: standing.reported_ms
        for device_id, standing in standings.items()
        if standing.reported_ms is not None
        and world.reported_ms.get(device_id) != standing.reported_ms
    }
    if not changed:
        return
    found = read_reports(connection, changed)
    for device_id, reported_ms in changed.items():
        if device_id not in found:
            world.reported_ms[device_id] = reported_ms
            continue
        report, stamp = found[device_id]
        if not world.heard(device_id, report, stamp, at_ms=report.received_ms):
            log.warning("replayed_report_ignored", device_id=device_id, state=report.state)


def _strangers(
    connection: Connection, world: World, course: Course, standings: Iterable[int]
) -> dict[int, str]:
    """Devices that followed a wish which no rollout made, and which one."""
    suspects: dict[int, str] = {}
    for device_id in standings:
        member = course.rollout.members.get(device_id)
        report = world.reports.get(device_id)
        if member is not None and report is not None and _is_strange(course, member, report):
            suspects[device_id] = report.wish or ""
    if not suspects:
        return {}
    known = wish_rows.ours(connection, suspects.values())
    return {
        device_id: f"the wish {clean(wish)}"
        for device_id, wish in suspects.items()
        if wish not in known
    }


def _is_strange(course: Course, member: Member, report: Report) -> bool:
    turn_ms = member.reverting_ms or member.wished_ms or member.settled_ms
    return (
        report.wish is not None
        and report.state in _ENDS
        and member.state not in NOT_OURS
        and turn_ms is not None
        and report.received_ms > turn_ms
        and report.wish not in {member.wish, member.revert_wish}
        and report.wish != course.gatherer.wish_before(member.device_id)
    )
