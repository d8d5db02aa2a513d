"""Telling a supervisor that the agent lives: a health file for containers, sd_notify for systemd.

Healthy means that the agent could answer if asked: its model is loaded and its network thread
runs. A broker that is away is reported but is no ill health: a restart would not bring it back.
"""

from __future__ import annotations

import json
import os
import socket
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from edgeqa.errors import EdgeqaError
from edgeqa.files import write_atomic

# The file is written every few seconds; after this long without, the agent hangs.
STALE_AFTER_S = 30.0


@dataclass(frozen=True, slots=True)
class Health:
    """State of an agent at a time (`time.time()`)."""

    time: float
    state: str
    model_ready: bool
    network_alive: bool
    connected: bool
    queue_depth: int
    answered: int


class UnhealthyError(EdgeqaError):
    """The agent is not able to answer."""

    code = "unhealthy"


def write_health(path: Path, health: Health) -> None:
    """Replace the health file.

    Raises:
        OSError: the folder is not there or not writable.
    """
    write_atomic(path, json.dumps(asdict(health)).encode())


def read_health(path: Path, *, require_broker: bool, now: float | None = None) -> Health:
    """The state, if it is a healthy one.

    Raises:
        UnhealthyError: no file, a stale one, or a state in which no question can be answered.
    """
    try:
        health = Health(**json.loads(path.read_bytes()))
    except FileNotFoundError as error:
        raise UnhealthyError(f"{path}: not there; does the agent run with this file?") from error
    except (OSError, ValueError, TypeError) as error:
        raise UnhealthyError(f"{path}: cannot be read: {error}") from error
    age_s = (time.time() if now is None else now) - health.time
    if age_s > STALE_AFTER_S:
        raise UnhealthyError(f"not written for {age_s:.0f} s: the agent hangs or has ended")
    if not (health.model_ready and health.network_alive):
        raise UnhealthyError(
            f"state {health.state}: model ready: {health.model_ready}, "
            f"network thread alive: {health.network_alive}"
        )
    if require_broker and not health.connected:
        raise UnhealthyError("no connection to the broker")
    return health


def notify_systemd(state: str) -> None:
    """Send a state such as `READY=1` to systemd; without systemd this does nothing.

    Source: sd_notify(3).
    """
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):  # an abstract socket
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        try:
            sock.sendto(state.encode(), address)
        except OSError:
            pass  # systemd is gone: nobody is left to tell
