"""A role's list of revoked certificates: signed anew when it must say something else, or when half
of the time is over for which it counts. A broker refuses everybody by a list that has expired.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from edgeqa.identity.roles import Role
from edgeqa_cloud.enrolment.authority import Authority
from edgeqa_cloud.enrolment.certificates import pem_of

_DAY = timedelta(days=1)
_SECOND = timedelta(seconds=1)


def fresh_revocations(
    path: Path,
    authority: Authority,
    role: Role,
    revoked: Sequence[tuple[int, datetime]],
    *,
    valid: timedelta,
    now: datetime,
    again: bool = False,
) -> bytes:
    """The list as it must be: the one that is there, or another.

    Args:
        path: of the one that may be there.
        authority: signs another.
        role: of the list.
        revoked: serial numbers and when.
        valid: another counts so long.
        now: by our clock.
        again: another, whatever the one that is there says.

    Raises:
        AuthorityError: it must be signed, and the role's key is not here or has expired.
        OSError: it cannot be read.
    """
    content, current = read_revocations(path, authority.certificates[role])
    serves = not again and current is not None and _serves(current, revoked, now)
    if serves and content is not None:
        return content
    before = None if current is None else current.last_update_utc
    made = authority.sign_revocations(
        role, revoked, now=now, valid_days=valid / _DAY, before=before
    )
    return pem_of(made).encode()


def read_revocations(
    path: Path, issuer: x509.Certificate
) -> tuple[bytes | None, x509.CertificateRevocationList | None]:
    """A list of this authority, as it lies there; none where there is none or it is another's.

    Raises:
        OSError: it cannot be read.
    """
    try:
        content = path.read_bytes()
        found = x509.load_pem_x509_crl(content)
        signed = found.is_signature_valid(issuer.public_key())  # type: ignore[arg-type]  # an EC key
    except (FileNotFoundError, ValueError, TypeError, UnsupportedAlgorithm):
        return None, None
    return (content, found) if signed else (None, None)


def _serves(
    current: x509.CertificateRevocationList, revoked: Sequence[tuple[int, datetime]], now: datetime
) -> bool:
    begin, end = current.last_update_utc, current.next_update_utc
    if end is None or {one.serial_number for one in current} != {one for one, _ in revoked}:
        return False
    # A clock that went back: nobody takes a list of the future.
    return begin - _SECOND <= now.astimezone(UTC) < begin + (end - begin) / 2
