"""Reading the database for commands that show the fleet: errors that say what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from edgeqa.errors import EdgeqaError, ExitCode
from edgeqa_cloud.database import Database, DatabaseError, reason
from edgeqa_cloud.migrate import check_migrated
from edgeqa_cloud.settings import DatabaseSettings

ResultT = TypeVar("ResultT")


class NoDatabaseError(EdgeqaError):
    """There is no database yet."""

    code = "no_database"
    exit_code = ExitCode.UNREACHABLE


@contextmanager
def open_database(settings: DatabaseSettings) -> Iterator[Database]:
    """The database of the settings, of this version's schema.

    Raises:
        ConfigError: the URL is wrong, or the schema is another version's.
        DatabaseError: it cannot be reached.
        NoDatabaseError: the SQLite file is not there; it is not made.
    """
    scheme, _, path = settings.database.partition(":///")
    if scheme in {"sqlite", "sqlite+pysqlite"} and path and not Path(path).expanduser().exists():
        raise NoDatabaseError(
            f"{path} is not there; name the database with --database or EDGEQA_CLOUD_DATABASE, or "
            "make one: `edgeqa cloud migrate`, or the start of a collector, `edgeqa cloud run`"
        )
    with Database.of(settings) as database:
        check_migrated(database)
        yield database


def read(database: Database, query: Callable[[Connection], ResultT]) -> ResultT:
    """The result of a query, in a transaction of its own.

    Raises:
        DatabaseError: with what the database said.
    """
    try:
        with database.reading() as connection:
            return query(connection)
    except DBAPIError as error:
        raise DatabaseError(f"database {database.shown}: {reason(error)}") from error
