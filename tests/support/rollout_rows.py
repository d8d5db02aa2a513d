"""Rollouts in a database, row by row: what an engine would have written."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import delete, insert, update

from edgeqa.messages import ModelRef
from edgeqa_cloud.database import Database
from edgeqa_cloud.rollout.audit_log import append
from edgeqa_cloud.rollout.model import Decision, Member
from edgeqa_cloud.rollout.spec import RolloutSpec
from edgeqa_cloud.rollout.states import MemberState
from edgeqa_cloud.rollout.store import insert_rollout
from edgeqa_cloud.rollout.tables import (
    catalogue,
    packages,
    rollout_members,
    rollout_orders,
    rollouts,
)
from support.fleet import NEW, OLD

SPEC: dict[str, Any] = {
    "package": {"name": NEW["name"], "version": NEW["version"]},
    "target": {"all": True},
    "stages": [{"count": 1, "soak_s": 60}, {"percent": 100, "soak_s": 60}],
}
GATE: dict[str, Any] = {
    "gate": "f1", "status": "undecided", "message": "F1 -1.2 points [-7.5, 5.1]", "value": -1.2,
    "low": -7.5, "high": 5.1, "limit": -3.0, "unit": "points", "samples": 50,
}  # fmt: skip


@dataclass
class RolloutRows:
    """Rows for a database that is migrated."""

    database: Database
    now_ms: int
    _numbers: Any = field(default_factory=lambda: itertools.count(1))

    def package(self, model: Mapping[str, str] = NEW, **columns: Any) -> None:
        """A package that the repository offers."""
        row = {
            **model, "bytes": 20_000_000, "manifest": {}, "first_seen_ms": self.now_ms - 1000,
            "last_seen_ms": self.now_ms,
        } | columns  # fmt: skip
        read = {
            "id": 1, "repository": "https://models.example", "tried_ms": self.now_ms,
            "read_ms": self.now_ms, "expires_ms": self.now_ms + 86_400_000,
        }  # fmt: skip
        with self.database.writing() as connection:
            connection.execute(insert(packages).values(row))
            connection.execute(delete(catalogue))
            connection.execute(insert(catalogue).values(read))

    def rollout(
        self,
        members: Sequence[tuple[int, int, str]],
        *,
        spec: Mapping[str, Any] | None = None,
        each: Mapping[str, Any] | None = None,
        **columns: Any,
    ) -> str:
        """A rollout; members are the device's key, the stage and the state, in their turns."""
        rollout = str(columns.pop("rollout", f"r-20261125-{next(self._numbers):06x}"))
        made = RolloutSpec.model_validate({**SPEC, **(spec or {})})
        with self.database.writing() as connection:
            key = insert_rollout(
                connection,
                rollout=rollout,
                spec=made,
                target=ModelRef(**NEW),
                members=[
                    Member(device_id=device, device="-", stage=stage, position=position,
                           state=MemberState(state), before=ModelRef(**OLD))
                    for position, (device, stage, state) in enumerate(members)
                ],
                created_ms=self.now_ms - 60_000,
                created_by="user:anna",
            )  # fmt: skip
            if columns:
                connection.execute(update(rollouts).where(rollouts.c.id == key).values(columns))
            if each:
                connection.execute(
                    update(rollout_members)
                    .where(rollout_members.c.rollout_id == key)
                    .values(dict(each))
                )
        return rollout

    def change(self, rollout: str, **columns: Any) -> None:
        """As an engine would."""
        with self.database.writing() as connection:
            connection.execute(
                update(rollouts)
                .where(rollouts.c.rollout == rollout)
                .values({"revision": rollouts.c.revision + 1, **columns})
            )

    def obey(self, state: str = "obeyed", **columns: Any) -> int:
        """All orders that wait; how many they were."""
        with self.database.writing() as connection:
            return connection.execute(
                update(rollout_orders)
                .where(rollout_orders.c.state == "waiting")
                .values({"state": state, "done_ms": self.now_ms, **columns})
            ).rowcount

    def entry(self, action: str, message: str, *, rollout: str | None, age_ms: int = 0,
              **fields: Any) -> None:  # fmt: skip
        """An entry of the audit log."""
        with self.database.writing() as connection:
            append(connection, Decision(action=action, message=message, **fields),
                   rollout=rollout, time_ms=self.now_ms - age_ms)  # fmt: skip
