"""Records on disk until the broker has them, and for a while after: one device's outbox.

Invariants: a record that `append` returned is on disk; its `seq` is one more than that of the
record before and is never given out again in its boot. Rows and bytes have a bound. For room go,
in this order, the oldest that was sent, the oldest serving telemetry, the oldest of the rest; what
goes unsent is counted, for ever. Age is counted in running time of the agent: no step of the wall
clock makes a record old, or young.

Thread: any.
"""

from __future__ import annotations

import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from pydantic import ValidationError
from structlog.typing import FilteringBoundLogger

from edgeqa import outbox_reads as reads
from edgeqa.errors import PayloadError
from edgeqa.outbox_file import OutboxDamagedError, OutboxError, OutboxFile
from edgeqa.outbox_reads import Row
from edgeqa.outbox_rows import ROW_BYTES, Bounds, Shelf
from edgeqa.seq_ranges import merged
from edgeqa.telemetry_messages import RECORDS, BootRange, Outboxed, Record, RecordKind, SeqRange

__all__ = ["Bounds", "Outbox", "OutboxError", "OutboxFile", "Row"]

RecordT = TypeVar("RecordT", bound=Record)

# No record comes near; a broker takes 1 MiB or less in most installations.
MAX_RECORD_BYTES = 256 << 10
# Keys of `append_once` that are remembered, the newest.
MAX_KEYS = 64
# Earlier boots that are remembered when none of their records is left, the newest.
MAX_EMPTY_BOOTS = 64

_KINDS = {record_type: kind for kind, record_type in RECORDS.items()}


