"""TLS to the broker, from files as they are at the moment.

Certificates are renewed while a connection stands, so each new connection reads them anew. A
context that could not be made leaves the one before as it was.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgeqa.errors import ConfigError


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """Where a certificate and its key lie.

    Attributes:
        cert: PEM; the certificate, then those above it, if any.
        key: PEM; None: in the same file.
    """

    cert: Path
    key: Path | None = None

    def __str__(self) -> str:
        return str(self.cert) if self.key is None else f"{self.cert}, {self.key}"


@dataclass(frozen=True, slots=True)
class Tls:
    """Makes contexts.

    Attributes:
        ca_file: PEM of the authorities to trust; None: the system's.
        own: what proves who we are, asked for at each connect; None where nothing does.
        first: as the files were at the start, for whoever makes thousands of connections.
    """

    ca_file: Path | None
    own: Callable[[], CertificateFiles | None]
    first: ssl.SSLContext

    @classmethod
    def of(cls, ca_file: Path | None, own: Callable[[], CertificateFiles | None]) -> Tls:
        """From files that are read now.

        Raises:
            ConfigError: as `make_context`.
        """
        return cls(ca_file, own, make_context(ca_file, own()))

    def context(self) -> ssl.SSLContext:
        """A context from the files as they are now.

        Raises:
            ConfigError: as `make_context`.
        """
        return make_context(self.ca_file, self.own())


def make_context(ca_file: Path | None, files: CertificateFiles | None) -> ssl.SSLContext:
    """A context that trusts authorities, the system's if none are said, and shows a certificate.

    Raises:
        ConfigError: a file cannot be read, or is not what it should be; names the setting.
    """
    try:
        context = ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"broker_ca_file: {ca_file}: {_reason(error)}", code="certificate_unreadable"
        ) from error
    if files is not None:
        _load(context, files)
    return context


def _load(context: ssl.SSLContext, files: CertificateFiles) -> None:
    try:
        # Without a passphrase of ours, OpenSSL would ask the terminal for one.
        context.load_cert_chain(files.cert, files.key, password=_no_passphrase)
    except ssl.SSLError as error:
        mismatch = error.reason == "KEY_VALUES_MISMATCH"
        raise ConfigError(
            f"broker_cert_file, broker_key_file: {files}: "
            + ("the key does not belong to the certificate" if mismatch else _reason(error)),
            code="certificate_key_mismatch" if mismatch else "certificate_unreadable",
        ) from error
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"broker_cert_file, broker_key_file: {files}: {_reason(error)}",
            code="certificate_unreadable",
        ) from error


def _no_passphrase() -> str:
    raise ValueError("the key is encrypted; it must be without a passphrase, and mode 0600")


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        words = (error.reason or "").replace("_", " ").lower()
        return f"not a PEM file of that kind ({words})" if words else "not a PEM file of that kind"
    return getattr(error, "strerror", None) or str(error)
