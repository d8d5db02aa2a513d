"""A certificate with its key, read from files and checked: whose it is, and whether it is valid.

Everything that can be said before the broker is asked is said here, so that a device that cannot
succeed says why at its start.

The library of certificates is imported where one is read: an agent without one keeps 8 MiB.
"""

from __future__ import annotations

import contextlib
import stat
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from edgeqa.errors import ConfigError, ExitCode
from edgeqa.identity.roles import ORGANISATION, Role
from edgeqa.tls import CertificateFiles

if TYPE_CHECKING:
    from cryptography import x509

# A chain of some RSA certificates with their key is under 20 KiB.
_MAX_FILE_BYTES = 256 << 10


class IdentityError(ConfigError):
    """What a machine proves itself with cannot be used; `code` says why."""

    code = "certificate_unreadable"


class NotYetValidError(IdentityError):
    """Valid later, or the clock is wrong: a start some moments later may succeed."""

    code = "certificate_not_yet_valid"
    exit_code = ExitCode.UNREACHABLE


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a machine is at the broker.

    Attributes:
        name: CN, the broker's user name; None if the certificate has none.
        role: OU; None: the certificate is not one of EdgeQA's authorities.
        since: it is valid from then on.
        until: and until then.
        fingerprint: SHA-256 of the certificate, hexadecimal.
        files: where it was read.
    """

    name: str | None
    role: Role | None
    since: datetime
    until: datetime
    fingerprint: str
    files: CertificateFiles

    @property
    def lifetime(self) -> timedelta:
        """From the first moment to the last."""
        return self.until - self.since

    def check_time(self, now: datetime) -> None:
        """Whether it is valid at a moment.

        Raises:
            IdentityError: `certificate_expired`.
            NotYetValidError: `certificate_not_yet_valid`.
        """
        if now > self.until:
            raise IdentityError(
                f"{self.files.cert}: the certificate of {self.name} expired on "
                f"{shown(self.until)}; issue another (`edgeqa cloud enrol {self.name} --again`), "
                f"if this machine's clock ({shown(now)}) is right",
                code="certificate_expired",
            )
        if now < self.since:
            raise NotYetValidError(
                f"{self.files.cert}: the certificate of {self.name} is valid from "
                f"{shown(self.since)} on, and this machine's clock says {shown(now)}: set the clock"
            )

    def check_owner(self, role: Role, name: str) -> None:
        """Whether it is that of somebody. Of a certificate that is not EdgeQA's nothing is asked.

        Raises:
            IdentityError: `certificate_of_another`.
        """
        if self.role is None or (self.role, self.name) == (role, name):
            return
        theirs = f"the {self.role} {self.name}"
        advice = (
            f"set `device` to {self.name}, or copy the bundle of {name}"
            if self.role is role
            else f"copy the bundle of {name}"
        )
        raise IdentityError(
            f"{self.files.cert}: this is the certificate of {theirs}, and here is the {role} "
            f"{name}: {advice}",
            code="certificate_of_another",
        )


def read_identity(files: CertificateFiles) -> Identity:
    """What lies in the files.

    Raises:
        IdentityError: `certificate_unreadable`, `certificate_key_mismatch`.
    """
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415  see above
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415

    raw = _read(files.cert)
    certificate = parse_certificate(raw, files.cert)
    key_file = files.key or files.cert
    try:
        pem = raw if files.key is None else _read(key_file)
        key = serialization.load_pem_private_key(pem, password=None)
    except TypeError as error:
        raise IdentityError(
            f"{key_file}: the key is encrypted; it must be without a passphrase, and mode 0600"
        ) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise IdentityError(f"{key_file}: there is no private key in it (PEM)") from error
    form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    if key.public_key().public_bytes(*form) != certificate.public_key().public_bytes(*form):
        raise IdentityError(
            f"{key_file}: the key does not belong to the certificate {files.cert}: copy both files "
            "of the same bundle",
            code="certificate_key_mismatch",
        )
    return describe(certificate, files)


def describe(certificate: x509.Certificate, files: CertificateFiles) -> Identity:
    """What a certificate says."""
    from cryptography.hazmat.primitives.hashes import SHA256  # noqa: PLC0415  see above
    from cryptography.x509.oid import NameOID  # noqa: PLC0415

    return Identity(
        name=_attribute(certificate, NameOID.COMMON_NAME),
        role=_role(certificate),
        since=certificate.not_valid_before_utc,
        until=certificate.not_valid_after_utc,
        fingerprint=certificate.fingerprint(SHA256()).hex(),
        files=files,
    )


def parse_certificate(raw: bytes, path: Path) -> x509.Certificate:
    """The first certificate of a PEM file.

    Raises:
        IdentityError: `certificate_unreadable`.
    """
    from cryptography import x509  # noqa: PLC0415  see above
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415

    try:
        certificate = x509.load_pem_x509_certificates(raw)[0]
        # Parts are decoded when they are looked at.
        _ = certificate.subject, certificate.extensions, certificate.public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.DuplicateExtension) as error:
        raise IdentityError(f"{path}: there is no certificate in it (PEM)") from error
    return certificate


def open_to_all(files: CertificateFiles) -> bool:
    """Whether everybody on this machine may read the key."""
    with contextlib.suppress(OSError):
        return bool((files.key or files.cert).stat().st_mode & stat.S_IROTH)
    return False


def shown(moment: datetime) -> str:
    """A time for people."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def _role(certificate: x509.Certificate) -> Role | None:
    from cryptography.x509.oid import NameOID  # noqa: PLC0415  see above

    unit = _attribute(certificate, NameOID.ORGANIZATIONAL_UNIT_NAME)
    if _attribute(certificate, NameOID.ORGANIZATION_NAME) != ORGANISATION or unit not in set(Role):
        return None
    return Role(unit)


def _attribute(certificate: x509.Certificate, oid: x509.ObjectIdentifier) -> str | None:
    found = certificate.subject.get_attributes_for_oid(oid)
    return str(found[0].value) if len(found) == 1 else None


def _read(path: Path) -> bytes:
    try:
        # Looked at before it is opened: opening a pipe would wait for ever.
        if not path.is_file():
            reason = "not a file" if path.exists() else "there is no such file"
            raise IdentityError(f"{path}: {reason}; copy the bundle of `edgeqa cloud enrol` again")
        with path.open("rb") as file:
            raw = file.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        raise IdentityError(
            f"{path}: {error.strerror}; let the user that runs this read it"
        ) from error
    if len(raw) > _MAX_FILE_BYTES:
        raise IdentityError(f"{path}: larger than {_MAX_FILE_BYTES} bytes; not a certificate")
    return raw
