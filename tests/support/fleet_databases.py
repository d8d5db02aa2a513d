"""Migrated databases for tests of what reads them: SQLite files, and one PostgreSQL."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from edgeqa.postgres_process import PostgresServer
from edgeqa_cloud.database import Database
from edgeqa_cloud.migrate import migrate
from edgeqa_cloud.settings import DatabaseSettings


class Databases:
    """Makes databases with this version's tables, as copies of one that is migrated.

    Args:
        folder: for SQLite files.
        server: for PostgreSQL's; None: SQLite.
    """

    def __init__(self, folder: Path, server: PostgresServer | None) -> None:
        self._folder = folder
        self._server = server
        self._numbers = itertools.count(1)
        with self.open(self._make("template")) as database:
            migrate(database)

    def new(self) -> str:
        """The URL of another one."""
        return self._make(f"fleet{next(self._numbers)}", copied=True)

    @contextmanager
    def open(self, url: str) -> Iterator[Database]:
        """The database of a URL."""
        with Database.of(DatabaseSettings(database=url)) as database:
            yield database

    def _make(self, name: str, *, copied: bool = False) -> str:
        if self._server is None:
            path = self._folder / f"{name}.db"
            if copied:
                shutil.copy(self._folder / "template.db", path)
            return f"sqlite:///{path}"
        with psycopg.connect(self._server.url, autocommit=True) as connection:
            template = "TEMPLATE template" if copied else ""
            connection.execute(f"CREATE DATABASE {name} {template}".encode())
        return self._server.url_of(name)


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """A server that runs inside the block.

    Not in pytest's folder: every pytest that starts on the machine closes that to other accounts,
    and as root the server runs as another.
    """
    with tempfile.TemporaryDirectory(prefix="edgeqa-") as folder:
        server = PostgresServer(Path(folder) / "postgres", durable=False)
        server.make()
        with server.running():
            yield server
