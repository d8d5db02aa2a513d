"""Whether a broker takes a certificate, found out without becoming anybody's session.

With TLS 1.3 the broker judges a client's certificate after the client's handshake is over, so what
tells is what comes next: an alert, or nothing. A CONNECT could end the connection of the device
that asks; so a PINGREQ is sent, upon which a broker must end this one.

Source: RFC 8446, section 4.4.2; MQTT 5, MQTT-3.1.0-1.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import time

from edgeqa.broker import Broker
from edgeqa.errors import BrokerError
from edgeqa.link_trouble import Failure, of_attempt, of_early_end
from edgeqa.tls import CertificateFiles, make_context

_PINGREQ = b"\xc0\x00"
_CONNECT_TIMEOUT_S = 5.0
# Slow mobile networks take a second for the way there and back.
ALERT_S = 2.0
_END_S = 5.0


def prove(broker: Broker, files: CertificateFiles, *, alert_s: float = ALERT_S) -> None:
    """Make a connection with a certificate, and end it.

    Args:
        broker: where to.
        files: of the certificate.
        alert_s: how long a refusal may take to come.

    Raises:
        BrokerError: `certificate_refused`, or `broker_unreachable`, after which one does not know.
        ConfigError: the files are no certificate and key.
    """
    ca_file = broker.tls.ca_file if broker.tls else None
    context = make_context(ca_file, files)
    failure = _tried(broker, context, alert_s)
    if failure is not None:
        raise BrokerError(f"broker at {broker.where}: {failure.reason}", code=failure.code)


def _tried(broker: Broker, context: ssl.SSLContext, alert_s: float) -> Failure | None:
    try:
        with (
            socket.create_connection((broker.host, broker.port), _CONNECT_TIMEOUT_S) as raw,
            context.wrap_socket(raw, server_hostname=broker.host) as connection,
        ):
            if not _stays_open(connection, alert_s):
                return of_early_end(None, broker)
            _end(connection)
    except (OSError, ValueError) as error:  # ValueError: of a host that can be none
        return of_attempt(error, broker)
    return None


def _stays_open(connection: ssl.SSLSocket, alert_s: float) -> bool:
    connection.settimeout(alert_s)
    with contextlib.suppress(TimeoutError):
        return bool(connection.recv(1))
    return True


def _end(connection: ssl.SSLSocket) -> None:
    """An alert that came late is raised."""
    connection.settimeout(_END_S)
    deadline = time.monotonic() + _END_S
    connection.sendall(_PINGREQ)
    with contextlib.suppress(TimeoutError, ssl.SSLEOFError):
        while connection.recv(4096) and time.monotonic() < deadline:
            pass
