"""What the kernel and the board say of this device; what they do not say, or say wrongly, is None.

Files are read below a root that tests choose. Nothing here raises: a sensor that breaks must not
take serving down with it.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from edgeqa.telemetry_messages import MAX_INT
from edgeqa_agent.memory import available_bytes

ROOT = Path("/")
# Files of /proc and /sys that are read here have some hundred bytes; /proc/stat has a line for
# each processor and a long one of interrupts, and only its first line is looked at.
_MAX_FILE_BYTES = 16 << 10
_MAX_DIGITS = 20  # of 64 bits
_CPU_FIELDS = 8
# Zones that measure the processor, by their type in lower case: the Raspberry Pi's and most boards'
# first, then `cpu0-thermal` and its like, then that of a PC, then the die as a whole.
_ZONES = ("cpu-thermal", "cpu_thermal", "cpu", "x86_pkg_temp", "soc")
# What a record may say; a sensor that is not there reads as 0 K or as a full scale.
_LEAST_CELSIUS, _MOST_CELSIUS = -60.0, 200.0


@dataclass(frozen=True, slots=True)
class CpuTime:
    """Time of all processors since the device started, in the kernel's ticks."""

    busy: int
    total: int

    def share_since(self, before: CpuTime) -> float | None:
        """Busy share of all processors between two readings; None where no time passed."""
        total = self.total - before.total
        if total <= 0:
            return None
        return round(max(0.0, min(1.0, (self.busy - before.busy) / total)), 4)


@dataclass(frozen=True, slots=True)
class Disk:
    """The file system of a folder; `free_bytes` for this user."""

    free_bytes: int
    total_bytes: int


def cpu_time(*, root: Path = ROOT) -> CpuTime | None:
    """Time of all processors together.

    Source: proc_stat(5): user, nice, system, idle, iowait, irq, softirq, steal; guests count in the
    first two already.
    """
    name, *fields = (read_text(root / "proc/stat") or "").partition("\n")[0].split() or [""]
    times = [whole(field) for field in fields[:_CPU_FIELDS]]
    known = [time for time in times if time is not None]
    if name != "cpu" or len(known) < _CPU_FIELDS:
        return None
    total = sum(known)
    return CpuTime(busy=total - sum(known[3:5]), total=total)


def temperature_celsius(*, root: Path = ROOT) -> float | None:
    """Temperature of the processor: the hottest of its zones.

    Source: the kernel's driver-api/thermal/sysfs-api: `temp` in thousandths of a degree.
    """
    found: dict[int, list[float]] = {}
    for zone in _folders(root / "sys/class/thermal", "thermal_zone*"):
        rank = _rank(read_text(zone / "type") or "")
        celsius = _celsius(read_text(zone / "temp") or "")
        if rank is not None and celsius is not None:
            found.setdefault(rank, []).append(celsius)
    return max(found[min(found)]) if found else None


def memory_total_bytes(*, root: Path = ROOT) -> int | None:
    """Memory of the machine."""
    for line in (read_text(root / "proc/meminfo") or "").splitlines():
        name, _, rest = line.partition(":")
        if name == "MemTotal":
            kib = whole(rest.strip().removesuffix("kB").strip())
            return None if kib is None else sendable(1024 * kib)
    return None


def memory_available_bytes(*, root: Path = ROOT) -> int | None:
    """Memory that this agent can still take; in a container, what that leaves."""
    return sendable(available_bytes(root=root))


def host_uptime_s(*, root: Path = ROOT) -> float | None:
    """Since the device started.

    Source: proc_uptime(5), first field.
    """
    first = (read_text(root / "proc/uptime") or "").partition(" ")[0]
    seconds, _, fraction = first.partition(".")
    known = whole(seconds)
    if known is None or not (fraction or "0").isdecimal() or sendable(known) is None:
        return None
    return float(known)


def disk(folder: Path) -> Disk | None:
    """Of the file system that a folder is in."""
    try:
        usage = shutil.disk_usage(folder)
    except (OSError, ValueError):
        return None
    free, total = sendable(usage.free), sendable(usage.total)
    return None if free is None or total is None else Disk(free, total)


def read_text(path: Path) -> str | None:
    """The beginning of a small file; None where there is none, or no text in it."""
    try:
        with path.open("rb") as file:
            return file.read(_MAX_FILE_BYTES).decode("ascii")
    except (OSError, ValueError):
        return None


def whole(text: str) -> int | None:
    """A number of digits alone that fits into 64 bits."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= _MAX_DIGITS else None


def sendable(value: int | None) -> int | None:
    """None for what a message cannot hold."""
    return value if value is not None and 0 <= value <= MAX_INT else None


def _folders(parent: Path, pattern: str) -> list[Path]:
    try:
        return sorted(parent.glob(pattern))
    except OSError:
        return []


def _rank(kind: str) -> int | None:
    kind = kind.strip().lower()
    return next((rank for rank, part in enumerate(_ZONES) if part in kind), None)


def _celsius(text: str) -> float | None:
    text = text.strip()
    milli = whole(text.removeprefix("-"))
    if milli is None:
        return None
    celsius = (-milli if text.startswith("-") else milli) / 1000
    return round(celsius, 1) if _LEAST_CELSIUS <= celsius <= _MOST_CELSIUS else None
