"""Telling a supervisor that the collector lives: a health file for containers.

Healthy means that a restart would help nothing: its threads run. A broker or a database that is
away is shown, and is no ill health: the collector waits for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgeqa.health import State, UnhealthyError, fresh_state


@dataclass(frozen=True, slots=True)
class Health(State):
    """State of a collector at a time (`time.time()`)."""

    threads_alive: bool
    broker_connected: bool
    database_ok: bool
    waiting: int
    stored: int


def read_health(path: Path, *, require_database: bool, now: float | None = None) -> Health:
    """The state, if it is a healthy one.

    Raises:
        UnhealthyError: no file, a stale one, or a state in which nothing is collected.
    """
    health = fresh_state(Health, path, role="collector", now=now)
    if not health.threads_alive:
        raise UnhealthyError(f"state {health.state}: a thread has ended; see the log")
    if require_database and not health.database_ok:
        raise UnhealthyError(f"the database is in trouble; {health.waiting} messages wait")
    return health
