"""The memory of this device: what a model process takes, and what is left."""

from __future__ import annotations

import os
from pathlib import Path

_ROOT = Path("/")


def resident_bytes(pid: int, *, root: Path = _ROOT) -> int:
    """Resident memory of a process; 0 where it is not known.

    That is RSS, with the libraries that it shares with others. The proportional set size would
    fall by itself whenever a second model process shares them, and a gate must judge the model,
    not who else is running.

    Source: proc_pid_statm(5), second field, in pages.
    """
    try:
        fields = (root / f"proc/{pid}/statm").read_text(encoding="ascii").split()
        return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0
