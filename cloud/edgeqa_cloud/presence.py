"""Whether a device is there: what the broker last told of it, and how long it has been silent.

The broker tells `offline` when it notices that the connection broke, after one and a half
keep-alive intervals; a broker that is away itself tells nothing. So a device that is said to be
online and misses two heartbeats is `silent`: nobody knows. Judged when it is read, never stored;
`presence_column` is the same rule in SQL.
"""

from __future__ import annotations

from enum import StrEnum

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
