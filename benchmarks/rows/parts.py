"""A program that may be killed at any moment and started again, and what it takes meanwhile."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from edgeqa.errors import EdgeqaError
from edgeqa.processes import free_port, listens, mosquitto_program

_START_TIMEOUT_S = 60.0
_END_TIMEOUT_S = 30.0
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_TICKS = os.sysconf("SC_CLK_TCK")
_FOREIGN = ("EDGEQA_AGENT_", "EDGEQA_CLOUD_", "EDGEQA_SIMULATE_")


@dataclass
class Part:
    """A process.

    Attributes:
        name: for tables.
        command: whole.
        log: what it writes to both outputs.
        settings: environment variables.
        ready: JSON log event that says it has started; none: as soon as it runs.
    """

    name: str
    command: list[str]
    log: Path
    settings: dict[str, str] = field(default_factory=dict)
    ready: str | None = None
    port: int | None = None
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    _before: int = field(default=0, repr=False)

    @property
    def pid(self) -> int:
        """Of the process that runs."""
        assert self._process is not None
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.poll() is None

    def spawn(self) -> None:
        """Start it without waiting."""
        self._before = self.log.stat().st_size if self.log.exists() else 0
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(_FOREIGN)}
        with self.log.open("ab") as log:
            # A session of its own, so that a model process ends with the agent that is killed here.
            self._process = subprocess.Popen(
                self.command,
                stdout=log,
                stderr=log,
                env={**inherited, **self.settings},
                start_new_session=True,
            )

    def start(self) -> None:
        """Start it and wait until it is ready.

        Raises:
            EdgeqaError: it ended, or was not ready in a minute.
        """
        self.spawn()
        self.wait_ready()

    def wait_ready(self) -> None:
        """Wait until what was spawned last is ready.

        Raises:
            EdgeqaError: it ended, or was not ready in a minute.
        """
        before = self._before
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not self._is_ready(before):
            if not self.alive or time.monotonic() > deadline:
                said = self.log.read_bytes()[before:].decode(errors="replace")[-2000:]
                raise EdgeqaError(f"{self.name} does not start:\n{said}", code="demo_failed")
            time.sleep(0.02)

    def kill(self) -> None:
        """`kill -9`, of the process itself alone."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def end(self) -> None:
        """SIGTERM, without waiting."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)

    def stop(self) -> int:
        """SIGTERM, and its exit code; killed if it takes too long."""
        if self._process is None:
            return 0
        self.end()
        try:
            return self._process.wait(_END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()
            return -9

    def resident_bytes(self) -> int:
        """Resident memory now; 0 if it does not run."""
        try:
            fields = Path(f"/proc/{self.pid}/statm").read_text().split()
        except OSError:
            return 0
        return int(fields[1]) * _PAGE_BYTES

    def cpu_s(self) -> float:
        """Processor time so far; 0 if it does not run."""
        try:
            fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def _is_ready(self, before: int) -> bool:
        if self.port is not None:
            return listens(self.port)
        if self.ready is None:
            return True
        with self.log.open("rb") as log:
            log.seek(before)
            return f'"{self.ready}"'.encode() in log.read()


def edgeqa(name: str, command: list[str], log: Path, settings: dict[str, str], ready: str) -> Part:
    """An `edgeqa` command."""
    return Part(name, [sys.executable, "-m", "edgeqa.cli", *command], log, settings, ready)


def mosquitto(folder: Path, *, port: int = 0, persistence: bool = False) -> Part:
    """A broker without limits of its own; started again it keeps its port.

    Raises:
        BrokerError: it is not installed.
    """
    program = mosquitto_program()
    port = port or free_port()
    lines = [
        f"listener {port} 127.0.0.1",
        "allow_anonymous true",
        "set_tcp_nodelay true",
        "max_connections -1",
        "max_inflight_messages 0",
        "max_queued_messages 1000000",
        "log_dest stderr",
        "log_type error",
        "log_type warning",
        f"persistence {'true' if persistence else 'false'}",
        f"persistence_location {folder}/",
        *(["autosave_interval 2"] if persistence else []),
        *(["user root"] if os.geteuid() == 0 else []),
    ]
    config = folder / "mosquitto.conf"
    config.write_text("\n".join(lines) + "\n", encoding="utf-8")
    command = [program, "-c", str(config)]
    return Part("broker", command, folder / "mosquitto.log", port=port)


def raise_descriptors() -> int:
    """As many open files as this user may have, for us and all we start; the number."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard
