"""Wishes as rows: written with the decision that they follow from, read by the deployer.

Of one device only the newest matters. A wish is idempotent: one that is published twice, because
a process ended between the broker's acknowledgement and the note of it, is followed once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, select, update

from edgeqa.model_messages import Desired
from edgeqa_cloud.bulk import Upsert
from edgeqa_cloud.rollout.model import Rollout, Wish
from edgeqa_cloud.rollout.tables import wishes

_ROWS = Upsert(wishes, ("rollout_id", "device_id", "device", "wish", "payload", "made_ms"))
_CHUNK = 900


@dataclass(frozen=True, slots=True)
class WishRow:
    """One that waits to be published."""

    key: int
    device_id: int
    device: str
    payload: str


def insert_wishes(
    connection: Connection, rollout: Rollout, made: Iterable[Wish], *, now_ms: int
) -> None:
    """Write wishes down, in this order."""
    rows = [
        (rollout.key, one.device_id, one.device, one.wish, payload_of(rollout, one), now_ms)
        for one in made
    ]
    _ROWS.run(connection, rows)


def payload_of(rollout: Rollout, wish: Wish) -> str:
    """What is retained for the device; empty where the wish is taken back."""
    if wish.model is None or wish.wish is None:
        return ""
    desired = Desired(
        id=wish.wish,
        name=wish.model.name,
        version=wish.model.version,
        digest=wish.model.digest,
        rollout=rollout.rollout,
        gates=rollout.spec.device_gates if wish.forward else None,
    )
    return desired.to_json().decode()


def unpublished(connection: Connection, *, after: int, limit: int) -> list[WishRow]:
    """The next that wait, oldest first."""
    query = (
        select(wishes.c.id, wishes.c.device_id, wishes.c.device, wishes.c.payload)
        .where(wishes.c.published_ms.is_(None), wishes.c.id > after)
        .order_by(wishes.c.id)
        .limit(limit)
    )
    return [WishRow(*row) for row in connection.execute(query)]


def any_unpublished(connection: Connection) -> bool:
    """Whether one waits."""
    return (
        connection.execute(
            select(wishes.c.id).where(wishes.c.published_ms.is_(None)).limit(1)
        ).first()
        is not None
    )


def mark_published(connection: Connection, keys: Sequence[int], *, now_ms: int) -> None:
    """The broker has them, or newer ones of the same devices."""
    for start in range(0, len(keys), _CHUNK):
        connection.execute(
            update(wishes)
            .where(wishes.c.id.in_(keys[start : start + _CHUNK]))
            .values(published_ms=now_ms)
        )


def ours(connection: Connection, ids: Iterable[str]) -> set[str]:
    """Which of these wishes are of rollouts."""
    wanted = sorted(set(ids))
    found: set[str] = set()
    for start in range(0, len(wanted), _CHUNK):
        query = select(wishes.c.wish).where(wishes.c.wish.in_(wanted[start : start + _CHUNK]))
        found.update(row[0] for row in connection.execute(query))
    return found
