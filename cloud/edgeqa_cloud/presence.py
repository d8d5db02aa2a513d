"""Whether a device is there: what the broker last told of it, and how long it has been silent.

The broker tells `offline` when it notices that the connection broke, after one and a half
keep-alive intervals; a broker that is away itself tells nothing. So a device that is said to be
online and misses two heartbeats is `silent`: nobody knows. Judged when it is read, never stored.
"""

from __future__ import annotations

from enum import StrEnum

from sqlalchemy import ColumnElement, and_, case, func

from edgeqa_cloud.tables import devices

MISSED_HEARTBEATS = 2
# The agent's default, for devices whose interval is not known yet.
USUAL_INTERVAL_S = 60.0


class Presence(StrEnum):
    """What is known."""

    ONLINE = "online"
    SILENT = "silent"
    OFFLINE = "offline"
    UNKNOWN = "unknown"


def judge(
    *, told: str | None, last_seen_ms: int, interval_s: float | None, now_ms: int
) -> Presence:
    """Of one device.

    Args:
        told: its last status, `online` or `offline`; None if none came.
        last_seen_ms: when anything last came from it, by our clock.
        interval_s: of its heartbeat; None if none came.
        now_ms: by our clock.
    """
    if told == Presence.OFFLINE:
        return Presence.OFFLINE
    if told is None and interval_s is None:
        return Presence.UNKNOWN
    patience_ms = (
        MISSED_HEARTBEATS * 1000 * (USUAL_INTERVAL_S if interval_s is None else interval_s)
    )
    return Presence.SILENT if now_ms - last_seen_ms > patience_ms else Presence.ONLINE


def presence_column(now_ms: int) -> ColumnElement[str]:
    """The same as an expression over `devices`, to filter and count by."""
    told, interval_s = devices.c.presence, devices.c.heartbeat_interval_s
    patience_ms = MISSED_HEARTBEATS * 1000 * func.coalesce(interval_s, USUAL_INTERVAL_S)
    return case(
        (told == Presence.OFFLINE.value, Presence.OFFLINE.value),
        (and_(told.is_(None), interval_s.is_(None)), Presence.UNKNOWN.value),
        (now_ms - devices.c.last_seen_ms > patience_ms, Presence.SILENT.value),
        else_=Presence.ONLINE.value,
    )
