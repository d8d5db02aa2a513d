"""What changed in the database since it was looked at last, whichever process changed it.

Four small statements; each compares with what was seen before, so that neither clocks that differ
nor transactions that commit out of order hide a change for good.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, func, or_, select

from edgeqa_cloud.rollout.states import RolloutState
from edgeqa_cloud.rollout.tables import audit, catalogue, rollouts
from edgeqa_cloud.tables import devices

# Of one look; more at once is one event that names none.
MAX_DEVICES = 50
MAX_ENTRIES = 100
# A message is committed so much later than it came, unless the collector is far behind.
_DEVICE_OVERLAP_MS = 3000
_ROLLOUT_OVERLAP_MS = 60_000
_ACTIVE = [one.value for one in RolloutState if not one.final]

Found = list[tuple[str, Mapping[str, Any]]]


@dataclass(slots=True)
class Looking:
    """Remembers what was seen. Use `changes` again and again."""

    begun: bool = False
    devices_ms: int = 0
    devices: dict[str, int] = field(default_factory=dict)
    revisions: dict[str, int] = field(default_factory=dict)
    entry: int = 0
    catalogue: tuple[Any, ...] | None = None

    def changes(self, connection: Connection, *, now_ms: int) -> Found:
        """Kinds and data of events; none the first time.

        Args:
            connection: in a transaction.
        """
        found = [
            *self._rollouts(connection, now_ms),
            *self._entries(connection),
            *self._devices(connection),
            *self._packages(connection),
        ]
        if not self.begun:
            self.begun = True
            return []
        if any(kind == "device" for kind, _ in found):
            found.append(("fleet", {}))
        return found

    def _rollouts(self, connection: Connection, now_ms: int) -> Found:
        rows = connection.execute(
            select(rollouts.c.rollout, rollouts.c.revision, rollouts.c.state).where(
                or_(
                    rollouts.c.state.in_(_ACTIVE),
                    rollouts.c.updated_ms >= now_ms - _ROLLOUT_OVERLAP_MS,
                )
            )
        ).all()
        before = self.revisions
        self.revisions = {row.rollout: row.revision for row in rows}
        found: Found = [
            ("rollout", {"rollout": row.rollout, "revision": row.revision, "state": row.state})
            for row in rows
            if before.get(row.rollout) != row.revision
        ]
        # One that was active and is not in sight any more ended at a moment of another clock.
        found += [("rollout", {"rollout": gone}) for gone in before.keys() - self.revisions.keys()]
        return found

    def _entries(self, connection: Connection) -> Found:
        if not self.begun:
            self.entry = connection.execute(select(func.max(audit.c.id))).scalar() or 0
            return []
        rows = connection.execute(
            select(audit.c.id, audit.c.rollout, audit.c.device, audit.c.action)
            .where(audit.c.id > self.entry)
            .order_by(audit.c.id.desc())
            .limit(MAX_ENTRIES)
        ).all()
        if not rows:
            return []
        self.entry = rows[0].id
        found: Found = [("audit", {"entry": self.entry, "entries": len(rows)})]
        found += [("device", {"device": name}) for name in {one.device for one in rows} if name]
        if any(one.action == "tags_changed" for one in rows):
            found.append(("device", {}))
        return found

    def _devices(self, connection: Connection) -> Found:
        rows = connection.execute(
            select(devices.c.device, devices.c.last_seen_ms).where(
                devices.c.last_seen_ms > self.devices_ms - _DEVICE_OVERLAP_MS
            )
        ).all()
        changed = [row.device for row in rows if self.devices.get(row.device) != row.last_seen_ms]
        if rows:
            self.devices_ms = max(self.devices_ms, *(row.last_seen_ms for row in rows))
        since = self.devices_ms - _DEVICE_OVERLAP_MS
        self.devices = {row.device: row.last_seen_ms for row in rows if row.last_seen_ms > since}
        if len(changed) > MAX_DEVICES:
            return [("device", {"devices": len(changed)})]
        return [("device", {"device": one}) for one in changed]

    def _packages(self, connection: Connection) -> Found:
        row = connection.execute(
            select(catalogue.c.tried_ms, catalogue.c.read_ms, catalogue.c.code)
        ).first()
        seen = None if row is None else tuple(row)
        if seen == self.catalogue:
            return []
        self.catalogue = seen
        return [("packages", {})]