class Outbox:
    """One device's records.

    Args:
        file: may be shared with other devices.
        device: whose.
        boot_id: of this start of the agent; one that was there before goes on with its numbers.
        uptime_ms: since this start, never set back.
        log: for what was dropped.
        bounds: of this device.
        wall_ms: device time, milliseconds since 1970.
    """

    def __init__(
        self,
        *,
        file: OutboxFile,
        device: str,
        boot_id: str,
        uptime_ms: Callable[[], int],
        log: FilteringBoundLogger,
        bounds: Bounds | None = None,
        wall_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self.device = device
        self.boot_id = boot_id
        self.on_waiting: Callable[[], None] = lambda: None  # the courier's
        self.on_record: Callable[[Record], None] = lambda _: None  # sees what `append` keeps
        self._file = file
        self.uptime_ms = uptime_ms
        self._wall_ms = wall_ms
        self._bounds = bounds or Bounds()
        self._log = log
        self._shelf: Shelf | None = None
        self._generation = self._files = -1
        # True although the file may not say it.
        self._last = 0
        self._not_stored: Counter[str] = Counter()
        self._resent = 0
        self._full = False

    @property
    def resent(self) -> int:
        """How often records that were sent became waiting again."""
        return self._resent

    def close(self) -> None:
        """A later use opens it again."""
        self._file.close()

    def append(self, record_type: type[RecordT], **fields: Any) -> RecordT:
        """Number a record and put it on disk.

        Args:
            record_type: one of `RECORDS`.
            fields: all but `device`, `boot_id`, `seq` and the times.

        Raises:
            PayloadError: the fields are no such record.
            OutboxError: it cannot be written, or is too large; it is counted as dropped.
        """
        record = self.append_once(None, record_type, **fields)
        assert record is not None  # noqa: S101  only a key that is there already makes it None
        return record

    def append_once(
        self, key: str | None, record_type: type[RecordT], **fields: Any
    ) -> RecordT | None:
        """The same, unless a record was appended with this key before, also in an earlier boot.

        The newest `MAX_KEYS` are remembered. Returns: None: it was.
        """
        record = self._append(key, record_type, fields)
        if record is not None:
            self.on_record(record)
            self.on_waiting()
        return record

    def waiting(
        self, *, after: int, limit: int, kinds: Collection[RecordKind] = tuple(RecordKind)
    ) -> list[Row]:
        """What is to be sent next, in order.

        Args:
            after: `Row.id` of the last that is under way; 0 for all.

        Raises:
            OutboxError: it cannot be read.
        """
        with self._file.lock:
            shelf = self._entered()
            if shelf.waiting == 0:
                return []
            with self._file.reading() as db:
                return reads.waiting(db, shelf.device, after=after, limit=limit, kinds=kinds)

    def mark_sent(self, ids: Sequence[int]) -> None:
        """The broker has acknowledged these rows.

        Raises:
            OutboxError: it cannot be noted; they would be sent again, as after a power cut.
        """
        with self._changing(durable=False) as (db, shelf):
            now_ms = self._running_ms(shelf)
            shelf.mark_sent(db, ids, now_ms=now_ms)
            shelf.expire(db, now_ms - self._bounds.keep_sent_ms)

    def give_up(self, row: int) -> None:
        """Drop a row that no broker will take; counted.

        Raises:
            OutboxError: it cannot be noted.
        """
        with self._changing() as (db, shelf):
            shelf.drop(db, row)

    @property
    def acknowledged(self) -> int:
        """No record of this boot up to here waits: each was acknowledged, or dropped and counted.

        Raises:
            OutboxError: it cannot be read.
        """
        with self._file.lock:
            shelf = self._entered()
            with self._file.reading() as db:
                return reads.acknowledged(db, shelf.boot)

    def held(self) -> list[BootRange]:
        """What can be sent again by boot, the newest first; `first` behind `last`: nothing.

        Raises:
            OutboxError: it cannot be read.
        """
        with self._file.lock:
            shelf = self._entered()
            with self._file.reading() as db:
                return reads.held(db, shelf.device)

    def state(self) -> Outboxed:
        """For telemetry; what is known where the file cannot be read."""
        with self._file.lock:
            with suppress(OutboxError):
                self._entered()
            shelf = self._shelf
            dropped = Counter(shelf.dropped if shelf else {}) + self._not_stored
            return Outboxed(
                waiting=shelf.waiting if shelf else 0,
                bytes=shelf.used_bytes if shelf else 0,
                dropped=dict(dropped),
            )

    def resend(self, ranges: Iterable[SeqRange]) -> tuple[int, int]:
        """Let records wait again that were sent.

        Returns: how many of the ranges are waiting now, and how many are not held any more.
        Raises:
            OutboxError: it cannot be noted.
        """
        queued = missing = 0
        with self._changing() as (db, shelf):
            for boot_id, first, last in merged(ranges):
                found = shelf.resend(db, boot_id, first, last)
                queued += found
                missing += last - first + 1 - found
        self._resent += 1
        self.on_waiting()
        return queued, missing

    def _append(
        self, key: str | None, record_type: type[RecordT], fields: dict[str, Any]
    ) -> RecordT | None:
        with self._file.lock:
            try:
                with suppress(OutboxDamagedError):
                    return self._store(key, record_type, fields)
                # It was set aside, and a fresh one takes the record.
                return self._store(key, record_type, fields)
            except OutboxError:
                self._not_stored[_KINDS[record_type]] += 1
                raise

    def _store(
        self, key: str | None, record_type: type[RecordT], fields: dict[str, Any]
    ) -> RecordT | None:
        with self._changing() as (db, shelf):
            if key is not None and not shelf.is_new(db, key, most=MAX_KEYS):
                return None
            record = self._numbered(record_type, shelf.last + 1, fields)
            payload = record.to_json()
            if len(payload) > min(MAX_RECORD_BYTES, self._bounds.max_bytes - ROW_BYTES):
                message = f"a record of {len(payload)} bytes is larger than the outbox takes"
                raise OutboxError(message, code="record_too_large")
            now_ms = self._running_ms(shelf)
            shelf.insert(db, record.seq, _KINDS[record_type], payload, now_ms=now_ms)
            for name, count in self._not_stored.items():
                shelf.count_dropped(db, name, count)
            shelf.expire(db, now_ms - self._bounds.keep_sent_ms)
            dropped = shelf.trim(db, self._bounds)
        if dropped and not self._full:  # once, not at each record of a long outage
            self._log.warning("outbox_full", device=self.device, dropped=dropped)
        self._full = bool(dropped)
        self._last = record.seq
        self._not_stored.clear()
        return record

    def _numbered(self, record_type: type[RecordT], seq: int, fields: dict[str, Any]) -> RecordT:
        own = {
            "device": self.device,
            "boot_id": self.boot_id,
            "seq": seq,
            "time_ms": max(0, self._wall_ms()),
            "uptime_ms": self.uptime_ms(),
        }
        try:
            return record_type.model_validate({**fields, **own})
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False)[0]
            where = ".".join(map(str, first["loc"])) or record_type.__name__
            raise PayloadError(f"{where}: {first['msg']}") from error

    @contextmanager
    def _changing(self, *, durable: bool = True) -> Iterator[tuple[sqlite3.Connection, Shelf]]:
        """A transaction, and what is in the file; read anew after one that failed."""
        with self._file.lock:
            before = self._shelf and self._shelf.copy()
            try:
                with self._file.writing(durable=durable) as db:
                    yield db, self._known(db)
            except BaseException:
                self._shelf, self._generation = before, -1
                raise

    def _entered(self) -> Shelf:
        """What is in the file; the device and its boot are."""
        if self._shelf is None or self._generation != self._file.generation:
            with self._changing() as (_, shelf):
                return shelf
        return self._shelf

    def _known(self, db: sqlite3.Connection) -> Shelf:
        if self._shelf is not None and self._generation == self._file.generation:
            return self._shelf
        if self._shelf is not None and self._files != self._file.generation:
            # The file that held these is damaged; what of them was sent, nobody knows any more.
            self._not_stored.update(self._shelf.dropped)
            self._not_stored["unknown"] += self._shelf.waiting
        self._files = self._generation = self._file.generation
        self._shelf = Shelf.load(
            db, self.device, self.boot_id, last=self._last, most_empty=MAX_EMPTY_BOOTS
        )
        return self._shelf

    def _running_ms(self, shelf: Shelf) -> int:
        return shelf.begun_ms + self.uptime_ms()
