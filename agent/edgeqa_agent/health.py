"""Telling a supervisor that the agent lives, by a health file.

Healthy means that the agent could answer if asked: its model is loaded and its network thread
runs. A broker that is away is reported but is no ill health: a restart would not bring it back.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgeqa.health import State, UnhealthyError, fresh_state


@dataclass(frozen=True, slots=True)
class Health(State):
    """State of an agent at a time (`time.time()`)."""

    model_ready: bool
    network_alive: bool
    connected: bool
    queue_depth: int
    answered: int


def read_health(path: Path, *, require_broker: bool, now: float | None = None) -> Health:
    """The state, if it is a healthy one.

    Raises:
        UnhealthyError: no file, a stale one, or a state in which no question can be answered.
    """
    health = fresh_state(Health, path, role="agent", now=now)
    if not (health.model_ready and health.network_alive):
        raise UnhealthyError(
            f"state {health.state}: model ready: {health.model_ready}, "
            f"network thread alive: {health.network_alive}"
        )
    if require_broker and not health.connected:
        raise UnhealthyError("no connection to the broker")
    return health
