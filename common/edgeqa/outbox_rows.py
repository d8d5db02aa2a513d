"""The SQL of an outbox, of one device; called inside a transaction of its file."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from edgeqa.telemetry_messages import RecordKind

# What a row takes in the file beside its payload: its columns, four entries of indexes, and room
# that pages leave unused. Measured: docs/outbox.md.
ROW_BYTES = 256
_BATCH = 64

_INSERT = (
    "INSERT INTO records (device, boot, seq, kind, rank, bytes, payload) "
    "VALUES (?, ?, ?, ?, ?, ?, ?)"
)
# From the last that is known: what lies below is settled and is not read again.
_SETTLE = """
UPDATE boots SET acknowledged = coalesce(
    (SELECT seq - 1 FROM records WHERE boot = boots.id AND seq > boots.acknowledged
        AND sent_ms IS NULL ORDER BY seq LIMIT 1), last) WHERE id = ?
"""
_OLDEST_SENT = (
    "SELECT id, boot, bytes, NULL FROM records WHERE device = ? AND sent_ms IS NOT NULL "
    "ORDER BY sent_ms, id LIMIT ?"
)
_OLDEST_WAITING = (
    "SELECT id, boot, bytes, kind FROM records WHERE device = ? AND sent_ms IS NULL "
    "AND rank = ? ORDER BY id LIMIT ?"
)
_EMPTY_BOOTS = """
DELETE FROM boots WHERE device = :device
    AND NOT EXISTS (SELECT 1 FROM records WHERE boot = boots.id)
    AND id NOT IN (SELECT id FROM boots WHERE device = :device ORDER BY id DESC LIMIT :most)
"""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What an outbox may hold.

    Attributes:
        max_rows: sent ones included; the default is two weeks of a record a minute.
        max_bytes: of payloads, with `ROW_BYTES` for each row.
        keep_sent_s: how long a sent record is kept so that it can be sent again.
    """

    max_rows: int = 20_000
    max_bytes: int = 32 << 20
    keep_sent_s: float = 86_400.0

    @property
    def keep_sent_ms(self) -> int:
        """`keep_sent_s`."""
        return int(self.keep_sent_s * 1000)


