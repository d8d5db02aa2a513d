"""Bringing the broker's files up to date with the registry, one process at a time."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from edgeqa.identity.roles import Role
from edgeqa_cloud.database import Database
from edgeqa_cloud.enrolment.authority import Authority
from edgeqa_cloud.enrolment.authority_folder import BROKER
from edgeqa_cloud.enrolment.broker_files import Lifetimes, Written, write_broker_files
from edgeqa_cloud.enrolment.broker_settings import BrokerView
from edgeqa_cloud.enrolment.membership import Membership, membership
from edgeqa_cloud.enrolment.passphrase import read_passphrase
from edgeqa_cloud.enrolment.refusals import AuthorityError
from edgeqa_cloud.enrolment_settings import EnrolmentSettings


def open_authority(settings: EnrolmentSettings) -> Authority | None:
    """The authority that the settings name; None where they name none.

    Raises:
        AuthorityError: as `Authority.open`, or the passphrase's file cannot be read.
    """
    if settings.authority is None:
        return None
    file = settings.authority_passphrase_file
    return Authority.open(settings.authority, None if file is None else read_passphrase(file))


def broker_folder(settings: EnrolmentSettings, authority: Path) -> Path:
    """Where the broker's files are written."""
    return settings.broker_files or authority / BROKER


def refresh(
    settings: EnrolmentSettings,
    authority: Authority,
    database: Database | None,
    *,
    now: datetime,
    again: bool = False,
) -> Written:
    """Bring the broker's files up to date.

    Args:
        settings: where they are, and how long what is signed counts.
        authority: signs; its hosts are read again.
        database: with the registry; None: nobody is enrolled yet.
        now: by our clock.
        again: sign also what would serve for longer.

    Raises:
        AuthorityError: they cannot be written (`output_unwritable`), or the authority is gone.
        DBAPIError: the database cannot be read.
    """
    folder = broker_folder(settings, authority.folder).absolute()
    with _alone(folder):
        # Read inside the lock: what is read last is written last.
        members = _members(database, now)
        return write_broker_files(
            folder,
            authority.reread(),
            members,
            view=BrokerView(
                files=settings.broker_files_seen_as or folder, data=settings.broker_data
            ),
            lifetimes=Lifetimes(
                server=settings.service_certificate_days,
                revocations=settings.revocations_days,
                again=again,
            ),
            now=now,
        )


def _members(database: Database | None, now: datetime) -> dict[Role, Membership]:
    if database is None:
        return {role: Membership((), (), ()) for role in Role}
    with database.reading() as connection:
        return {role: membership(connection, role, now=now) for role in Role}


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # The folder itself: a file in it might be another account's, as when root came first.
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise AuthorityError(
            f"{folder}: cannot be written: {error.strerror}", code="output_unwritable"
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)
