"""What is asked of an outbox, of one device."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection
from dataclasses import dataclass

from edgeqa.telemetry_messages import BootRange, RecordKind

# Each rank by its own index entries, in order; the sort over both is of at most twice the limit.
_WAITING = """
SELECT id, kind, payload FROM records WHERE id IN (
    SELECT id FROM (SELECT id FROM records
        WHERE device = :device AND sent_ms IS NULL AND rank = 0 AND id > :after AND :telemetry
        ORDER BY id LIMIT :limit)
    UNION ALL
    SELECT id FROM (SELECT id FROM records
        WHERE device = :device AND sent_ms IS NULL AND rank = 1 AND id > :after
            AND (:evaluation AND kind = 'evaluation' OR :swap AND kind = 'swap')
        ORDER BY id LIMIT :limit)
) ORDER BY id LIMIT :limit
"""
_HELD = """
SELECT boot_id, coalesce((SELECT min(seq) FROM records WHERE boot = boots.id), last + 1),
    acknowledged
FROM boots WHERE device = ? ORDER BY id DESC
"""


@dataclass(frozen=True, slots=True)
class Row:
    """A record as it waits.

    Attributes:
        id: rises with the order in which records are sent.
        payload: the message.
    """

    id: int
    kind: RecordKind
    payload: bytes


def waiting(
    db: sqlite3.Connection, device: int, *, after: int, limit: int, kinds: Collection[RecordKind]
) -> list[Row]:
    """The next rows of these kinds that are to be sent."""
    wanted = {str(kind): kind in kinds for kind in RecordKind}
    found = db.execute(_WAITING, {"device": device, "after": after, "limit": limit, **wanted})
    return [Row(row, RecordKind(kind), payload) for row, kind, payload in found.fetchall()]


def acknowledged(db: sqlite3.Connection, boot: int) -> int:
    """No record of the boot up to here waits, or did when it was first looked at."""
    (seq,) = db.execute("SELECT acknowledged FROM boots WHERE id = ?", (boot,)).fetchone()
    return int(seq)


def held(db: sqlite3.Connection, device: int) -> list[BootRange]:
    """What can be sent again, by boot, the newest first."""
    return [
        BootRange(boot_id=boot_id, first=first, last=last)
        for boot_id, first, last in db.execute(_HELD, (device,)).fetchall()
    ]
