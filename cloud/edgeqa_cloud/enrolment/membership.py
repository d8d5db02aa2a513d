"""Who is let in, as the registry says: what the broker's files are made from."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, case, func, select

from edgeqa.identity.roles import Role
from edgeqa_cloud.enrolment.registry import CERTIFICATE, PASSWORD, live
from edgeqa_cloud.enrolment.tables import credentials

# Clocks differ: a certificate stays on the list a little longer than it counts.
_LINGER = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Membership:
    """Of one role.

    Attributes:
        muted: names that have nothing that counts any more; a connection that they still have
            must not be heard.
        revoked: serial numbers of certificates that would else count, and when they were revoked.
        passwords: name and what the broker's file keeps of the password, of those that count.
    """

    muted: tuple[str, ...]
    revoked: tuple[tuple[int, datetime], ...]
    passwords: tuple[tuple[str, str], ...]


def membership(connection: Connection, role: Role, *, now: datetime) -> Membership:
    """Read it.

    Args:
        connection: in a transaction.
        role: of whom.
        now: by the cloud's clock.
    """
    c, now_ms = credentials.c, round(now.timestamp() * 1000)
    counts = func.max(case((live(now_ms), 1), else_=0))
    muted = select(c.name).where(c.role == str(role)).group_by(c.name).having(counts == 0)
    lingers_ms = now_ms - round(_LINGER.total_seconds() * 1000)
    revoked = select(c.serial, c.revoked_ms).where(
        c.role == str(role),
        c.method == CERTIFICATE,
        c.revoked_ms.is_not(None),
        c.expires_ms > lingers_ms,
    )
    passwords = (
        select(c.name, c.secret)
        .where(c.role == str(role), c.method == PASSWORD, live(now_ms))
        .order_by(c.id)
    )
    return Membership(
        muted=tuple(sorted(connection.execute(muted).scalars())),
        revoked=tuple(
            sorted(
                (int(serial, 16), datetime.fromtimestamp(when // 1000, UTC))
                for serial, when in connection.execute(revoked)
            )
        ),
        # One a name: the newest.
        passwords=tuple(
            sorted({row.name: row.secret for row in connection.execute(passwords)}.items())
        ),
    )