@dataclass(slots=True)
class Shelf:
    """What is in the file of one device: keys, and sums that need not be asked for again."""

    device: int
    boot: int
    begun_ms: int
    last: int
    rows: int
    used_bytes: int
    waiting: int
    dropped: Counter[str] = field(default_factory=Counter)

    @classmethod
    def load(
        cls, db: sqlite3.Connection, device: str, boot_id: str, *, last: int, most_empty: int
    ) -> Shelf:
        """Read it; a device or a boot that is new is entered.

        Args:
            last: a `seq` that was given out, whatever the file says.
            most_empty: boots without records that are remembered.
        """
        db.execute("INSERT INTO devices (device) VALUES (?) ON CONFLICT DO NOTHING", (device,))
        (key,) = db.execute("SELECT id FROM devices WHERE device = ?", (device,)).fetchone()
        db.execute(
            "INSERT INTO boots (device, boot_id, begun_ms, seen_ms) "
            "SELECT :device, :boot_id, seen, seen FROM "
            "(SELECT coalesce(max(seen_ms), 0) AS seen FROM boots WHERE device = :device) "
            "WHERE true ON CONFLICT DO NOTHING",
            {"device": key, "boot_id": boot_id},
        )
        boot, begun_ms, stored = db.execute(
            "SELECT id, begun_ms, last FROM boots WHERE device = ? AND boot_id = ?", (key, boot_id)
        ).fetchone()
        if last > stored:  # the file that knew it is gone, with all that was in it
            db.execute("UPDATE boots SET last = ?1, acknowledged = ?1 WHERE id = ?2", (last, boot))
        db.execute(_EMPTY_BOOTS, {"device": key, "most": most_empty})
        waiting, waiting_bytes = _sums(db, key, "sent_ms IS NULL")
        sent, sent_bytes = _sums(db, key, "sent_ms IS NOT NULL")
        dropped = dict(
            db.execute("SELECT kind, records FROM dropped WHERE device = ?", (key,)).fetchall()
        )
        return cls(
            device=key,
            boot=boot,
            begun_ms=begun_ms,
            last=max(last, stored),
            rows=waiting + sent,
            used_bytes=waiting_bytes + sent_bytes,
            waiting=waiting,
            dropped=Counter(dropped),
        )

    def copy(self) -> Shelf:
        """As it is now."""
        return replace(self, dropped=self.dropped.copy())

    def insert(
        self, db: sqlite3.Connection, seq: int, kind: RecordKind, payload: bytes, *, now_ms: int
    ) -> None:
        """Put a record behind all others."""
        rank = 0 if kind is RecordKind.TELEMETRY else 1
        size = len(payload) + ROW_BYTES
        db.execute(_INSERT, (self.device, self.boot, seq, str(kind), rank, size, payload))
        db.execute(
            "UPDATE boots SET last = ?, seen_ms = max(seen_ms, ?) WHERE id = ?",
            (seq, now_ms, self.boot),
        )
        self.last = seq
        self.rows += 1
        self.waiting += 1
        self.used_bytes += size

    def is_new(self, db: sqlite3.Connection, key: str, *, most: int) -> bool:
        """Whether the key was not there yet; it is now."""
        done = db.execute(
            "INSERT INTO once (device, key) VALUES (?, ?) ON CONFLICT DO NOTHING",
            (self.device, key),
        )
        if done.rowcount != 1:
            return False
        db.execute(
            "DELETE FROM once WHERE device = :device AND id NOT IN "
            "(SELECT id FROM once WHERE device = :device ORDER BY id DESC LIMIT :most)",
            {"device": self.device, "most": most},
        )
        return True

    def mark_sent(self, db: sqlite3.Connection, ids: Sequence[int], *, now_ms: int) -> None:
        """Note what the broker has; rows that are gone, or marked already, are passed over."""
        boots = set()
        for row in ids:
            found = db.execute(
                "UPDATE records SET sent_ms = ? WHERE id = ? AND device = ? AND sent_ms IS NULL "
                "RETURNING boot",
                (now_ms, row, self.device),
            ).fetchall()
            for (boot,) in found:
                boots.add(boot)
                self.waiting -= 1
        self._settle(db, boots)

    def resend(self, db: sqlite3.Connection, boot_id: str, first: int, last: int) -> int:
        """Let a boot's records wait again; how many of the range are held."""
        found = db.execute(
            "SELECT id FROM boots WHERE device = ? AND boot_id = ?", (self.device, boot_id)
        ).fetchone()
        if found is None:
            return 0
        of = (found[0], first, last)
        done = db.execute(
            "UPDATE records SET sent_ms = NULL WHERE boot = ? AND seq BETWEEN ? AND ? "
            "AND sent_ms IS NOT NULL",
            of,
        )
        self.waiting += done.rowcount
        (held,) = db.execute(
            "SELECT count(*) FROM records WHERE boot = ? AND seq BETWEEN ? AND ?", of
        ).fetchone()
        return int(held)

    def expire(self, db: sqlite3.Connection, before_ms: int) -> None:
        """Delete what was sent before."""
        of = (self.device, before_ms)
        where = "device = ? AND sent_ms < ?"
        count, size = db.execute(
            f"SELECT count(*), coalesce(sum(bytes), 0) FROM records WHERE {where}",  # noqa: S608  ours
            of,
        ).fetchone()
        if count:
            db.execute(f"DELETE FROM records WHERE {where}", of)  # noqa: S608  ours
            self.rows -= count
            self.used_bytes -= size

    def trim(self, db: sqlite3.Connection, bounds: Bounds) -> dict[str, int]:
        """Make room; what was dropped unsent, by kind."""
        dropped: Counter[str] = Counter()
        boots = set()
        for sql, of in (
            (_OLDEST_SENT, (self.device, _BATCH)),
            (_OLDEST_WAITING, (self.device, 0, _BATCH)),
            (_OLDEST_WAITING, (self.device, 1, _BATCH)),
        ):
            while self._exceeds(bounds):
                oldest = db.execute(sql, of).fetchall()
                if not oldest:
                    break
                for row, boot, size, kind in oldest:
                    if not self._exceeds(bounds):
                        break
                    self._delete(db, row, size, kind)
                    if kind is not None:
                        dropped[kind] += 1
                        boots.add(boot)
        for kind, count in dropped.items():
            self.count_dropped(db, kind, count)
        self._settle(db, boots)
        return dict(dropped)

    def drop(self, db: sqlite3.Connection, row: int) -> None:
        """Give one up that waits."""
        found = db.execute(
            "SELECT boot, bytes, kind FROM records WHERE id = ? AND device = ? AND sent_ms IS NULL",
            (row, self.device),
        ).fetchone()
        if found is not None:
            boot, size, kind = found
            self._delete(db, row, size, kind)
            self.count_dropped(db, kind, 1)
            self._settle(db, {boot})

    def count_dropped(self, db: sqlite3.Connection, kind: str, count: int) -> None:
        """Add to what was ever dropped of a kind."""
        db.execute(
            "INSERT INTO dropped (device, kind, records) VALUES (?, ?, ?) "
            "ON CONFLICT DO UPDATE SET records = records + excluded.records",
            (self.device, kind, count),
        )
        self.dropped[kind] += count

    def _exceeds(self, bounds: Bounds) -> bool:
        return self.rows > bounds.max_rows or self.used_bytes > bounds.max_bytes

    def _delete(self, db: sqlite3.Connection, row: int, size: int, kind: str | None) -> None:
        db.execute("DELETE FROM records WHERE id = ?", (row,))
        self.rows -= 1
        self.used_bytes -= size
        self.waiting -= kind is not None

    def _settle(self, db: sqlite3.Connection, boots: set[int]) -> None:
        for boot in boots:
            db.execute(_SETTLE, (boot,))


def _sums(db: sqlite3.Connection, device: int, where: str) -> tuple[int, int]:
    count, size = db.execute(
        f"SELECT count(*), coalesce(sum(bytes), 0) FROM records WHERE device = ? AND {where}",  # noqa: S608  ours
        (device,),
    ).fetchone()
    return int(count), int(size)
