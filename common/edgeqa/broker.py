"""How to reach the MQTT broker: the settings that agent, client and cloud side share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator

from edgeqa.errors import ConfigError
from edgeqa.tls import CertificateFiles, Tls

_PORTS = {"mqtt": 1883, "mqtts": 8883}


class BrokerSettings(BaseModel):
    """Address and credentials of the broker.

    Secrets are files, so that they appear neither in a process list nor in an environment dump.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    broker: str = Field(
        default="mqtt://localhost:1883",
        description="URL of the MQTT 5 broker: mqtt://HOST[:1883], or mqtts://HOST[:8883] for TLS.",
    )
    broker_username: str | None = Field(default=None, description="User name at the broker.")
    broker_password_file: Path | None = Field(
        default=None, description="File that holds the password; a final line break is dropped."
    )
    broker_ca_file: Path | None = Field(
        default=None, description="PEM file of the authorities to trust; the system's if not said."
    )
    broker_cert_file: Path | None = Field(
        default=None,
        description="PEM file of this client's certificate, for mutual TLS; read at each connect.",
    )
    broker_key_file: Path | None = Field(
        default=None, description="PEM file of the key that belongs to the certificate."
    )
    broker_keepalive_s: int = Field(
        default=30, ge=5, le=3600, description="MQTT keep-alive, seconds."
    )
    broker_connect_timeout_s: float = Field(
        default=30.0,
        gt=0,
        le=3600,
        description="How long to try for the first connection before giving up with exit code 4.",
    )

    @field_validator("broker")
    @classmethod
    def _known_scheme(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in _PORTS or not parts.hostname:
            raise ValueError("must be mqtt://HOST[:PORT] or mqtts://HOST[:PORT]")
        if parts.username or parts.password:
            raise ValueError("must not hold credentials; use broker_username and a password file")
        if parts.path.strip("/") or parts.query:
            raise ValueError("must end after the port")
        _ = parts.port  # raises ValueError when out of range
        return url


@dataclass(frozen=True, slots=True)
class Broker:
    """A broker as the connection needs it: files read once, and found good."""

    host: str
    port: int
    username: str | None
    password: str | None
    tls: Tls | None
    keepalive_s: int
    connect_timeout_s: float

    @property
    def where(self) -> str:
        """For messages to people."""
        return f"{self.host}:{self.port}"

    def within(self, timeout_s: float) -> Broker:
        """The same broker, tried for no longer than this."""
        return replace(self, connect_timeout_s=min(timeout_s, self.connect_timeout_s))


def resolve_broker(
    settings: BrokerSettings, *, own: Callable[[], CertificateFiles | None] | None = None
) -> Broker:
    """Read the files that the settings name.

    Args:
        settings: of the broker.
        own: gives the certificate to show at each connect, instead of the one in the settings.

    Raises:
        ConfigError: a file cannot be read or is not what it should be; names the setting.
    """
    parts = urlsplit(settings.broker)
    if settings.broker_password_file and not settings.broker_username:
        raise ConfigError("broker_password_file needs broker_username")
    if settings.broker_key_file and not settings.broker_cert_file:
        raise ConfigError("broker_key_file needs broker_cert_file")
    tls_files = settings.broker_ca_file or settings.broker_cert_file
    if parts.scheme == "mqtt" and tls_files:
        raise ConfigError("certificates need a broker with mqtts://")
    return Broker(
        host=parts.hostname or "localhost",
        port=parts.port or _PORTS[parts.scheme],
        username=settings.broker_username,
        password=_password(settings.broker_password_file),
        tls=_tls(settings, own) if parts.scheme == "mqtts" else None,
        keepalive_s=settings.broker_keepalive_s,
        connect_timeout_s=settings.broker_connect_timeout_s,
    )


def _password(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        return path.read_text(encoding="utf-8").removesuffix("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"broker_password_file: {path}: {error}") from error


def _tls(settings: BrokerSettings, own: Callable[[], CertificateFiles | None] | None) -> Tls:
    cert_file = settings.broker_cert_file
    files = CertificateFiles(cert_file, settings.broker_key_file) if cert_file else None
    # What is wrong with a file is said at the start.
    return Tls.of(settings.broker_ca_file, own or (lambda: files))
