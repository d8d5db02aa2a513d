"""Migrated databases for tests of what reads them: SQLite files, and one PostgreSQL."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from edgeqa.postgres_process import PostgresServer
from edgeqa_cloud.database import Database
from edgeqa_cloud.migrate import migrate
from edgeqa_cloud.settings import DatabaseSettings

_NUMBERS = itertools.count(1)


@contextmanager
def postgres_server(folder: Path) -> Iterator[PostgresServer]:
    """A server that runs inside the block."""
    server = PostgresServer(folder / "postgres", durable=False)
    server.make()
    with server.running():
        yield server


def new_url(server: PostgresServer | None, folder: Path) -> str:
    """Of a new database, empty and not migrated: SQLite's where there is no server."""
    name = f"fleet{next(_NUMBERS)}"
    if server is None:
        return f"sqlite:///{folder}/{name}.db"
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return server.url_of(name)


@contextmanager
def migrated(url: str) -> Iterator[Database]:
    """The database of a URL, with this version's tables."""
    with Database.of(DatabaseSettings(database=url)) as database:
        migrate(database)
        yield database
