"""The SQLite file of an outbox: opened, checked, set aside when damaged, and written in one step.

WAL with a sync at each commit: what a `writing` block wrote is on disk when it ends, or not at all,
also when the power goes. The file is opened when it is first needed and again after a failure, so
that a disk that was full or read-only is used as soon as it is well.

Thread: any; one connection, and a lock that each block holds.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from structlog.typing import FilteringBoundLogger

from edgeqa.errors import EdgeqaError, ExitCode

SCHEMA_VERSION = 1
MEMORY = ":memory:"

# SQLite's default of 1000 pages (4 MiB) is much for a file that takes a record a minute. The log
# keeps this room on disk between checkpoints, in which a full disk still lets records be written.
_CHECKPOINT_PAGES = 256
_WAL_KEPT_BYTES = 1 << 20
# Another process holds a lock: somebody looks into the file with a tool.
_BUSY_TIMEOUT_S = 2.0
# Damaged files that are kept for a look, the newest.
_KEPT_DAMAGED = 2
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}

_SCHEMA = """
CREATE TABLE devices (
    id INTEGER PRIMARY KEY,
    device TEXT NOT NULL UNIQUE
);
CREATE TABLE boots (
    id INTEGER PRIMARY KEY,
    device INTEGER NOT NULL,
    boot_id TEXT NOT NULL,
    begun_ms INTEGER NOT NULL, -- running time of all earlier boots
    seen_ms INTEGER NOT NULL, -- running time when it was last written to
    last INTEGER NOT NULL DEFAULT 0, -- highest seq that was given out
    acknowledged INTEGER NOT NULL DEFAULT 0, -- no record up to here waits
    UNIQUE (device, boot_id)
);
CREATE TABLE records (
    id INTEGER PRIMARY KEY AUTOINCREMENT, -- the order in which they are sent
    device INTEGER NOT NULL,
    boot INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    kind TEXT NOT NULL,
    rank INTEGER NOT NULL, -- 0 is dropped before 1
    bytes INTEGER NOT NULL,
    sent_ms INTEGER, -- running time of the broker's acknowledgement
    payload BLOB NOT NULL,
    UNIQUE (boot, seq)
);
CREATE INDEX records_waiting ON records (device, rank, id, bytes) WHERE sent_ms IS NULL;
CREATE INDEX records_sent ON records (device, sent_ms, bytes) WHERE sent_ms IS NOT NULL;
CREATE TABLE dropped (
    device INTEGER NOT NULL,
    kind TEXT NOT NULL,
    records INTEGER NOT NULL,
    PRIMARY KEY (device, kind)
) WITHOUT ROWID;
CREATE TABLE once (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    device INTEGER NOT NULL,
    key TEXT NOT NULL,
    UNIQUE (device, key)
);
"""


class OutboxError(EdgeqaError):
    """The outbox cannot be read or written; what was in it is as it was."""

    code = "outbox_failed"
    exit_code = ExitCode.REFUSED


class OutboxDamagedError(OutboxError):
    """The file is damaged and was set aside; the next use begins a fresh one."""

    code = "outbox_damaged"


class _DamagedError(Exception):
    """What is there is no outbox of this version."""


class OutboxFile:
    """One file, of one device or of many.

    Args:
        path: of the file, or `:memory:`.
        log: for what was set aside.
        durable: whether a commit waits for the disk; without, a power cut may take the last ones.
        now: seconds since 1970, for the name of a file that is set aside.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        log: FilteringBoundLogger,
        durable: bool = True,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.path = Path(path)
        # Held by each block; a caller that keeps something in memory in step may hold it longer.
        self.lock = threading.RLock()
        self._in_memory = str(path) == MEMORY
        self._log = log
        self._durable = durable
        self._now = now
        self._db: sqlite3.Connection | None = None
        self._files = 0

    @property
    def generation(self) -> int:
        """Another number with each new file: what was noted of the one before is void."""
        return self._files

    def open(self) -> None:
        """Open it now, made where it is missing; a damaged one is set aside.

        Raises:
            OutboxError: not possible; each later use tries again.
        """
        with self.lock, self._translated():
            self._opened()

    def close(self) -> None:
        """Idempotent; a later use opens it again."""
        with self.lock:
            db, self._db = self._db, None
            if db is not None:
                with suppress(sqlite3.Error):  # nothing is lost: it is on disk, in the log
                    db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection to ask.

        Raises:
            OutboxError: it cannot be read.
        """
        with self.lock, self._translated():
            yield self._opened()

    @contextmanager
    def writing(self, *, durable: bool = True) -> Iterator[sqlite3.Connection]:
        """A transaction: all of the block is on disk when it ends, or nothing.

        Args:
            durable: False: a power cut may undo it, until the next that is durable; for what may be
                done twice.

        Raises:
            OutboxError: it cannot be written.
        """
        with self.lock, self._translated():
            db = self._opened()
            if self._durable:  # in WAL, NORMAL syncs before a checkpoint and not at each commit
                db.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:  # SQLite itself rolls back after some errors
                    db.execute("ROLLBACK")
                raise

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            # A connection that met an error of the disk may go on meeting it: open it anew.
            if not self._in_memory:
                self.close()
            if _code(error) in _DAMAGED:
                self._set_aside(str(error))
                raise OutboxDamagedError(f"{self.path} was damaged: {error}") from error
            raise OutboxError(f"{self.path}: {error}") from error
        except OSError as error:
            raise OutboxError(f"{self.path}: {error.strerror or error}") from error

    def _opened(self) -> sqlite3.Connection:
        if self._db is None:
            try:
                self._db = self._connect()
            except _DamagedError as error:
                self._set_aside(str(error))
                self._db = self._connect()
        return self._db

    def _connect(self) -> sqlite3.Connection:
        if not self._in_memory:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # For its owner alone; SQLite gives the same mode to what it puts beside it.
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600))
        db = sqlite3.connect(
            self.path, isolation_level=None, check_same_thread=False, timeout=_BUSY_TIMEOUT_S
        )
        try:
            self._prepare(db)
        except BaseException as error:
            db.close()
            if isinstance(error, sqlite3.Error) and _code(error) in _DAMAGED:
                raise _DamagedError(str(error)) from error
            raise
        return db

    def _prepare(self, db: sqlite3.Connection) -> None:
        (found,) = db.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise _DamagedError(str(found))
        (version,) = db.execute("PRAGMA user_version").fetchone()
        (tables,) = db.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        if version != SCHEMA_VERSION and (version or tables):
            raise _DamagedError(f"its schema is {version}, this version's is {SCHEMA_VERSION}")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL" if self._durable else "PRAGMA synchronous = OFF")
        db.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
        db.execute(f"PRAGMA journal_size_limit = {_WAL_KEPT_BYTES}")
        if version == SCHEMA_VERSION:
            self._files = self._files or 1
            return
        # `executescript` commits what is open and knows no transaction of ours: say it there.
        begin, commit = "BEGIN IMMEDIATE;", f"PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"
        db.executescript(begin + _SCHEMA + commit)
        self._files += 1

    def _set_aside(self, reason: str) -> None:
        """Rename the file and what SQLite keeps beside it; the newest of such are kept."""
        when = datetime.fromtimestamp(self._now(), UTC).strftime("%Y%m%dT%H%M%SZ")
        kept = _Trio(self.path.with_name(f"{self.path.name}.corrupt-{when}"))
        try:
            for source, target in zip(_Trio(self.path), kept, strict=True):
                with suppress(FileNotFoundError):
                    source.replace(target)
            for old in sorted(self.path.parent.glob(f"{self.path.name}.corrupt-*Z"))[
                :-_KEPT_DAMAGED
            ]:
                for path in _Trio(old):
                    path.unlink(missing_ok=True)
        except OSError as error:
            raise OutboxError(f"{self.path} is damaged, {reason}; {error.strerror}") from error
        self._log.error("outbox_damaged", kept_as=str(kept.path), reason=reason)


@dataclass(frozen=True, slots=True)
class _Trio:
    """A file, and what SQLite keeps beside it."""

    path: Path

    def __iter__(self) -> Iterator[Path]:
        return (self.path.with_name(self.path.name + end) for end in ("", "-wal", "-shm"))


def _code(error: sqlite3.Error) -> int | None:
    """SQLite's primary code; None where Python itself raised it."""
    code = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF
