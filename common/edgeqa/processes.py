"""A broker and programs of EdgeQA in processes of their own, for the demo and the benchmarks.

Each runs inside a `with` block, apart from the terminal, and leaves nothing behind.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgeqa.errors import BrokerError, EdgeqaError

_START_TIMEOUT_S = 60.0
_END_TIMEOUT_S = 15.0
# Debian keeps it where an ordinary user's PATH does not look.
_SBIN = "/usr/sbin"
_ROLES = ("EDGEQA_AGENT_", "EDGEQA_CLOUD_", "EDGEQA_SIMULATE_")


@contextmanager
def broker_process(folder: Path, port: int) -> Iterator[str]:
    """A Mosquitto of its own inside the block; its URL.

    Raises:
        BrokerError: it is not installed, or does not start.
    """
    program = mosquitto_program()
    port = port or free_port()
    config = folder / "mosquitto.conf"
    config.write_text(
        f"listener {port} 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\n"
        "max_inflight_messages 0\nlog_dest none\n"
    )
    with own_process([program, "-c", str(config)], folder / "mosquitto.log", {}):
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not listens(port):
            if time.monotonic() > deadline:
                raise BrokerError(f"mosquitto does not listen on port {port}; is it taken?")
            time.sleep(0.02)
        yield f"mqtt://127.0.0.1:{port}"


@contextmanager
def edgeqa_process(
    command: list[str], log: Path, settings: dict[str, str], *, ready: str
) -> Iterator[subprocess.Popen[bytes]]:
    """An `edgeqa` command that runs inside the block and has logged that it is ready.

    Args:
        command: what follows `edgeqa`.
        log: file for its log, which is JSON.
        settings: environment variables.
        ready: the event to wait for.

    Raises:
        EdgeqaError: `demo_failed`, with what it said; it ended, or was not ready in a minute.
    """
    whole = [sys.executable, "-m", "edgeqa.cli", *command]
    with own_process(whole, log, settings) as process:
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not log_line(log, ready):
            if process.poll() is not None or time.monotonic() > deadline:
                said = log.read_text(errors="replace")
                line = f"`edgeqa {' '.join(command)}` does not start:\n{said}"
                raise EdgeqaError(line, code="demo_failed")
            time.sleep(0.02)
        yield process


def log_line(log: Path, event: str) -> str:
    """The first whole line of a JSON log with this event; empty where there is none yet."""
    lines = log.read_text(encoding="utf-8").splitlines(keepends=True)
    whole = (line for line in lines if line.endswith("\n") and f'"{event}"' in line)
    return next(whole, "")


@contextmanager
def own_process(
    command: list[str], log: Path, settings: dict[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """A program that runs inside the block, apart from the terminal, with settings of its own."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(_ROLES)}
    state = {"EDGEQA_AGENT_STATE_DIR": str(log.with_suffix(".state"))}
    with log.open("wb") as file:
        # Its own session: a Ctrl-C at the terminal is for the demo, which then ends its processes.
        process = subprocess.Popen(
            command,
            stdout=file,
            stderr=file,
            env={**inherited, **state, **settings},
            start_new_session=True,
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def mosquitto_program() -> str:
    """Where Mosquitto is.

    Raises:
        BrokerError: it is not installed.
    """
    program = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:{_SBIN}")
    if program is None:
        raise BrokerError("mosquitto is not installed: apt-get install mosquitto mosquitto-clients")
    return program


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listens(port: int) -> bool:
    """Whether somebody does."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False
