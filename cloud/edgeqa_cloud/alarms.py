"""What somebody who looks after the fleet must look at: derived from what is known, kept nowhere.

An alarm goes when its reason does: devices come back, a rollout is resumed, or the day is over for
what happened once (failed swaps, messages in quarantine, a rollout that was undone).
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum

from pydantic import Field
from sqlalchemy import Connection, func, or_, select

from edgeqa_cloud.fleet_views import FleetSummary, View
from edgeqa_cloud.presence import Presence
from edgeqa_cloud.presence_column import presence_column
from edgeqa_cloud.rollout.states import RolloutState
from edgeqa_cloud.rollout.tables import catalogue, rollouts
from edgeqa_cloud.serving_history import DAY_MS, HOUR_MS
from edgeqa_cloud.tables import devices, gaps, quarantine, swaps
from edgeqa_cloud.words import said

# Raspberry Pi 5 slows itself down from 85 °C on, and its soft limit is 80.
# Source: Raspberry Pi documentation, "Frequency management and thermal control".
HOT_CELSIUS = 80.0
# More of a fleet than a broken device or two: a site, a network, a broker.
_MANY = 0.1
_MAX_ROLLOUTS = 20
_FAILED = ("failed", "rolled_back")


class Severity(StrEnum):
    """How soon."""

    # Now.
    CRITICAL = "critical"
    # Today.
    WARNING = "warning"


class AlarmView(View):
    """Something to look at."""

    kind: str = Field(
        description="silent, throttled, hot, failed_swaps, gaps, lost_records, quarantine, "
        "repository, rollout_paused or rollout_undone."
    )
    severity: Severity
    text: str = Field(description="For people.")
    count: int = Field(description="Of devices, records or messages; 1 of a rollout.")
    rollout: str | None = None
    link: str = Field(description="The page that shows more.")


class AlarmList(View):
    """All alarms, the critical ones first."""

    now_ms: int
    alarms: list[AlarmView]


def read_alarms(connection: Connection, summary: FleetSummary, *, now_ms: int) -> AlarmList:
    """All of now.

    Args:
        connection: in a transaction.
        summary: of a moment ago at most.
    """
    found = [
        *_presence(summary),
        *_heat(connection, summary, now_ms),
        *_swaps(connection, now_ms),
        *_records(connection, now_ms),
        *_rollouts(connection, now_ms),
        *_repository(connection),
    ]
    found.sort(key=lambda one: one.severity is not Severity.CRITICAL)
    return AlarmList(now_ms=now_ms, alarms=found)


def _presence(summary: FleetSummary) -> Iterator[AlarmView]:
    silent = summary.presence.get(Presence.SILENT, 0)
    if silent:
        many = silent >= _MANY * summary.devices
        yield AlarmView(
            kind="silent",
            severity=Severity.CRITICAL if many else Severity.WARNING,
            text=f"{_devices(silent)} not heard of for two heartbeats",
            count=silent,
            link="/devices?presence=silent&sort=seen",
        )


def _heat(connection: Connection, summary: FleetSummary, now_ms: int) -> Iterator[AlarmView]:
    if summary.throttled:
        yield AlarmView(
            kind="throttled",
            severity=Severity.WARNING,
            text=f"{_devices(summary.throttled)} slowed down by heat or low voltage",
            count=summary.throttled,
            link="/devices?presence=online&sort=-temperature",
        )
    if (summary.temperature_max_celsius or 0.0) < HOT_CELSIUS:
        return
    hot = connection.execute(
        select(func.count())
        .select_from(devices)
        .where(
            devices.c.temperature_celsius >= HOT_CELSIUS,
            presence_column(now_ms) == Presence.ONLINE.value,
        )
    ).scalar_one()
    yield AlarmView(
        kind="hot",
        severity=Severity.WARNING,
        text=f"{_devices(hot)} at {HOT_CELSIUS:.0f} °C or more, the hottest at "
        f"{summary.temperature_max_celsius:.0f} °C",
        count=hot,
        link="/devices?presence=online&sort=-temperature",
    )


def _swaps(connection: Connection, now_ms: int) -> Iterator[AlarmView]:
    failed = connection.execute(
        select(func.count(func.distinct(swaps.c.device_id))).where(
            swaps.c.time_ms >= now_ms - DAY_MS, swaps.c.state.in_(_FAILED)
        )
    ).scalar_one()
    if failed:
        yield AlarmView(
            kind="failed_swaps",
            severity=Severity.WARNING,
            text=f"{_devices(failed)} did not take a model in the last day",
            count=failed,
            link="/audit?action=device_failed",
        )


def _records(connection: Connection, now_ms: int) -> Iterator[AlarmView]:
    missing = func.sum(gaps.c.last - gaps.c.first + 1)
    late = connection.execute(
        select(missing).where(gaps.c.state == "open", gaps.c.found_ms < now_ms - HOUR_MS)
    ).scalar()
    lost = connection.execute(
        select(missing).where(gaps.c.state == "lost", gaps.c.found_ms >= now_ms - DAY_MS)
    ).scalar()
    refused = connection.execute(
        select(func.count())
        .select_from(quarantine)
        .where(quarantine.c.received_ms >= now_ms - DAY_MS)
    ).scalar_one()
    for kind, count, text in (
        ("gaps", late, "records missing for more than an hour"),
        ("lost_records", lost, "records lost for good in the last day"),
        ("quarantine", refused, "messages refused in the last day: edgeqa cloud quarantine list"),
    ):  # fmt: skip
        if count:
            yield AlarmView(
                kind=kind, severity=Severity.WARNING, text=f"{int(count):,} {text}",
                count=int(count), link="/devices",
            )  # fmt: skip


def _rollouts(connection: Connection, now_ms: int) -> Iterator[AlarmView]:
    back = [RolloutState.UNDONE, RolloutState.UNDO_INCOMPLETE]
    rows = connection.execute(
        select(rollouts.c.rollout, rollouts.c.state, rollouts.c.reason)
        .where(
            or_(
                rollouts.c.state.in_([RolloutState.PAUSED, RolloutState.UNDOING]),
                rollouts.c.state.in_(back) & (rollouts.c.ended_ms >= now_ms - DAY_MS),
            )
        )
        .order_by(rollouts.c.id.desc())
        .limit(_MAX_ROLLOUTS)
    )
    for row in rows:
        state = RolloutState(row.state)
        why = f": {said(row.reason)}" if row.reason else ""
        yield AlarmView(
            kind="rollout_paused" if state is RolloutState.PAUSED else "rollout_undone",
            severity=Severity.WARNING if state is RolloutState.UNDONE else Severity.CRITICAL,
            text=f"rollout {row.rollout} is {state.replace('_', ' ')}{why}",
            count=1,
            rollout=row.rollout,
            link=f"/rollouts/{row.rollout}",
        )


def _repository(connection: Connection) -> Iterator[AlarmView]:
    row = connection.execute(select(catalogue.c.code, catalogue.c.message)).first()
    if row is not None and row.code is not None:
        yield AlarmView(
            kind="repository",
            severity=Severity.WARNING,
            text=f"the model repository cannot be read: {said(row.message)}",
            count=1,
            link="/packages",
        )


def _devices(count: int) -> str:
    return "1 device" if count == 1 else f"{count:,} devices"
