"""Why there is no connection to the broker: from what OpenSSL, sockets and brokers say, to one line
that says what to do. Pure.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass

from edgeqa.broker import Broker

_REFUSED = "certificate_refused"
_UNREACHABLE = "broker_unreachable"
_CHECK = "check that it runs, and the address, credentials and access rules"

# X509_V_ERR_… of openssl/x509_vfy.h: what is wrong with the broker's certificate.
_NOT_YET_VALID, _EXPIRED = 9, 10
_UNTRUSTED = frozenset({2, 18, 19, 20, 21})
_OTHER_HOST = frozenset({62, 64})

# What a broker says of ours: RFC 8446, section 6.2, as OpenSSL names it.
_ALERTS = {
    "ALERT_UNKNOWN_CA": "does not know the authority of this certificate: check that the port is "
    "that of this role, and that the certificate is of this broker's fleet",
    "ALERT_CERTIFICATE_REVOKED": "says that this certificate was revoked: `edgeqa cloud enrolled` "
    "says when and why; `edgeqa cloud enrol NAME --again` makes another",
    "ALERT_CERTIFICATE_EXPIRED": "says that this certificate has expired (or that its own list of "
    "revoked ones has): make another with `edgeqa cloud enrol NAME --again`",
    "ALERT_CERTIFICATE_REQUIRED": "wants a certificate and got none: set broker_cert_file and "
    "broker_key_file",
    "ALERT_BAD_CERTIFICATE": "refuses this certificate: is it valid yet, by its clock?",
    "ALERT_CERTIFICATE_UNKNOWN": "refuses this certificate",
    "ALERT_UNSUPPORTED_CERTIFICATE": "refuses this certificate: it is not one for clients",
    "ALERT_ACCESS_DENIED": "refuses this certificate",
}
# The other side does not speak TLS at all.
_NO_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG",
           "UNEXPECTED_EOF", "HTTP_REQUEST")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a connection failed.

    Attributes:
        code: stable slug.
        reason: one line, for people.
        final: whether trying again at once is of no use.
    """

    code: str
    reason: str
    final: bool = False


def no_connection() -> Failure:
    """Nothing more is known."""
    return Failure(_UNREACHABLE, f"no connection; {_CHECK}")


def of_refusal(reason: str) -> Failure:
    """The broker answered, and said no."""
    return Failure(_UNREACHABLE, f"{reason}; {_CHECK}", final=True)


def of_attempt(error: BaseException | None, broker: Broker) -> Failure:
    """What the exception of an attempt to connect means, the TLS handshake included."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return _of_server_certificate(error, broker)
    if isinstance(error, ssl.SSLError):
        return _of_tls(error, broker)
    if broker.tls is not None and isinstance(error, ConnectionResetError | BrokenPipeError):
        return Failure(_UNREACHABLE, _no_tls(broker, _words(error)))
    return Failure(_UNREACHABLE, f"{_words(error)}; {_CHECK}")


def of_early_end(error: BaseException | None, broker: Broker) -> Failure:
    """A connection ended before the broker had answered the first packet."""
    if isinstance(error, ssl.SSLError):
        return _of_tls(error, broker)
    said = "" if error is None else f" ({_words(error)})"
    hint = (
        "if it wants TLS there, say mqtts:// and broker_ca_file"
        if broker.tls is None
        else "its log may say why"
    )
    return Failure(
        _UNREACHABLE, f"it ended the connection before it said anything{said}; {hint}; {_CHECK}"
    )


def _of_server_certificate(error: ssl.SSLCertVerificationError, broker: Broker) -> Failure:
    said = f"certificate verify failed: {error.verify_message}"
    if error.verify_code in _UNTRUSTED:
        trusted = broker.tls.ca_file if broker.tls else None
        return Failure(
            _REFUSED,
            "its certificate is not of an authority in "
            f"{f'broker_ca_file {trusted}' if trusted else 'the system: set broker_ca_file'} "
            f"({said})",
            final=True,
        )
    if error.verify_code in _OTHER_HOST:
        return Failure(
            _REFUSED,
            f"its certificate is not for {broker.host}: say in `broker` the host that it is for, "
            f"or have it made for this one too ({said})",
            final=True,
        )
    if error.verify_code == _NOT_YET_VALID:
        return Failure(
            _REFUSED, f"its certificate is not valid yet: set this machine's clock ({said})"
        )
    if error.verify_code == _EXPIRED:
        return Failure(
            _REFUSED,
            "its certificate has expired: `edgeqa cloud authority refresh` makes another, if this "
            f"machine's clock is right ({said})",
        )
    return Failure(_REFUSED, f"its certificate is not good ({said})", final=True)


def _of_tls(error: ssl.SSLError, broker: Broker) -> Failure:
    said = error.reason or ""
    words = said.replace("_", " ").lower() or error.strerror or str(error)
    for alert, meaning in _ALERTS.items():
        if alert in said:
            return Failure(_REFUSED, f"it {meaning} ({words})", final=True)
    if isinstance(error, ssl.SSLEOFError) or any(one in said for one in _NO_TLS):
        return Failure(_UNREACHABLE, _no_tls(broker, words), final="EOF" not in said)
    if "ALERT_HANDSHAKE_FAILURE" in said:
        return Failure(
            _REFUSED,
            f"it refuses the handshake: set broker_cert_file and broker_key_file, if it wants a "
            f"certificate ({words})",
            final=True,
        )
    return Failure(_UNREACHABLE, f"TLS failed ({words}); {_CHECK}")


def _no_tls(broker: Broker, words: str) -> str:
    return (
        f"port {broker.port} does not speak TLS, it seems ({words}): name its TLS port, or say "
        "mqtt:// where none is wanted"
    )


def _words(error: BaseException | None) -> str:
    return getattr(error, "strerror", None) or str(error or "") or "no connection"
