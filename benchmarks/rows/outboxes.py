"""What outbox files hold, read beside the agents that write them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path

from edgeqa_cloud.simulate.ledger import Entry, payload_digest

_RECORDS = """
SELECT devices.device, boots.boot_id, records.seq, records.payload
FROM records JOIN boots ON boots.id = records.boot JOIN devices ON devices.id = records.device
"""
_HELD = """
SELECT devices.device, boots.boot_id, boots.last, count(records.id)
FROM boots JOIN devices ON devices.id = boots.device LEFT JOIN records ON records.boot = boots.id
GROUP BY boots.id HAVING count(records.id) <> boots.last
"""
_WAITING = "SELECT count(*) FROM records WHERE sent_ms IS NULL"


def entries(files: Iterable[Path]) -> Iterator[Entry]:
    """Every record that outboxes ever held.

    Raises:
        ValueError: one gave up records, or forgot them, so that this cannot be told.
    """
    for file in files:
        with closing(_open(file)) as db:
            for device, boot_id, last, held in db.execute(_HELD):
                raise ValueError(f"{file}: {device}/{boot_id} gave {last} records and holds {held}")
            for device, boot_id, seq, payload in db.execute(_RECORDS):
                raw = payload.encode() if isinstance(payload, str) else payload
                yield Entry(device, boot_id, seq, payload_digest(raw))


def waiting(files: Iterable[Path]) -> int:
    """Records that no broker has acknowledged."""
    total = 0
    for file in files:
        with closing(_open(file)) as db:
            total += db.execute(_WAITING).fetchone()[0]
    return total


def _open(file: Path) -> sqlite3.Connection:
    # Not `immutable`: the writer lives, and its log is to be read too.
    return sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=10)
