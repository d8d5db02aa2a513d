"""Memory of an agent: its main process and all that it started, as the kernel counts it."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Self

_EVERY_S = 0.02
_MIB = 1 << 20


def at_rest(pid: int) -> dict[str, float]:
    """Resident and proportional set sizes now, MiB.

    The resident sizes of all processes are added up, so what they share counts once for each.
    """
    sizes = {one: _rollup(one) for one in family(pid)}
    return {
        "processes": len(sizes),
        "rss_mib": round(sum(size["Rss"] for size in sizes.values()), 1),
        "pss_mib": round(sum(size["Pss"] for size in sizes.values()), 1),
        "main_rss_mib": round(sizes[pid]["Rss"], 1) if pid in sizes else 0.0,
    }


def family(pid: int) -> list[int]:
    """A process and its descendants."""
    found = [pid]
    for one in found:
        try:
            for task in Path(f"/proc/{one}/task").iterdir():
                found += [int(child) for child in (task / "children").read_text().split()]
        except OSError:  # it, or one of its threads, has ended
            continue
    return found


class Peaks:
    """The largest sum of resident memory inside a `with` block, looked at every 20 ms.

    Attributes:
        peak_mib: so far.
    """

    def __init__(self, pid: int) -> None:
        self.peak_mib = 0.0
        self._pid = pid
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="memory", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            self.peak_mib = max(self.peak_mib, sum(map(_resident_mib, family(self._pid))))
            if self._end.wait(_EVERY_S):
                return


def _resident_mib(pid: int) -> float:
    # Not smaps_rollup, which walks all pages and holds the process up meanwhile.
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / _MIB


def _rollup(pid: int) -> dict[str, float]:
    sizes = {"Rss": 0.0, "Pss": 0.0}
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return sizes
    for line in lines:
        name, _, value = line.partition(":")
        if name in sizes:
            sizes[name] += int(value.split()[0]) / 1024
    return sizes
