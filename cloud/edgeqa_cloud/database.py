"""The connection to the cloud's database: SQLite in a file, or PostgreSQL by URL.

Every transaction is begun by `reading` or `writing`. On SQLite a writing one takes the lock at
once: one that began with a read and then found another writer before it could only fail.

Thread: any; each transaction has a connection of its own.
"""

from __future__ import annotations

import sqlite3
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.pool import ConnectionPoolEntry

from edgeqa.errors import ConfigError, EdgeqaError, ExitCode
from edgeqa_cloud.settings import DatabaseSettings

_WRITES = "edgeqa_writes"
_FORMS = "sqlite:///PATH or postgresql://USER@HOST/NAME"
# Writer, jobs, metrics, and commands beside them; each holds a connection for moments.
_POOL = 5


class DatabaseError(EdgeqaError):
    """The database cannot be reached, or cannot be used."""

    code = "database_unreachable"
    exit_code = ExitCode.UNREACHABLE


class Database:
    """A database, yet to be connected to. Use it in a `with` block, or call `close`."""

    def __init__(self, *, engine: Engine) -> None:
        self.engine = engine
        self._writer = engine.execution_options(**{_WRITES: True})

    @classmethod
    def of(cls, settings: DatabaseSettings) -> Self:
        """The database that the settings name.

        Raises:
            ConfigError: no such URL, or the password file cannot be read.
            DatabaseError: the folder of an SQLite file cannot be made.
        """
        url = database_url(settings)
        if url.get_backend_name() == "sqlite":
            return cls(engine=_sqlite(url, settings))
        return cls(engine=_postgresql(url, settings))

    @property
    def is_sqlite(self) -> bool:
        """Whether it is SQLite, where there is one writer at a time."""
        return self.engine.dialect.name == "sqlite"

    @property
    def shown(self) -> str:
        """The URL, fit for logs: without a password."""
        return self.engine.url.render_as_string(hide_password=True)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that only reads."""
        with self.engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that writes; committed at the end, unless the block raises."""
        with self._writer.begin() as connection:
            yield connection

    def check(self) -> None:
        """Connect once.

        Raises:
            DatabaseError: with the reason.
        """
        try:
            with self.reading() as connection:
                connection.exec_driver_sql("SELECT 1")
        except DBAPIError as error:
            raise DatabaseError(f"database {self.shown}: {reason(error)}") from error

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def reason(error: BaseException) -> str:
    """What the database said, in one line; never the statement or its values."""
    said = str(getattr(error, "orig", None) or error).strip()
    return " ".join(said.split())[:300] or type(error).__name__


def database_url(settings: DatabaseSettings) -> URL:
    """The URL as SQLAlchemy reads it, the password filled in from its file.

    Raises:
        ConfigError: it is neither SQLite's nor PostgreSQL's, or the password file cannot be read.
    """
    try:
        url = make_url(settings.database)
    except (ArgumentError, ValueError) as error:
        raise ConfigError(f"database: not a URL; must be {_FORMS}") from error
    scheme = url.drivername.partition("+")[0]
    if url.drivername in {"sqlite", "sqlite+pysqlite"}:
        return _sqlite_url(url, settings)
    if scheme not in {"postgres", "postgresql"} or url.drivername not in {
        scheme,
        "postgresql+psycopg",
    }:
        raise ConfigError(f"database: {url.drivername!r:.40} is not spoken; must be {_FORMS}")
    if not url.database:
        raise ConfigError("database: names no database; must be postgresql://USER@HOST/NAME")
    url = url.set(drivername="postgresql+psycopg")
    if settings.database_password_file is None:
        return url
    if not url.username:
        raise ConfigError("database_password_file needs a user in the database's URL")
    if url.password is not None:
        raise ConfigError("database: holds a password, and database_password_file is set too")
    try:
        password = settings.database_password_file.read_text(encoding="utf-8").removesuffix("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"database_password_file: {settings.database_password_file}: {error}"
        ) from error
    return url.set(password=password)


def _sqlite_url(url: URL, settings: DatabaseSettings) -> URL:
    if settings.database_password_file is not None:
        raise ConfigError("database_password_file: SQLite has no passwords")
    if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
        raise ConfigError("database: SQLite needs the path of a file; must be sqlite:///PATH")
    if url.host:
        raise ConfigError("database: a path needs a third slash: sqlite:///PATH")
    return url.set(database=str(Path(urllib.parse.unquote(url.database)).expanduser()))


def _sqlite(url: URL, settings: DatabaseSettings) -> Engine:
    folder = Path(url.database or "").resolve().parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DatabaseError(f"database {url}: {error.strerror}: {folder}") from error
    engine = create_engine(
        url,
        connect_args={"timeout": settings.database_timeout_s, "check_same_thread": False},
        pool_size=_POOL,
        max_overflow=_POOL,
    )

    @event.listens_for(engine, "connect")
    def _prepare(connection: sqlite3.Connection, _: ConnectionPoolEntry) -> None:
        # We say BEGIN ourselves, below: pysqlite would say it late, and never IMMEDIATE.
        connection.isolation_level = None
        cursor = connection.cursor()
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
            cursor.execute(f"PRAGMA synchronous = {settings.sqlite_synchronous.upper()}")
            cursor.execute("PRAGMA foreign_keys = ON")
            # 64 MiB of pages: the inner pages of the indexes of some millions of rows.
            cursor.execute("PRAGMA cache_size = -65536")
        finally:
            cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get(_WRITES)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _postgresql(url: URL, settings: DatabaseSettings) -> Engine:
    connect: dict[str, Any] = {
        "connect_timeout": max(1, round(settings.database_timeout_s)),
        "application_name": "edgeqa",
        # A server that vanished without a word is noticed in this time, not after hours.
        "keepalives_idle": 30,
        "keepalives_interval": 10,
        "keepalives_count": 3,
    }
    engine = create_engine(
        url, connect_args=connect, pool_size=_POOL, max_overflow=_POOL, pool_pre_ping=True
    )

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _: ConnectionPoolEntry) -> None:  # psycopg's
        # Compiling a query of some milliseconds takes it hundreds: it guesses that each JSON list
        # has a hundred items. Not an option of the connection, which poolers refuse.
        connection.execute("SET jit = off")
        connection.commit()

    return engine
