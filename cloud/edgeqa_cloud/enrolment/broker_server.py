"""The broker's own certificate: issued anew when its hosts change, or when a third of its time is
left. Its key stays, so that certificate and key fit at every moment; where it was deleted, another
is made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from edgeqa.identity.roles import Role
from edgeqa_cloud.enrolment.authority import Authority
from edgeqa_cloud.enrolment.certificates import new_key, pem_of

SERVER_KEY = "server.key"
SERVER_CERTIFICATE = "server.crt"
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Server:
    """The broker's key and certificate, PEM."""

    key: bytes
    certificate: bytes


def fresh_server(
    folder: Path, authority: Authority, *, valid: timedelta, now: datetime, again: bool = False
) -> Server:
    """Key and certificate as they must be: those that are there, or others, or, `again`, another
    certificate in any case.

    Raises:
        AuthorityError: it must be signed, and the key of services is not here or has expired.
        OSError: they cannot be read.
    """
    key = _key(folder / SERVER_KEY)
    current = None if key is None else read_server(folder)
    if key and current and not again and _serves(current, key, authority, now):
        return Server(_key_pem(key), pem_of(current).encode())
    key = key or new_key()
    made = authority.sign_server(
        key.public_key(), hosts=authority.about.hosts, valid_days=valid / _DAY, now=now
    )
    return Server(_key_pem(key), pem_of(made).encode())


def read_server(folder: Path) -> x509.Certificate | None:
    """The certificate that lies there, if it is one."""
    try:
        return x509.load_pem_x509_certificate((folder / SERVER_CERTIFICATE).read_bytes())
    except (FileNotFoundError, ValueError, UnsupportedAlgorithm):
        return None


def _serves(
    current: x509.Certificate, key: ec.EllipticCurvePrivateKey, authority: Authority, now: datetime
) -> bool:
    begin, end = current.not_valid_before_utc, current.not_valid_after_utc
    try:
        current.verify_directly_issued_by(authority.certificates[Role.SERVICE])
    except (ValueError, TypeError, InvalidSignature):
        return False
    return (
        current.public_key() == key.public_key()
        and _names(current) == set(authority.about.hosts)
        and begin <= now.astimezone(UTC) < end - (end - begin) / 3
    )


def _names(certificate: x509.Certificate) -> set[str]:
    try:
        named = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return set()
    dns: Sequence[str] = named.get_values_for_type(x509.DNSName)
    return {*dns, *map(str, named.get_values_for_type(x509.IPAddress))}


def _key(path: Path) -> ec.EllipticCurvePrivateKey | None:
    try:
        key = load_pem_private_key(path.read_bytes(), None)
    except (FileNotFoundError, ValueError, TypeError, UnsupportedAlgorithm):
        return None
    return key if isinstance(key, ec.EllipticCurvePrivateKey) else None


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
