"""Telling a supervisor that the collector lives: a health file for containers.

Healthy means that a restart would help nothing: its threads run. A broker or a database that is
away is shown, and is no ill health: the collector waits for it.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from edgeqa.errors import EdgeqaError
from edgeqa.files import write_atomic

# The file is written every few seconds; after this long without, the collector hangs.
STALE_AFTER_S = 30.0


@dataclass(frozen=True, slots=True)
class Health:
    """State of a collector at a time (`time.time()`)."""

    time: float
    state: str
    threads_alive: bool
    broker_connected: bool
    database_ok: bool
    waiting: int
    stored: int


class UnhealthyError(EdgeqaError):
    """The collector does not work."""

    code = "unhealthy"


def write_health(path: Path, health: Health) -> None:
    """Replace the health file.

    Raises:
        OSError: the folder is not there or not writable.
    """
    write_atomic(path, json.dumps(asdict(health)).encode())


def read_health(path: Path, *, require_database: bool, now: float | None = None) -> Health:
    """The state, if it is a healthy one.

    Raises:
        UnhealthyError: no file, a stale one, or a state in which nothing is collected.
    """
    try:
        health = Health(**json.loads(path.read_bytes()))
    except FileNotFoundError as error:
        raise UnhealthyError(
            f"{path}: not there; does the collector run with this file?"
        ) from error
    except (OSError, ValueError, TypeError) as error:
        raise UnhealthyError(f"{path}: cannot be read: {error}") from error
    age_s = (time.time() if now is None else now) - health.time
    if age_s > STALE_AFTER_S:
        raise UnhealthyError(f"not written for {age_s:.0f} s: the collector hangs or has ended")
    if not health.threads_alive:
        raise UnhealthyError(f"state {health.state}: a thread has ended; see the log")
    if require_database and not health.database_ok:
        raise UnhealthyError(f"the database is in trouble; {health.waiting} messages wait")
    return health
