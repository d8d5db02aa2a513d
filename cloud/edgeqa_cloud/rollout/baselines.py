"""What is kept of a member's time before its turn: `rollout_members.baseline`.

Written at its turn (the wish that it had then) and once more when it has changed (how it served
before): neither can change any more.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, select

from edgeqa.histogram import Histogram
from edgeqa_cloud.bulk import Upsert
from edgeqa_cloud.rollout.model import Member, Served
from edgeqa_cloud.rollout.tables import rollout_members

_ROWS = Upsert(
    rollout_members,
    ("rollout_id", "device_id", "stage", "position", "state", "baseline"),
    key=("rollout_id", "device_id"),
    changes=lambda new: {"baseline": new.baseline},
)


@dataclass(frozen=True, slots=True)
class Baseline:
    """Of one member.

    Attributes:
        wish: of its last report before its turn; one that it reports again is nobody's new wish.
        read: whether `served` was looked for.
        served: how it served; None where nothing is known.
    """

    wish: str | None = None
    read: bool = False
    served: Served | None = None


NOTHING = Baseline()


def write_baselines(
    connection: Connection, key: int, members: Mapping[int, Member], found: Mapping[int, Baseline]
) -> None:
    """Of members that are in the table."""
    rows = [
        (key, device_id, members[device_id].stage, members[device_id].position,
         members[device_id].state.value, _json(one))
        for device_id, one in sorted(found.items())
    ]  # fmt: skip
    _ROWS.run(connection, rows)


def read_baselines(connection: Connection, key: int) -> dict[int, Baseline]:
    """All of a rollout."""
    query = select(rollout_members.c.device_id, rollout_members.c.baseline).where(
        rollout_members.c.rollout_id == key, rollout_members.c.baseline.is_not(None)
    )
    return {row[0]: _baseline(row[1]) for row in connection.execute(query) if row[1]}


def _json(one: Baseline) -> str:
    served = None
    if one.served is not None:
        served = asdict(one.served)
        latency = one.served.latency
        served["latency"] = None if latency is None else latency.model_dump()
    return json.dumps({"wish": one.wish, "read": one.read, "served": served})


def _baseline(value: Mapping[str, Any]) -> Baseline:
    served = value.get("served")
    if served is not None:
        latency = served["latency"]
        histogram = None if latency is None else Histogram.model_validate(latency)
        served = Served(**{**served, "latency": histogram})
    return Baseline(wish=value.get("wish"), read=bool(value.get("read")), served=served)
