"""Enrolling somebody: issue, record, write the bundle; all of it, or nothing that is of use."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from edgeqa.errors import ConfigError
from edgeqa.identity.roles import PASSWORD_PORTS, PORTS, Role
from edgeqa_cloud.database import Database, DatabaseError, reason
from edgeqa_cloud.enrolment import registry
from edgeqa_cloud.enrolment.authority import Authority, Issued
from edgeqa_cloud.enrolment.bundle import (
    CA_FILE,
    CERTIFICATE_FILE,
    KEY_FILE,
    PASSWORD_FILE,
    ROOT_FILE,
    USUAL_PLACE,
    Connecting,
    bundle_beside,
    settings_file,
)
from edgeqa_cloud.enrolment.certificates import new_key, pem_of
from edgeqa_cloud.enrolment.names import check_name
from edgeqa_cloud.enrolment.passwords import IssuedPassword, issue_password
from edgeqa_cloud.enrolment.refusals import AlreadyEnrolledError

# Answered below `edgeqa/v1/clients/NAME`: of one name, each would read the other's answers.
_APART = {Role.CLIENT: Role.SERVICE, Role.SERVICE: Role.CLIENT}
# A root of trust takes some kilobytes.
_MAX_ROOT_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Wish:
    """Who shall be enrolled, and how.

    Attributes:
        days: what is issued counts so long.
        request: a signing request, PEM, of a member that keeps its key to itself.
        again: also where the name is enrolled already.
        host: of the broker; the authority's first if not said.
        port: of the broker; the usual one of role and method if not said.
        at: where the bundle will lie.
        repository: URL of the packages, and the file of its root of trust.
    """

    role: Role
    name: str
    days: float
    by_password: bool = False
    request: str | None = None
    again: bool = False
    groups: tuple[str, ...] = ()
    host: str | None = None
    port: int | None = None
    at: Path = USUAL_PLACE
    repository: tuple[str, Path] | None = None


@dataclass(frozen=True, slots=True)
class Enrolled:
    """What came of it.

    Attributes:
        bundle: where it is.
        again: the name had something that counts already.
        back: the name was known, and nothing of it counted any more.
    """

    bundle: Path
    expires: datetime
    again: bool
    back: bool


def enrol(
    wish: Wish,
    *,
    authority: Authority,
    database: Database,
    output: Path,
    actor: str,
    now: datetime,
) -> Enrolled:
    """Issue what is wished for, record it, and write the bundle into a folder of its name.

    Raises:
        BadNameError: `bad_name`.
        BadRequestError: `bad_signing_request`.
        AlreadyEnrolledError: and it is not wished again.
        AuthorityError: a key is not here, or the bundle cannot be written (`output_unwritable`).
        UsageError: `output_exists`.
        ConfigError: the repository's root of trust cannot be read.
        DatabaseError: with the reason.
    """
    check_name(wish.name)
    key = None if wish.by_password or wish.request is not None else new_key()
    issued = _issue(wish, authority, key, now)
    content = _content(wish, authority, issued, key)
    with bundle_beside(output, wish.name, content) as put:
        try:
            with database.writing() as connection:
                again, known = _record(connection, wish, issued, actor, now)
        except DBAPIError as error:
            raise DatabaseError(f"database {database.shown}: {reason(error)}") from error
        place = put()
    return Enrolled(bundle=place, expires=issued.expires, again=again, back=known and not again)


def _record(
    connection: Connection,
    wish: Wish,
    issued: Issued | IssuedPassword,
    actor: str,
    now: datetime,
) -> tuple[bool, bool]:
    """Whether the name had something that counts, and whether it was known at all."""
    again = registry.enrolled(connection, wish.role, wish.name, now=now)
    if again and not wish.again:
        raise AlreadyEnrolledError(
            f"{wish.role} {wish.name!r} is enrolled already; --again issues another for the same "
            "name, `edgeqa cloud revoke` ends what it has"
        )
    other = _APART.get(wish.role)
    if other is not None and registry.enrolled(connection, other, wish.name, now=now):
        raise AlreadyEnrolledError(
            f"{wish.name!r} is the name of a {other}, whose answers a {wish.role} of that name "
            "would read; take another"
        )
    known = registry.known(connection, wish.role, wish.name)
    registry.record(connection, issued, issued_by=actor)
    return again, known


def _issue(
    wish: Wish, authority: Authority, key: ec.EllipticCurvePrivateKey | None, now: datetime
) -> Issued | IssuedPassword:
    if wish.by_password:
        return issue_password(wish.role, wish.name, valid_days=wish.days, now=now)
    if key is not None:
        return authority.sign_key(
            wish.role, key.public_key(), name=wish.name, valid_days=wish.days, now=now
        )
    return authority.sign_request(
        wish.role, wish.request or "", name=wish.name, valid_days=wish.days, now=now
    )


def _content(
    wish: Wish,
    authority: Authority,
    issued: Issued | IssuedPassword,
    key: ec.EllipticCurvePrivateKey | None,
) -> dict[str, bytes]:
    ports = PASSWORD_PORTS if wish.by_password else PORTS
    name, text = settings_file(
        Connecting(
            role=wish.role,
            name=wish.name,
            host=wish.host or authority.about.hosts[0],
            port=wish.port or ports[wish.role],
            at=wish.at,
            by_password=wish.by_password,
            groups=wish.groups,
            repository=wish.repository[0] if wish.repository else None,
        )
    )
    content = {name: text, CA_FILE: pem_of(authority.certificates[Role.SERVICE]).encode()}
    if isinstance(issued, IssuedPassword):
        content[PASSWORD_FILE] = f"{issued.password}\n".encode()
    else:
        content[CERTIFICATE_FILE] = issued.certificate.encode()
    if key is not None:
        content[KEY_FILE] = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    if wish.repository and wish.role is Role.DEVICE:
        content[ROOT_FILE] = _root(wish.repository[1])
    return content


def _root(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_MAX_ROOT_BYTES)
    except OSError as error:
        raise ConfigError(f"repository_root: {path}: {error.strerror}") from error
