"""The audit log: every decision and every order, with what it was based on. Only ever added to.

An entry is written in the transaction of what it tells of: neither is there without the other.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel
from sqlalchemy import Connection

from edgeqa_cloud.bulk import Upsert
from edgeqa_cloud.reading import clean
from edgeqa_cloud.rollout.model import Decision
from edgeqa_cloud.rollout.tables import audit

# A device's own words are part of some entries; the longest message of ours is far shorter.
MAX_MESSAGE_CHARS = 2000
_MAX_ACTOR_CHARS = 128
_ROWS = Upsert(
    audit, ("time_ms", "actor", "action", "rollout", "device", "message", "evidence")
)  # fmt: skip


def append(
    connection: Connection, decision: Decision, *, rollout: str | None, time_ms: int
) -> None:
    """Add an entry.

    Args:
        connection: the writing transaction of what it tells of.
        decision: what was decided, by whom, and why.
        rollout: its public id; None where it is about none.
        time_ms: now.
    """
    append_all(connection, (decision,), rollout=rollout, time_ms=time_ms)


def append_all(
    connection: Connection, decisions: Iterable[Decision], *, rollout: str | None, time_ms: int
) -> None:
    """Add entries, in this order."""
    rows = [
        (
            time_ms,
            clean(one.actor)[:_MAX_ACTOR_CHARS],
            one.action,
            rollout,
            one.device,
            clean(one.message)[:MAX_MESSAGE_CHARS],
            json.dumps(plain(one.evidence), allow_nan=False),
        )
        for one in decisions
    ]
    _ROWS.run(connection, rows)


def plain(value: Any) -> Any:
    """As JSON has it: no infinity, no NUL, models as objects."""
    if isinstance(value, BaseModel):
        return plain(value.model_dump(mode="json", exclude_none=True))
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {clean(str(key)): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(one) for one in value]
    if value is None or isinstance(value, bool | int):
        return value
    return clean(str(value))
