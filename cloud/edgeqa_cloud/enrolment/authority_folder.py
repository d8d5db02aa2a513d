"""The folder of an authority: what lies where, and how it is read.

    authority.json               written last: with it the folder is whole
    device/ca.crt  device/ca.key
    client/ca.crt  client/ca.key
    service/ca.crt service/ca.key
    broker/                      what the broker reads: `broker_files`

A key may be kept elsewhere: then what its role needs of it waits, and all else goes on.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from pydantic import BaseModel, ConfigDict, ValidationError

from edgeqa.identity.roles import Role
from edgeqa_cloud.enrolment.refusals import AuthorityError

ABOUT = "authority.json"
CERTIFICATE = "ca.crt"
KEY = "ca.key"
BROKER = "broker"

MAX_HOSTS = 64
# RFC 1035, section 2.3.4.
_MAX_HOST_CHARS = 253
_HOST = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9-]{1,63}(?<!-))*\Z")
_MAX_FILE_BYTES = 1 << 20
_OTHERS = 0o077
_ENCRYPTED = b"ENCRYPTED PRIVATE KEY"


class About(BaseModel):
    """What `authority.json` says."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    schema_version: int = 1
    created_ms: int
    # Host names and addresses at which the broker is reached; the first is told to devices.
    hosts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RoleFiles:
    """Of one role's authority."""

    folder: Path

    @property
    def certificate(self) -> Path:
        """Its certificate."""
        return self.folder / CERTIFICATE

    @property
    def key(self) -> Path:
        """Its key, which need not be here."""
        return self.folder / KEY


def role_files(folder: Path, role: Role) -> RoleFiles:
    """Where a role's authority lies."""
    return RoleFiles(folder / str(role))


def read_about(folder: Path) -> About:
    """What the folder says of itself.

    Raises:
        AuthorityError: `no_authority`, or it is half made or damaged (`authority_damaged`).
    """
    path = folder / ABOUT
    try:
        return About.model_validate_json(_read(path))
    except FileNotFoundError as error:
        if any((folder / str(role)).exists() for role in Role):
            raise AuthorityError(
                f"{folder}: an authority was begun here and not finished; nothing was issued by "
                "it: empty the folder and make one with `edgeqa cloud authority init`",
                code="authority_damaged",
            ) from error
        raise AuthorityError(
            f"{folder}: there is no authority; make one with `edgeqa cloud authority init`"
        ) from error
    except OSError as error:
        raise AuthorityError(f"{path}: {error.strerror}") from error
    except ValidationError as error:
        raise AuthorityError(
            f"{path}: damaged; bring the folder back from its copy", code="authority_damaged"
        ) from error


def read_certificate(path: Path) -> x509.Certificate:
    """An authority's certificate.

    Raises:
        AuthorityError: `authority_damaged`.
    """
    try:
        return x509.load_pem_x509_certificate(_read(path))
    except OSError as error:
        raise AuthorityError(f"{path}: {error.strerror}", code="authority_damaged") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise AuthorityError(f"{path}: no certificate", code="authority_damaged") from error


def is_encrypted(path: Path) -> bool | None:
    """Whether a key needs a passphrase; None where there is none.

    Raises:
        AuthorityError: it cannot be read.
    """
    content = _key_bytes(path)
    return None if content is None else _ENCRYPTED in content


def read_key(path: Path, passphrase: str | None) -> ec.EllipticCurvePrivateKey | None:
    """An authority's key; None where it is kept elsewhere.

    Raises:
        AuthorityError: others may read it (`key_exposed`), the passphrase is missing or wrong
            (`passphrase_missing`, `passphrase_wrong`), or it is no key (`authority_damaged`).
    """
    content = _key_bytes(path)
    if content is None:
        return None
    encrypted = _ENCRYPTED in content
    if encrypted and not passphrase:
        raise AuthorityError(
            f"{path}: needs its passphrase; name a file that holds it with "
            "--authority-passphrase-file or EDGEQA_CLOUD_AUTHORITY_PASSPHRASE_FILE",
            code="passphrase_missing",
        )
    try:
        secret = (passphrase or "").encode() if encrypted else None
        key = load_pem_private_key(content, secret)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        if encrypted and "password" in str(error).lower():
            raise AuthorityError(
                f"{path}: the passphrase is wrong", code="passphrase_wrong"
            ) from error
        raise AuthorityError(f"{path}: no private key", code="authority_damaged") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise AuthorityError(f"{path}: not a key of this authority", code="authority_damaged")
    return key


def checked_hosts(hosts: Sequence[str]) -> tuple[str, ...]:
    """Host names and addresses of a broker.

    Raises:
        AuthorityError: `invalid_config`, one is neither, or there is none or too many.
    """
    found = tuple(dict.fromkeys(_canonical(host) for host in hosts))
    if not 1 <= len(found) <= MAX_HOSTS:
        raise AuthorityError(
            f"--broker-host: name 1 to {MAX_HOSTS} hosts at which devices reach the broker",
            code="invalid_config",
        )
    for host in found:
        if not is_host(host):
            raise AuthorityError(
                f"--broker-host: {host[:64]!r} is neither a host name nor an address, such as "
                "broker.example.org or 10.0.0.5",
                code="invalid_config",
            )
    return found


def _canonical(host: str) -> str:
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return host.lower()


def is_host(host: str) -> bool:
    """Whether this is a host name or an IP address."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return len(host) <= _MAX_HOST_CHARS and _HOST.match(host) is not None
    return "%" not in host  # a zone means something on one machine only


def _key_bytes(path: Path) -> bytes | None:
    try:
        if path.stat().st_mode & _OTHERS:
            raise AuthorityError(
                f"{path}: others than its owner may read it; run chmod 600 on it",
                code="key_exposed",
            )
        return _read(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise AuthorityError(f"{path}: {error.strerror}") from error


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_MAX_FILE_BYTES)
