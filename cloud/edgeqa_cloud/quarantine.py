"""Messages that could not be stored, kept for people to look at, and their second chance.

Bounded: beyond `Keep.rows` the oldest give way.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import Connection, delete, func, select

from edgeqa_cloud.bulk import Upsert
from edgeqa_cloud.reading import Refused, clean
from edgeqa_cloud.tables import quarantine as table

# What a reason says of a value is short; this is for what nobody thought of.
_MESSAGE_CHARS = 1000
_TOPIC_CHARS = 1000

_ROWS = Upsert(
    table, ("received_ms", "topic", "device", "code", "message", "bytes", "payload")
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Keep:
    """How much is kept: rows, and bytes of each payload."""

    rows: int
    payload_bytes: int


def quarantine(connection: Connection, refused: Iterable[Refused], keep: Keep) -> int:
    """Put messages in; how many older ones had to go.

    Args:
        connection: a writing transaction.
        refused: in order of arrival.
        keep: bounds.
    """
    rows = [
        (
            one.arrival.received_ms,
            clean(one.arrival.topic)[:_TOPIC_CHARS],
            one.device,
            one.code,
            clean(one.reason)[:_MESSAGE_CHARS],
            one.arrival.size,
            one.arrival.payload[: keep.payload_bytes],
        )
        for one in refused
    ]
    if not rows:
        return 0
    _ROWS.run(connection, rows)
    # Numbers are given in order: of the last `keep.rows` numbers there are no more rows than that.
    last = select(func.max(table.c.id)).scalar_subquery()
    return connection.execute(delete(table).where(table.c.id <= last - keep.rows)).rowcount
