"""What this device is, as its birth message says it."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from edgeqa.messages import Hardware

_BOARD = Path("/proc/device-tree/model")


def describe_hardware() -> Hardware:
    """Read it from the kernel; the board's name where it has a device tree, as a Pi does."""
    return Hardware(
        machine=platform.machine(),
        board=_board(),
        cpus=len(os.sched_getaffinity(0)),
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
    )


def _board() -> str | None:
    try:
        return _BOARD.read_text(encoding="utf-8", errors="replace").strip("\0\n") or None
    except OSError:
        return None
