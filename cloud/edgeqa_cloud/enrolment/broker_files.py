"""The files that the broker reads, made from the authorities and the registry.

Each is written whole or not at all, and only where it changes; `stamp` is written after all others,
so that whoever tells the broker to read them again watches that one file. Made again and again from
the same, they stay as they are.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from importlib.resources import files
from pathlib import Path
from string import Template

from edgeqa.files import write_atomic
from edgeqa.identity.roles import Role
from edgeqa.topics import is_name
from edgeqa_cloud.enrolment.authority import Authority
from edgeqa_cloud.enrolment.broker_server import (
    SERVER_CERTIFICATE,
    SERVER_KEY,
    fresh_server,
)
from edgeqa_cloud.enrolment.broker_settings import BrokerView
from edgeqa_cloud.enrolment.certificates import pem_of
from edgeqa_cloud.enrolment.membership import Membership
from edgeqa_cloud.enrolment.refusals import AuthorityError
from edgeqa_cloud.enrolment.revocations import fresh_revocations

STAMP = "stamp"
_TEMPLATES = "edgeqa_cloud.enrolment"
_HASHED = re.compile(r"\$7\$\d{1,9}\$[A-Za-z0-9+/=]{1,64}\$[A-Za-z0-9+/=]{1,128}\Z")
_FOLDER_MODE = 0o700
_PUBLIC = 0o644


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """How long what is signed for the broker counts, in days.

    Attributes:
        again: sign also what would serve for longer.
    """

    server: float = 365.0
    revocations: float = 30.0
    again: bool = False


@dataclass(slots=True)
class Written:
    """What came of it.

    Attributes:
        changed: names of files that are others now.
        waiting: what must be signed and cannot be, as a key is not here; for people.
    """

    changed: list[str] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)


def write_broker_files(
    folder: Path,
    authority: Authority,
    members: Mapping[Role, Membership],
    *,
    view: BrokerView,
    lifetimes: Lifetimes,
    now: datetime,
) -> Written:
    """Bring the broker's files up to date.

    Args:
        folder: where; made if it is not there. With its setgid bit set, secrets in it can be read
            by its group (0640), else by their owner alone (0600). Written by root, files are the
            folder's owner's.
        authority: signs; a role's key that is not here makes only that role's signatures wait.
        members: of each role.
        view: what the broker sees.
        lifetimes: of what is signed.
        now: by our clock.

    Raises:
        AuthorityError: `output_unwritable`.
    """
    try:
        folder.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
        owner = folder.stat()
        secret = 0o640 if owner.st_mode & stat.S_ISGID else 0o600
        written = Written()
        wanted = _wanted(
            folder, authority, members,
            view=view, lifetimes=lifetimes, now=now, secret=secret, waiting=written.waiting,
        )  # fmt: skip
        for name, (content, mode) in wanted.items():
            if _put(folder / name, content, mode, owner):
                written.changed.append(name)
        _put(folder / STAMP, _digest(wanted), _PUBLIC, owner)
    except OSError as error:
        raise AuthorityError(
            f"{error.filename or folder}: cannot be written: {error.strerror}",
            code="output_unwritable",
        ) from error
    return written


def _wanted(
    folder: Path,
    authority: Authority,
    members: Mapping[Role, Membership],
    *,
    view: BrokerView,
    lifetimes: Lifetimes,
    now: datetime,
    secret: int,
    waiting: list[str],
) -> dict[str, tuple[bytes, int]]:
    """Name to content and mode. What cannot be signed stays as it is, and is told of."""
    wanted: dict[str, tuple[bytes, int]] = {}
    for role in Role:
        of = members[role]
        wanted[f"{role}-ca.crt"] = (pem_of(authority.certificates[role]).encode(), _PUBLIC)
        wanted[f"{role}.acl"] = (access_rules(role, of.muted), secret)
        wanted[f"{role}.passwords"] = (password_file(of.passwords), secret)
        valid = timedelta(days=lifetimes.revocations)
        path = folder / f"{role}.crl"
        try:
            signed = fresh_revocations(
                path, authority, role, of.revoked, valid=valid, now=now, again=lifetimes.again
            )
            wanted[path.name] = (signed, _PUBLIC)
        except AuthorityError as error:
            waiting.append(f"{path.name} waits to be signed: {error}")
    try:
        valid = timedelta(days=lifetimes.server)
        server = fresh_server(folder, authority, valid=valid, now=now, again=lifetimes.again)
        wanted[SERVER_KEY] = (server.key, secret)
        wanted[SERVER_CERTIFICATE] = (server.certificate, _PUBLIC)
    except AuthorityError as error:
        waiting.append(f"{SERVER_CERTIFICATE} waits to be signed: {error}")
    wanted["mosquitto.conf"] = (_filled("mosquitto.conf", view.variables), _PUBLIC)
    return wanted


def access_rules(role: Role, muted: Iterable[str]) -> bytes:
    """A role's access rules, in which those that nothing counts of may do nothing."""
    lines = [f"user {name}\ntopic deny #\ntopic deny $SYS/#\n" for name in muted if is_name(name)]
    return _filled(f"{role}.acl", {"revoked": "\n".join(lines)})


def password_file(passwords: Iterable[tuple[str, str]]) -> bytes:
    """Mosquitto's password file. A row that is no name or no hash would let others in: it is not
    written.
    """
    lines = [
        f"{name}:{hashed}\n"
        for name, hashed in passwords
        if is_name(name) and _HASHED.match(hashed)
    ]
    return "".join(lines).encode()


def _filled(name: str, variables: Mapping[str, str]) -> bytes:
    template = files(_TEMPLATES).joinpath("broker", name).read_text(encoding="utf-8")
    return Template(template).substitute(variables).encode()


def _put(path: Path, content: bytes, mode: int, owner: os.stat_result) -> bool:
    """Write a file where it differs; whether it did."""
    root = os.geteuid() == 0
    try:
        now = path.stat()
        theirs = root and (now.st_uid, now.st_gid) != (owner.st_uid, owner.st_gid)
        if path.read_bytes() == content and stat.S_IMODE(now.st_mode) == mode and not theirs:
            return False
    except FileNotFoundError:
        pass
    write_atomic(path, content, mode=mode)
    if root:  # else rules would be there that the broker cannot read, which it takes for none
        os.chown(path, owner.st_uid, owner.st_gid)
    return True


def _digest(wanted: Mapping[str, tuple[bytes, int]]) -> bytes:
    digest = hashlib.sha256()
    for name, (content, _) in sorted(wanted.items()):
        digest.update(f"{name} {len(content)}\n".encode() + content)
    return f"{digest.hexdigest()}\n".encode()
