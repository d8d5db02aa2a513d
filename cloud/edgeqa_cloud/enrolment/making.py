"""Making a new authority. What exists is never overwritten."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from edgeqa.files import sync_folder, write_atomic
from edgeqa.identity import envelope
from edgeqa.identity.roles import Role
from edgeqa_cloud.enrolment.authority import Authority
from edgeqa_cloud.enrolment.authority_folder import (
    ABOUT,
    About,
    checked_hosts,
    read_about,
    role_files,
)
from edgeqa_cloud.enrolment.certificates import authority_certificate, new_key, pem_of
from edgeqa_cloud.enrolment.refusals import AuthorityError

MIN_PASSPHRASE_CHARS = 8  # NIST SP 800-63B, section 5.1.1.1: the least for a memorised secret
# Every device holds the certificate of the authority of services: a new one means enrolling anew.
AUTHORITY_DAYS = 3650.0
_KEY_MODE = 0o600
_FOLDER_MODE = 0o700


def make_authority(
    folder: Path,
    *,
    hosts: Sequence[str],
    passphrase: str | None,
    now: datetime,
    days: float = AUTHORITY_DAYS,
) -> Authority:
    """Make the authorities of all roles.

    Args:
        folder: need not exist; may hold other things.
        hosts: names and addresses of the broker, the first for devices.
        passphrase: encrypts the keys; None: they lie there in clear.
        now: by our clock.
        days: the authorities count so long.

    Raises:
        AuthorityError: there is one already (`output_exists`), one was begun and not finished
            (`authority_damaged`), the passphrase is too short (`passphrase_weak`), a host is none
            (`invalid_config`), or the folder cannot be written (`output_unwritable`).
    """
    hosts = checked_hosts(hosts)
    if passphrase is not None and len(passphrase) < MIN_PASSPHRASE_CHARS:
        raise AuthorityError(
            f"the passphrase needs {MIN_PASSPHRASE_CHARS} characters or more",
            code="passphrase_weak",
        )
    try:
        folder.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
        _claim(folder)
        for role in Role:
            _make(folder, role, passphrase, now, days)
        about = About(created_ms=round(now.timestamp() * 1000), hosts=hosts)
        write_atomic(folder / ABOUT, about.model_dump_json(indent=2).encode() + b"\n")
    except OSError as error:
        raise AuthorityError(
            f"{error.filename or folder}: cannot be written: {error.strerror}",
            code="output_unwritable",
        ) from error
    return Authority.open(folder, passphrase)


def set_hosts(authority: Authority, hosts: Sequence[str]) -> About:
    """Say anew where the broker is reached.

    Raises:
        AuthorityError: as `make_authority`.
    """
    about = authority.about.model_copy(update={"hosts": checked_hosts(hosts)})
    try:
        write_atomic(authority.folder / ABOUT, about.model_dump_json(indent=2).encode() + b"\n")
    except OSError as error:
        raise AuthorityError(
            f"{authority.folder / ABOUT}: cannot be written: {error.strerror}",
            code="output_unwritable",
        ) from error
    return about


def _claim(folder: Path) -> None:
    """Make the roles' folders, which one alone can."""
    try:
        for role in Role:
            (folder / str(role)).mkdir(mode=_FOLDER_MODE)
    except FileExistsError as error:
        read_about(folder)  # half made: says so
        raise AuthorityError(
            f"{folder}: holds an authority already, which is not overwritten; name another folder "
            "with --authority",
            code="output_exists",
        ) from error
    if (folder / ABOUT).exists():
        raise AuthorityError(
            f"{folder / ABOUT}: is there already, and the keys are not; bring the folder back "
            "from its copy, or name another",
            code="output_exists",
        )


def _make(folder: Path, role: Role, passphrase: str | None, now: datetime, days: float) -> None:
    files, key = role_files(folder, role), new_key()
    secret = None if passphrase is None else passphrase.encode()
    _create(files.key, envelope.to_pem(key, secret))
    certificate = authority_certificate(role, key, now=now, days=days)
    write_atomic(files.certificate, pem_of(certificate).encode())


def _create(path: Path, content: bytes) -> None:
    """A key is never written over another."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _KEY_MODE)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    sync_folder(path.parent)
