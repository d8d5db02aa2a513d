"""The rule of `presence` as an expression over `devices`, to filter and count by."""

from __future__ import annotations

from sqlalchemy import ColumnElement, and_, case, func

from edgeqa_cloud.presence import MISSED_HEARTBEATS, USUAL_INTERVAL_S, Presence
from edgeqa_cloud.tables import devices


def presence_column(now_ms: int) -> ColumnElement[str]:
    """The presence of each device; a test holds it against `presence.judge`."""
    told, interval_s = devices.c.presence, devices.c.heartbeat_interval_s
    patience_ms = MISSED_HEARTBEATS * 1000 * func.coalesce(interval_s, USUAL_INTERVAL_S)
    return case(
        (told == Presence.OFFLINE.value, Presence.OFFLINE.value),
        (and_(told.is_(None), interval_s.is_(None)), Presence.UNKNOWN.value),
        (now_ms - devices.c.last_seen_ms > patience_ms, Presence.SILENT.value),
        else_=Presence.ONLINE.value,
    )
