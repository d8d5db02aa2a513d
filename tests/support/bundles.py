"""Bundles as `edgeqa cloud enrol` writes them, by an authority of the test's own."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from edgeqa.identity.renewing import subject
from edgeqa.identity.roles import Role

_DAY = timedelta(days=1)
SETTINGS = """\
device = "{device}"
broker = "{broker}"
broker_username = "{device}"
broker_ca_file = "/etc/edgeqa/ca.crt"
broker_cert_file = "/etc/edgeqa/identity.crt"
broker_key_file = "/etc/edgeqa/identity.key"
groups = ["hall"]
"""


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, PEM."""

    cert: bytes
    key: bytes


class TestAuthority:
    """One for all roles; the real ones are three."""

    __test__ = False

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test authority")])
        basic = x509.BasicConstraints(ca=True, path_length=0)
        certificate = (
            self._builder(self._name, self._key.public_key(), datetime.now(UTC), days=10)
            .add_extension(basic, critical=True)
            .sign(self._key, SHA256())
        )
        self.cert = certificate.public_bytes(Encoding.PEM)

    def issue(
        self, role: Role, name: str, *, since: datetime | None = None, days: float = 5
    ) -> Pair:
        """Of somebody; also of a server on this machine."""
        key = ec.generate_private_key(ec.SECP256R1())
        here = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        begins = since or datetime.now(UTC) - timedelta(minutes=5)
        certificate = (
            self._builder(subject(role, name), key.public_key(), begins, days=days)
            .add_extension(x509.SubjectAlternativeName(here), critical=False)
            .sign(self._key, SHA256())
        )
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return Pair(certificate.public_bytes(Encoding.PEM), private)

    def bundle(
        self,
        folder: Path,
        device: str = "pi5",
        *,
        broker: str = "mqtts://localhost:8883",
        pair: Pair | None = None,
    ) -> Path:
        """A folder as `enrol` writes it."""
        pair = pair or self.issue(Role.DEVICE, device)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "agent.toml").write_text(SETTINGS.format(device=device, broker=broker))
        (folder / "ca.crt").write_bytes(self.cert)
        (folder / "identity.crt").write_bytes(pair.cert)
        key = folder / "identity.key"
        key.write_bytes(pair.key)
        key.chmod(0o600)
        return folder

    def _builder(
        self, name: x509.Name, key: ec.EllipticCurvePublicKey, since: datetime, *, days: float
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(since)
            .not_valid_after(since + days * _DAY)
        )
