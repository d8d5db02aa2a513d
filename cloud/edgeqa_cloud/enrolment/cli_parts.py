"""What the commands of enrolment share."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import typer
from sqlalchemy.exc import DBAPIError

from edgeqa.errors import ConfigError, EdgeqaError
from edgeqa.flags import settings_options
from edgeqa_cloud.database import Database, DatabaseError, reason
from edgeqa_cloud.enrolment.authority import Authority
from edgeqa_cloud.enrolment.broker_files import STAMP, Written
from edgeqa_cloud.enrolment.passphrase import ask_passphrase
from edgeqa_cloud.enrolment.refreshing import broker_folder, refresh
from edgeqa_cloud.enrolment_settings import EnrolmentSettings
from edgeqa_cloud.settings import CloudSettings

_DATABASE = {"database", "database_password_file", "database_timeout_s", "sqlite_synchronous"}
_REPOSITORY = {"repository", "repository_root"}
_ALL = set(CloudSettings.model_fields)
_AUTHORITY = set(EnrolmentSettings.model_fields)

with_authority = settings_options(CloudSettings, without=_ALL - _DATABASE - _AUTHORITY)
with_everything = settings_options(
    CloudSettings, without=_ALL - _DATABASE - _AUTHORITY - _REPOSITORY
)
with_database = settings_options(CloudSettings, without=_ALL - _DATABASE)


def authority_folder(settings: CloudSettings) -> Path:
    """The folder of the authority.

    Raises:
        ConfigError: none is named.
    """
    if settings.authority is None:
        raise ConfigError(
            "authority: must be set, by --authority or EDGEQA_CLOUD_AUTHORITY: the folder that "
            "`edgeqa cloud authority init` makes"
        )
    return settings.authority


def opened_authority(settings: CloudSettings) -> Authority:
    """The authority, its passphrase from a file or prompted for.

    Raises:
        ConfigError: none is named.
        AuthorityError: it cannot be opened.
    """
    folder = authority_folder(settings)
    file = settings.authority_passphrase_file
    try:
        return Authority.open(folder, ask_passphrase(file) if file is not None else None)
    except EdgeqaError as error:
        if error.code != "passphrase_missing" or file is not None:
            raise
        # Nobody is asked for what is not needed.
        return Authority.open(folder, ask_passphrase(None))


def refreshed(
    settings: CloudSettings, authority: Authority, database: Database, *, again: bool = False
) -> Written:
    """The broker's files brought up to date.

    Raises:
        AuthorityError: they cannot be written.
        DatabaseError: with the reason.
    """
    try:
        return refresh(settings, authority, database, now=datetime.now(UTC), again=again)
    except DBAPIError as error:
        raise DatabaseError(f"database {database.shown}: {reason(error)}") from error


def tell_broker(settings: CloudSettings, authority: Authority, database: Database) -> None:
    """Bring the broker's files up to date, and say what is left to do; done is done meanwhile."""
    try:
        written = refreshed(settings, authority, database)
    except EdgeqaError as error:
        typer.echo(f"note: the broker's files are as before: {error}", err=True)
        return
    show_written(written, broker_folder(settings, authority.folder))


def show_written(written: Written, folder: Path) -> None:
    """What was written, and what waits."""
    for line in written.waiting:
        typer.echo(f"note: {line}", err=True)
    if written.changed:
        typer.echo(
            f"{folder}: {', '.join(written.changed)} changed; the broker reads them after a SIGHUP "
            f"(watch {STAMP})",
            err=True,
        )


def moment() -> datetime:
    """Now, to the second."""
    return datetime.now(UTC).replace(microsecond=0)
