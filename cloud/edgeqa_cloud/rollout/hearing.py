"""Whether the cloud hears devices at all, so that its own deafness is not taken for their silence.

A broker, a collector or a database that is away makes all devices fall silent at once. Their
silence counts only when the cloud has heard the fleet, without a break, for as long as a device may
be silent.

Thread: the engine's.
"""

from __future__ import annotations

from sqlalchemy import Connection, func, select

from edgeqa_cloud.presence import USUAL_INTERVAL_S
from edgeqa_cloud.tables import devices

# Heartbeats that a device may miss before its silence is held against its model: one more than make
# it `silent` where it is shown.
SILENT_AFTER = 3
# Every device that lives says something within one interval, and the first that would count as
# silent does so two intervals after the cloud went deaf: in between it must be noticed.
_QUIET_AFTER = 1.5
# How often a device speaks that has been gone for longer says nothing of the fleet.
_LATELY_MS = 3_600_000


class Hearing:
    """Ask it at each gathering of evidence."""

    def __init__(self) -> None:
        self._hears_since_ms: int | None = None

    def deaf(self, connection: Connection, *, now_ms: int) -> bool:
        """Whether a device's silence says nothing now."""
        last_ms, least_s, most_s = connection.execute(
            select(
                func.max(devices.c.last_seen_ms),
                func.min(devices.c.heartbeat_interval_s),
                func.max(devices.c.heartbeat_interval_s),
            ).where(devices.c.last_seen_ms >= now_ms - _LATELY_MS)
        ).one()
        quiet_ms = 1000 * _QUIET_AFTER * (least_s or USUAL_INTERVAL_S)
        if last_ms is None or now_ms - last_ms > quiet_ms:
            self._hears_since_ms = None
            return True
        if self._hears_since_ms is None:
            self._hears_since_ms = now_ms
        patience_ms = 1000 * SILENT_AFTER * max(most_s or 0.0, least_s or USUAL_INTERVAL_S)
        return now_ms - self._hears_since_ms <= patience_ms
