"""A PostgreSQL of its own in a process of its own, for tests and benchmarks.

In a folder and on a port of its own, beside whatever else runs; it leaves nothing behind.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgeqa.errors import EdgeqaError
from edgeqa.processes import free_port, own_process

# Debian keeps each version's programs apart, where no PATH looks.
_VERSIONS = Path("/usr/lib/postgresql")
_START_TIMEOUT_S = 60.0
_LOOK_S = 0.05
_USER = "edgeqa"
# Whom it runs as where we are root, which PostgreSQL refuses: the first that there is.
_ACCOUNTS = ("postgres", "nobody")


class PostgresServer:
    """One server; stopped and started again it keeps its folder and port.

    Args:
        folder: for its data; made.
        durable: flush to the disk, as a server in earnest does.
    """

    def __init__(self, folder: Path, *, durable: bool) -> None:
        self._folder = folder
        self._durable = durable
        self._port = free_port()
        self._programs = programs()

    @property
    def url(self) -> str:
        """Of its first database."""
        return self.url_of("postgres")

    def url_of(self, database: str) -> str:
        """Of one of its databases."""
        return f"postgresql://{_USER}@127.0.0.1:{self._port}/{database}"

    def make(self) -> None:
        """Make its folder."""
        self._folder.mkdir(parents=True, exist_ok=True)
        if os.geteuid() == 0:
            shutil.chown(self._folder, *_account())
            for parent in self._folder.parents[:-1]:
                if not parent.stat().st_mode & 0o001:
                    parent.chmod(parent.stat().st_mode | 0o011)
        self._call("initdb", "--pgdata", str(self._data), "--username", _USER, "--auth", "trust",
                   "--encoding", "UTF8", "--no-locale", "--no-sync")  # fmt: skip

    @contextmanager
    def running(self) -> Iterator[None]:
        """It runs inside the block.

        Raises:
            EdgeqaError: `benchmark_failed`, it does not start.
        """
        settings = {
            "port": self._port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "fsync": "on" if self._durable else "off",
            "synchronous_commit": "on" if self._durable else "off",
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        command = [self._program("postgres"), "-D", str(self._data), *options]
        log = self._folder.parent / f"{self._folder.name}.log"
        with own_process([*_as_account(), *command], log, {}) as process:
            deadline = time.monotonic() + _START_TIMEOUT_S
            while not self._ready():
                if process.poll() is not None or time.monotonic() > deadline:
                    said = log.read_text(errors="replace")
                    raise EdgeqaError(f"postgres does not start:\n{said}", code="demo_failed")
                time.sleep(_LOOK_S)
            try:
                yield
            finally:
                # "Fast": SIGTERM would wait for the clients to leave.
                process.send_signal(signal.SIGINT)
                process.wait(_START_TIMEOUT_S)

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def _program(self, name: str) -> str:
        return str(self._programs / name)

    def _call(self, name: str, *arguments: str) -> None:
        command = [*_as_account(), self._program(name), *arguments]
        subprocess.run(command, check=True, capture_output=True, cwd="/")

    def _ready(self) -> bool:
        asked = [self._program("pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self._port)]
        return subprocess.run(asked, check=False, cwd="/").returncode == 0


def programs() -> Path:
    """The folder of the newest version's programs.

    Raises:
        EdgeqaError: `demo_failed`, it is not installed.
    """
    versions = sorted(_VERSIONS.glob("*/bin/initdb"), key=lambda one: int(one.parts[-3]))
    if not versions:
        raise EdgeqaError(
            "PostgreSQL is not installed: apt-get install postgresql", code="demo_failed"
        )
    return versions[-1].parent


def _account() -> tuple[int, int]:
    for name in _ACCOUNTS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return entry.pw_uid, entry.pw_gid
    raise EdgeqaError("there is no account that PostgreSQL can run as", code="demo_failed")


def _as_account() -> list[str]:
    if os.geteuid() != 0:
        return []
    user, group = _account()
    return ["setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups"]
