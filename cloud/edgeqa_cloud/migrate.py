"""Bringing a database up to the schema of this version.

Whoever begins waits for whoever migrates already, and then finds nothing to do: on PostgreSQL an
advisory lock, on SQLite the lock of the whole file. All steps and the note of them are one
transaction, so a migration that fails or is cut off leaves the database as it was.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from edgeqa.errors import ConfigError
from edgeqa_cloud.database import Database, DatabaseError, reason

_FOLDER = Path(__file__).parent / "migrations"
# Any number will do that nothing else in the database uses as an advisory lock: "EdgeQA", in ASCII.
_LOCK = 0x456467655141


@dataclass(frozen=True, slots=True)
class Migrated:
    """From which revision to which; the same where there was nothing to do."""

    before: str | None
    after: str


def migrate(database: Database) -> Migrated:
    """Bring the schema up to this version's.

    Raises:
        DatabaseError: the database cannot be reached or written.
        ConfigError: `database_newer`, a later version of EdgeQA has migrated it.
    """
    config = _config()
    scripts = ScriptDirectory.from_config(config)
    head = scripts.get_current_head() or ""
    try:
        with database.writing() as connection:
            if not database.is_sqlite:
                connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
            before = revision_of(connection)
            if before == head:
                return Migrated(before, head)
            _refuse_newer(scripts, before, database)
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            return Migrated(before, head)
    except DBAPIError as error:
        raise DatabaseError(f"database {database.shown}: {reason(error)}") from error


def check_migrated(database: Database) -> None:
    """For commands that read: the schema is this version's.

    Raises:
        DatabaseError: the database cannot be reached.
        ConfigError: it is not migrated yet, or `database_newer`.
    """
    scripts = ScriptDirectory.from_config(_config())
    try:
        with database.reading() as connection:
            now = revision_of(connection)
    except DBAPIError as error:
        raise DatabaseError(f"database {database.shown}: {reason(error)}") from error
    if now != scripts.get_current_head():
        _refuse_newer(scripts, now, database)
        raise ConfigError(
            f"database {database.shown}: its schema is not this version's; run `edgeqa cloud "
            "migrate`, or start the collector, which does that too"
        )


def revision_of(connection: Connection) -> str | None:
    """The revision of a database; None for an empty one."""
    return MigrationContext.configure(connection).get_current_revision()


def _refuse_newer(scripts: ScriptDirectory, revision: str | None, database: Database) -> None:
    if revision is None:
        return
    try:
        scripts.get_revision(revision)
    except CommandError as error:
        raise ConfigError(
            f"database {database.shown}: its schema {revision} is of a later version of EdgeQA; "
            "install that version",
            code="database_newer",
        ) from error


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    return config
