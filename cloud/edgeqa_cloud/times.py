"""When something happened, by the cloud's clock, whatever the device's clock says. Pure.

A device without a battery-backed clock starts in 1970, or wherever it was when it lost its power,
and jumps when a time server answers. Its uptime does not jump. So the time of a record is that of
its boot plus its uptime, as soon as one heartbeat has told how the two clocks lie.
"""

from __future__ import annotations

# 2024-01-01: before EdgeQA was. A device that says so has no clock.
EARLIEST_MS = 1_704_067_200_000
# A day: a device may be wrong by its time zone.
MOST_AHEAD_MS = 86_400_000
# A heartbeat that took longer than the quickest of its boot by more than this was held up on its
# way, and says nothing about the clock.
_PROMPT_MS = 2_000


def epoch_of(*, received_ms: int, uptime_ms: int, known_ms: int | None) -> int:
    """Our time at a boot's uptime 0: the least seen, as messages are late and never early."""
    seen = received_ms - uptime_ms
    return seen if known_ms is None else min(seen, known_ms)


def skew_of(*, device_time_ms: int, uptime_ms: int, received_ms: int, epoch_ms: int) -> int | None:
    """The device's clock minus ours; None where the heartbeat came too late to tell."""
    if received_ms - (epoch_ms + uptime_ms) > _PROMPT_MS:
        return None
    return device_time_ms - (epoch_ms + uptime_ms)


def time_of(
    *,
    uptime_ms: int,
    device_time_ms: int,
    received_ms: int,
    epoch_ms: int | None,
    skew_ms: int | None,
) -> int | None:
    """When a record was written; None where nothing says so that can be true.

    Args:
        uptime_ms: of the record.
        device_time_ms: of the record.
        received_ms: when it came.
        epoch_ms: of its boot; None if no heartbeat of that boot ever came.
        skew_ms: of the device's clock now, which need not be that of an earlier boot.
    """
    if epoch_ms is not None:
        candidates = [epoch_ms + uptime_ms]
    elif skew_ms is not None:
        candidates = [device_time_ms - skew_ms, device_time_ms]
    else:
        candidates = [device_time_ms]
    latest = received_ms + MOST_AHEAD_MS
    return next((one for one in candidates if EARLIEST_MS <= one <= latest), None)
