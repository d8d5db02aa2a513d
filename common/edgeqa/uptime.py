"""Time that no clock setting moves."""

from __future__ import annotations

import time
from collections.abc import Callable


def uptime_clock() -> Callable[[], int]:
    """Milliseconds since this call; those count in which the machine slept."""
    clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # the former is Linux's
    begun_ns = time.clock_gettime_ns(clock)
    return lambda: (time.clock_gettime_ns(clock) - begun_ns) // 1_000_000
