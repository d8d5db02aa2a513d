"""How a long-running role tells a supervisor that it lives: a health file for containers, sd_notify
for systemd.

What is healthy is each role's own to judge; a file that is not there, or is not written any more,
is ill health for all.
"""

from __future__ import annotations

import json
import os
import socket
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

from edgeqa.errors import EdgeqaError
from edgeqa.files import write_atomic

# The file is written every few seconds; after this long without, its writer hangs.
STALE_AFTER_S = 30.0
# State of a process that does not run and waits for people: `edgeqa.holding`.
HELD = "held"


@dataclass(frozen=True, slots=True)
class State:
    """Of a role at a time (`time.time()`); a role adds its own fields."""

    time: float
    state: str


StateT = TypeVar("StateT", bound=State)


class UnhealthyError(EdgeqaError):
    """A role cannot do its work."""

    code = "unhealthy"


def write_health(path: Path, state: State) -> None:
    """Replace the health file.

    Raises:
        OSError: the folder is not there or not writable.
    """
    write_atomic(path, json.dumps(asdict(state)).encode())


def fresh_state(kind: type[StateT], path: Path, *, role: str, now: float | None = None) -> StateT:
    """What a health file says, if it is written still.

    Args:
        kind: of state.
        path: the file.
        role: who writes it, for messages.
        now: instead of `time.time()`.

    Raises:
        UnhealthyError: no file, or a stale one; or it did not start, with the reason.
    """
    try:
        fields = json.loads(path.read_bytes())
        if isinstance(fields, dict) and fields.get("state") == HELD:
            raise UnhealthyError(f"the {role} did not start: {fields.get('reason')}")
        state = kind(**fields)
    except FileNotFoundError as error:
        raise UnhealthyError(f"{path}: not there; does the {role} run with this file?") from error
    except (OSError, ValueError, TypeError) as error:
        raise UnhealthyError(f"{path}: cannot be read: {error}") from error
    age_s = (time.time() if now is None else now) - state.time
    if age_s > STALE_AFTER_S:
        raise UnhealthyError(f"not written for {age_s:.0f} s: the {role} hangs or has ended")
    return state


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
