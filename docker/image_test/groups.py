"""A control group that bounds and measures the memory of a container; cgroup version 1 or 2.

Source: the kernel's admin-guide/cgroup-v1/memory.rst and admin-guide/cgroup-v2.rst.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from image_test.shell import ImageTestError

_MOUNT = Path("/sys/fs/cgroup")
_END_S = 5.0


@dataclass(frozen=True)
class Used:
    """What a group counts.

    Attributes:
        peak: most bytes that were ever charged, pages that the kernel can take back included.
        killed: processes that the kernel ended because the limit was reached.
    """

    peak: int
    killed: int


class MemoryGroup:
    """A group inside the `with` block, with a hard limit that swap does not soften."""

    def __init__(self, name: str, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self.version = 1 if (_MOUNT / "memory").is_dir() else 2
        self.folder = _own_group(self.version) / name

    def __enter__(self) -> Self:
        self.folder.mkdir()
        if self.version == 1:
            self._write("memory.limit_in_bytes", self._limit)
            self._write("memory.memsw.limit_in_bytes", self._limit)
        else:
            self._write("memory.max", self._limit)
            self._write("memory.swap.max", 0)
        return self

    def __exit__(self, *_: object) -> None:
        deadline = time.monotonic() + _END_S
        while True:
            try:
                self.folder.rmdir()
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
            else:
                return

    def used(self) -> Used:
        """What is used now."""
        if self.version == 1:
            events = _table(self.folder / "memory.oom_control")
            return Used(self._read("memory.max_usage_in_bytes"), events["oom_kill"])
        events = _table(self.folder / "memory.events")
        return Used(self._read("memory.peak"), events["oom_kill"])

    def resident(self) -> int:
        """Resident memory of its processes, bytes; pages that they share counted once.

        Not the group's own count: it has no page that another container, or whoever built the
        image, has paid for.

        Source: proc(5), smaps_rollup.
        """
        found = 0
        for pid in (self.folder / "cgroup.procs").read_text(encoding="ascii").split():
            try:
                found += 1024 * _table(Path(f"/proc/{pid}/smaps_rollup"))["Pss:"]
            except (FileNotFoundError, ProcessLookupError, KeyError):
                continue  # it has ended meanwhile
        return found

    def _read(self, name: str) -> int:
        return int((self.folder / name).read_text())

    def _write(self, name: str, value: int) -> None:
        try:
            (self.folder / name).write_text(str(value))
        except FileNotFoundError as error:
            if "swap" not in name and "memsw" not in name:  # a kernel without swap accounting
                raise ImageTestError(f"no memory controller in {self.folder}") from error


def _own_group(version: int) -> Path:
    """Where a new group is made: in this process's; in version 2 at the root, as there a group with
    processes may not have groups with limits."""
    if version != 1:
        return _MOUNT
    for line in Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines():
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            return _MOUNT / "memory" / path.lstrip("/")
    return _MOUNT / "memory"


def _table(path: Path) -> dict[str, int]:
    rows = (line.split() for line in path.read_text(encoding="ascii").splitlines())
    return {row[0]: int(row[1]) for row in rows if len(row) > 1 and row[1].isdecimal()}
