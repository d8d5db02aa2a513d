"""How the device itself does, for a record: now, and at its worst since the record before.

Thread: one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgeqa.telemetry_messages import Process
from edgeqa_agent import probes
from edgeqa_agent.memory import resident_bytes
from edgeqa_agent.throttling import Run, run_command, throttled

_MAX_PROCESSES = 16  # of the contract


class Vitals:
    """Reads the probes and keeps what a record says of its whole interval.

    Args:
        state_dir: of whose file system the room is told.
        root: of the kernel's files.
        run: runs the board's command.
    """

    def __init__(
        self, *, state_dir: Path, root: Path = probes.ROOT, run: Run = run_command
    ) -> None:
        self._state_dir = state_dir
        self._root = root
        self._run = run
        self._cpu_before = probes.cpu_time(root=root)
        self._celsius: float | None = None
        self._hottest: float | None = None
        self._throttled: list[str] | None = None
        self._throttled_now: list[str] | None = None

    @property
    def throttled(self) -> list[str] | None:
        """Flags of the board that were seen set since the record before; None if it has none."""
        return self._throttled

    def throttling_changed(self, told: list[str] | None) -> bool:
        """Whether the flags are, or were for a while, others than those that were told."""
        return told != self._throttled or told != self._throttled_now

    def sample(self) -> None:
        """Look at what comes and goes between two records."""
        self._celsius = probes.temperature_celsius(root=self._root)
        known = [celsius for celsius in (self._hottest, self._celsius) if celsius is not None]
        self._hottest = max(known, default=None)
        seen = throttled(root=self._root, run=self._run)
        self._throttled_now = None if seen is None else sorted(seen)
        if seen is not None:
            self._throttled = sorted({*seen, *(self._throttled or [])})

    def fields(self) -> dict[str, object]:
        """As a record says it."""
        cpu, root = probes.cpu_time(root=self._root), self._root
        disk = probes.disk(self._state_dir)
        return {
            "memory_available_bytes": probes.memory_available_bytes(root=root),
            "memory_total_bytes": probes.memory_total_bytes(root=root),
            "cpu_load": cpu.share_since(self._cpu_before) if cpu and self._cpu_before else None,
            "temperature_celsius": self._celsius,
            "temperature_max_celsius": self._hottest,
            "throttled": self._throttled,
            "disk_free_bytes": disk.free_bytes if disk else None,
            "disk_total_bytes": disk.total_bytes if disk else None,
            "host_uptime_s": probes.host_uptime_s(root=root),
        }

    def processes(self, known: Sequence[tuple[str, int]]) -> list[Process]:
        """Memory of processes by role and process id; those that have ended are left out."""
        sizes = [
            (role, probes.sendable(resident_bytes(pid, root=self._root))) for role, pid in known
        ]
        found = [Process(role=role, resident_bytes=size) for role, size in sizes if size]
        return found[:_MAX_PROCESSES]

    def begin(self) -> None:
        """A record was kept: what follows belongs to the next."""
        self._cpu_before = probes.cpu_time(root=self._root)
        self._hottest = self._throttled = None
