"""Messages that could not be stored, kept for people to look at, and their second chance.

Bounded: beyond `Keep.rows` the oldest give way.

A message is tried again (`retry`) on the ordinary way, as if it had just come: after an upgrade, or
when a heartbeat has told at last what a device's clock hid. What fails again stays.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, and_, delete, func, select, true

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


@dataclass(frozen=True, slots=True)
class Kept:
    """A message in quarantine."""

    id: int
    received_ms: int
    topic: str
    device: str | None
    code: str
    message: str
    size: int
    payload: bytes

    @property
    def whole(self) -> bool:
        """Whether nothing of it was cut off."""
        return len(self.payload) == self.size


@dataclass(frozen=True, slots=True)
class Choice:
    """Which messages: those that all of these are true of."""

    ids: tuple[int, ...] = ()
    code: str | None = None
    device: str | None = None

    def condition(self) -> ColumnElement[bool]:
        """As SQL."""
        wanted: list[ColumnElement[bool]] = [true()]
        if self.ids:
            wanted.append(table.c.id.in_(self.ids))
        if self.code is not None:
            wanted.append(table.c.code == self.code)
        if self.device is not None:
            wanted.append(table.c.device == self.device)
        return and_(*wanted)


def kept(connection: Connection, choice: Choice, *, most: int, after: int = 0) -> list[Kept]:
    """Messages in order of their numbers, from the one after `after`."""
    query = select(table).where(choice.condition(), table.c.id > after)
    found = connection.execute(query.order_by(table.c.id).limit(most))
    return [Kept(*row) for row in found]


def latest(connection: Connection, choice: Choice, *, most: int) -> list[Kept]:
    """The last ones, newest first."""
    query = select(table).where(choice.condition()).order_by(table.c.id.desc()).limit(most)
    return [Kept(*row) for row in connection.execute(query)]


def counts(connection: Connection, choice: Choice) -> list[tuple[str, int]]:
    """How many there are of each code, most first."""
    query = (
        select(table.c.code, func.count().label("many"))
        .where(choice.condition())
        .group_by(table.c.code)
        .order_by(func.count().desc(), table.c.code)
    )
    return [(row[0], row[1]) for row in connection.execute(query)]


def drop(connection: Connection, choice: Choice) -> int:
    """Delete them; how many there were."""
    return connection.execute(delete(table).where(choice.condition())).rowcount
