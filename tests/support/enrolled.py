"""A real authority and a mosquitto that lets in only whom it enrolled, by the files of `edgeqa`."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from edgeqa.broker import Broker as BrokerAddress
from edgeqa.broker import BrokerSettings, resolve_broker
from edgeqa.identity.roles import Role
from edgeqa.processes import free_port
from edgeqa.tls import CertificateFiles
from edgeqa_cloud.database import Database
from edgeqa_cloud.enrolment.authority import Authority, Issued
from edgeqa_cloud.enrolment.broker_files import Lifetimes, write_broker_files
from edgeqa_cloud.enrolment.broker_settings import BrokerView
from edgeqa_cloud.enrolment.certificates import new_key
from edgeqa_cloud.enrolment.making import make_authority
from edgeqa_cloud.enrolment.membership import membership
from edgeqa_cloud.enrolment.registry import record, revoke
from edgeqa_cloud.migrate import migrate
from edgeqa_cloud.settings import DatabaseSettings
from support.broker import Broker

PASSPHRASE = "only for tests"
# What certificates are made valid before the time at which they are issued.
BACKDATED = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Bundle:
    """What `edgeqa cloud enrol` gives a machine, as files."""

    folder: Path
    issued: Issued

    @property
    def cert(self) -> Path:
        return self.folder / "identity.crt"

    @property
    def key(self) -> Path:
        return self.folder / "identity.key"

    @property
    def ca(self) -> Path:
        return self.folder / "ca.crt"

    @property
    def files(self) -> CertificateFiles:
        return CertificateFiles(self.cert, self.key)


@dataclass
class SecuredBroker(Broker):
    """The mosquitto of a `Fleet`; `url` is that of the devices."""

    files: Path = Path()
    ports: dict[Role, int] = field(default_factory=dict)
    password_ports: dict[Role, int] = field(default_factory=dict)
    host: str = "localhost"

    @property
    def url(self) -> str:
        return self.url_of(Role.DEVICE)

    def url_of(self, role: Role) -> str:
        return f"mqtts://{self.host}:{self.ports[role]}"

    def reload(self) -> None:
        """Have it read its files again."""
        os.kill(self.pid, signal.SIGHUP)

    def _config(self) -> list[str]:
        self.port = self.ports[Role.DEVICE]
        return (self.files / "mosquitto.conf").read_text(encoding="utf-8").splitlines()


@dataclass
class Fleet:
    """An authority with its registry and its broker."""

    folder: Path
    authority: Authority = field(init=False)
    broker: SecuredBroker = field(init=False)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.passphrase_file.write_text(PASSPHRASE)
        self.authority = make_authority(
            self.authority_folder,
            hosts=["localhost", "127.0.0.1"],
            passphrase=PASSPHRASE,
            now=datetime.now(UTC),
        )
        with Database.of(self.settings) as database:
            migrate(database)
        self.broker = SecuredBroker(
            folder=self.folder / "mosquitto",
            files=self.authority_folder / "broker",
            ports={role: free_port() for role in Role},
            password_ports={role: free_port() for role in Role},
        )
        self.write_broker_files()

    @property
    def authority_folder(self) -> Path:
        return self.folder / "authority"

    @property
    def passphrase_file(self) -> Path:
        return self.folder / "passphrase"

    @property
    def settings(self) -> DatabaseSettings:
        return DatabaseSettings(database=f"sqlite:///{self.folder / 'cloud.db'}")

    def enrol(
        self,
        name: str,
        role: Role = Role.DEVICE,
        *,
        days: float = 30.0,
        ago: timedelta = timedelta(0),
        folder: str | None = None,
    ) -> Bundle:
        """A bundle.

        Args:
            name: whose.
            role: of it.
            days: valid so long from its issue.
            ago: it was issued so long ago; negative: it will be.
            folder: beside the others; the name if not said.
        """
        key = new_key()
        when = datetime.now(UTC) - ago
        issued = self.authority.sign_key(
            role, key.public_key(), name=name, valid_days=days, now=when
        )
        with Database.of(self.settings) as database, database.writing() as connection:
            record(connection, issued, issued_by="test")
        bundle = Bundle(self.folder / "bundles" / (folder or name), issued)
        bundle.folder.mkdir(parents=True, exist_ok=True)
        bundle.cert.write_text(issued.certificate)
        bundle.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        bundle.key.chmod(0o600)
        bundle.ca.write_bytes((self.authority_folder / "service" / "ca.crt").read_bytes())
        return bundle

    def revoke(self, name: str, role: Role = Role.DEVICE) -> None:
        """In the registry and in the broker's files, which it has to read again."""
        with Database.of(self.settings) as database, database.writing() as connection:
            revoke(connection, role, name, reason="lost", actor="test", now=datetime.now(UTC))
        self.write_broker_files()

    def write_broker_files(self) -> None:
        now = datetime.now(UTC)
        with Database.of(self.settings) as database, database.reading() as connection:
            members = {role: membership(connection, role, now=now) for role in Role}
        ports = (self.broker.ports, self.broker.password_ports)
        listeners, password_listeners = (
            {role: f"{port} 127.0.0.1" for role, port in of.items()} for of in ports
        )
        write_broker_files(
            self.broker.files,
            self.authority,
            members,
            view=BrokerView(
                files=self.broker.files,
                data=self.broker.folder,
                listeners=listeners,
                password_listeners=password_listeners,
                # Started as root, mosquitto would become a user who cannot read the folder.
                extra="user root" if os.geteuid() == 0 else "",
            ),
            lifetimes=Lifetimes(),
            now=now,
        )

    def settings_of(
        self, bundle: Bundle, role: Role = Role.DEVICE, **more: object
    ) -> BrokerSettings:
        """How a machine with a bundle reaches the broker."""
        values: dict[str, object] = {
            "broker": self.broker.url_of(role),
            "broker_ca_file": bundle.ca,
            "broker_cert_file": bundle.cert,
            "broker_key_file": bundle.key,
            "broker_username": bundle.issued.name,
            "broker_connect_timeout_s": 10.0,
        }
        return BrokerSettings.model_validate(values | more)

    def address(self, bundle: Bundle, role: Role = Role.DEVICE, **more: object) -> BrokerAddress:
        """The same, resolved."""
        return resolve_broker(self.settings_of(bundle, role, **more))
