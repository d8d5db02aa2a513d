"""The registry of what was issued: rows of `credentials`, each change with its entry in the audit
log, in the same transaction.

Whoever decides by what is here holds the name until the transaction ends, so that a renewal and a
revocation of one device come one after the other, also on PostgreSQL.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, insert, select, text, update

from edgeqa.identity.roles import Role
from edgeqa_cloud.enrolment.authority import Issued
from edgeqa_cloud.enrolment.passwords import IssuedPassword
from edgeqa_cloud.enrolment.refusals import NotEnrolledError
from edgeqa_cloud.enrolment.tables import credentials
from edgeqa_cloud.rollout.audit_log import append
from edgeqa_cloud.rollout.model import Decision

CERTIFICATE, PASSWORD = "certificate", "password"


# Names stay known, and those that nothing counts of stay mute, for so long after the last expired.
KEPT_DAYS = 400


@dataclass(frozen=True, slots=True)
class Revoked:
    """What a revocation ended."""

    certificates: int
    passwords: int


def enrolled(connection: Connection, role: Role, name: str, *, now: datetime | None = None) -> bool:
    """Whether somebody has a credential that counts. Holds the name until the transaction ends.

    Args:
        connection: in a transaction; a writing one where something is decided by it.
        role: of whom.
        name: of whom.
        now: by the cloud's clock, which is read if it is not said.
    """
    hold(connection, role, name)
    c = credentials.c
    counts = select(func.count()).where(c.role == str(role), c.name == name, live(_ms(now)))
    return bool(connection.execute(counts).scalar_one())


def known(connection: Connection, role: Role, name: str) -> bool:
    """Whether somebody has, or had, a credential. Holds the name, as `enrolled`."""
    hold(connection, role, name)
    c = credentials.c
    ever = select(func.count()).where(c.role == str(role), c.name == name)
    return bool(connection.execute(ever).scalar_one())


def record(connection: Connection, issued: Issued | IssuedPassword, *, issued_by: str) -> None:
    """Remember what was issued.

    Args:
        connection: a writing transaction.
        issued: by an authority, yet to be given to anybody.
        issued_by: `renewal`: the device itself, over MQTT; else as the audit log names people.
    """
    hold(connection, issued.role, issued.name)
    row: dict[str, Any] = {
        "role": str(issued.role),
        "name": issued.name,
        "issued_ms": _ms(issued.issued),
        "issued_by": issued_by[:128],
        "expires_ms": _ms(issued.expires),
    }
    if isinstance(issued, IssuedPassword):
        row |= {"method": PASSWORD, "secret": issued.hashed}
        _replace_passwords(connection, issued)
        evidence: dict[str, Any] = {}
    else:
        evidence = {"serial": issued.serial, "fingerprint": issued.fingerprint}
        row |= {"method": CERTIFICATE, **evidence}
    connection.execute(insert(credentials).values(**row))
    renewed = issued_by == "renewal"
    _note(
        connection,
        "certificate_renewed" if renewed else "enrolled",
        f"{issued.role} {issued.name}: {row['method']}, until {issued.expires:%Y-%m-%d %H:%M} UTC",
        issued.role, issued.name, actor=issued_by, now_ms=row["issued_ms"], evidence=evidence,
    )  # fmt: skip


def revoke(
    connection: Connection, role: Role, name: str, *, reason: str, actor: str, now: datetime
) -> Revoked:
    """End everything that somebody has.

    Raises:
        NotEnrolledError: nobody of that name and role has anything that is not revoked.
    """
    hold(connection, role, name)
    c = credentials.c
    theirs = (c.role == str(role), c.name == name, c.revoked_ms.is_(None), c.expires_ms > _ms(now))
    methods = connection.execute(select(c.method).where(*theirs)).scalars().all()
    if not methods:
        raise NotEnrolledError(f"no {role} {name!r} is enrolled; `edgeqa cloud enrolled` lists all")
    connection.execute(
        update(credentials).where(*theirs).values(revoked_ms=_ms(now), reason=reason)
    )
    done = Revoked(methods.count(CERTIFICATE), methods.count(PASSWORD))
    _note(
        connection, "revoked", f"{role} {name}: {reason}" if reason else f"{role} {name}",
        role, name, actor=actor, now_ms=_ms(now),
        evidence={"certificates": done.certificates, "passwords": done.passwords},
    )  # fmt: skip
    return done


def live(now_ms: int) -> ColumnElement[bool]:
    """Of credentials that count at a time."""
    return credentials.c.revoked_ms.is_(None) & (credentials.c.expires_ms > now_ms)


def hold(connection: Connection, role: Role, name: str) -> None:
    """Until the transaction ends, nobody else enrols, renews or revokes of that name.

    SQLite's writing transactions come one after the other anyway.
    """
    if connection.dialect.name == "postgresql":
        lock = int.from_bytes(sha256(f"edgeqa {role} {name}".encode()).digest()[:8], signed=True)
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": lock})


def _replace_passwords(connection: Connection, issued: IssuedPassword) -> None:
    """The broker's file has one password a name: the newest."""
    c = credentials.c
    older = (c.role == str(issued.role), c.name == issued.name, c.method == PASSWORD)
    connection.execute(
        update(credentials)
        .where(*older, c.revoked_ms.is_(None))
        .values(revoked_ms=_ms(issued.issued), reason="replaced")
    )


def _ms(moment: datetime | None) -> int:
    return round((moment or datetime.now(UTC)).timestamp() * 1000)


def _note(
    connection: Connection,
    action: str,
    message: str,
    role: Role,
    name: str,
    *,
    actor: str,
    now_ms: int,
    evidence: dict[str, Any],
) -> None:
    decision = Decision(
        action=action,
        message=message,
        evidence=evidence,
        device=name if role is Role.DEVICE else None,
        actor=actor,
    )
    append(connection, decision, rollout=None, time_ms=now_ms)
