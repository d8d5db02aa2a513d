"""Where a device stands: what a birth, a will or a heartbeat changes of what is known. Pure.

Several collectors take a device's messages, so they may be handled out of order. A will of an
earlier start must not end a later one, and a heartbeat that was sent after `offline` was told
overrules it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from edgeqa.messages import Status
from edgeqa.telemetry_messages import Heartbeat
from edgeqa_cloud.presence import Presence
from edgeqa_cloud.times import skew_of


@dataclass(frozen=True, slots=True)
class Standing:
    """Of one device; the columns of `devices` with these names.

    Attributes:
        boot: the number of the boot `boot_id` in `boots`: a later one has a higher number.
    """

    last_seen_ms: int
    presence: str | None = None
    presence_reason: str | None = None
    presence_ms: int | None = None
    boot_id: str | None = None
    boot: int | None = None
    heartbeat_interval_s: float | None = None
    skew_ms: int | None = None

    def is_past(self, boot: int | None) -> bool:
        """Whether this boot is an earlier one."""
        return boot is not None and self.boot is not None and boot < self.boot


def told(before: Standing, status: Status, *, boot: int | None, at_ms: int) -> Standing:
    """After a birth or a will.

    Args:
        before: what was known.
        status: what came.
        boot: number of its boot; None if it names none.
        at_ms: when it came.
    """
    if before.is_past(boot) or at_ms < (before.presence_ms or 0):
        return before
    online = status.status == "online"
    after = replace(
        before,
        presence=str(Presence.ONLINE if online else Presence.OFFLINE),
        presence_reason=None if online else status.reason,
        presence_ms=at_ms,
        last_seen_ms=max(before.last_seen_ms, at_ms) if online else before.last_seen_ms,
    )
    if status.boot_id is None:
        return after
    return replace(after, boot_id=status.boot_id, boot=boot)


def heard(
    before: Standing, heartbeat: Heartbeat, *, boot: int, epoch_ms: int, received_ms: int
) -> Standing:
    """After a heartbeat.

    Args:
        before: what was known.
        heartbeat: what came.
        boot: number of its boot.
        epoch_ms: our time at that boot's uptime 0.
        received_ms: when it came.
    """
    if before.is_past(boot):
        return before
    sent_ms = min(received_ms, epoch_ms + heartbeat.uptime_ms)
    skew_ms = skew_of(
        device_time_ms=heartbeat.time_ms,
        uptime_ms=heartbeat.uptime_ms,
        received_ms=received_ms,
        epoch_ms=epoch_ms,
    )
    after = replace(
        before,
        last_seen_ms=max(before.last_seen_ms, sent_ms),
        boot_id=heartbeat.boot_id,
        boot=boot,
        heartbeat_interval_s=heartbeat.interval_s,
        skew_ms=before.skew_ms if skew_ms is None else skew_ms,
    )
    if before.presence == Presence.ONLINE or sent_ms <= (before.presence_ms or 0):
        return after
    return replace(after, presence=str(Presence.ONLINE), presence_reason=None, presence_ms=sent_ms)
