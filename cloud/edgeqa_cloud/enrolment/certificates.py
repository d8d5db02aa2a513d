"""Making certificates and lists of revoked ones. Pure, but for random serial numbers.

A certificate says one thing: that its key belongs to NAME in ROLE. Whoever holds it may open
connections and nothing else: it is no authority, and, but for the broker's own, no server.

Source: RFC 5280 (profile of certificates and revocation lists).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from edgeqa.identity.roles import ORGANISATION, Role

# Clocks differ: a Raspberry Pi 5 without a battery begins at the time of its last shutdown.
BACKDATED = timedelta(hours=1)
# Of a list of revoked ones: it must count at once, and a broker's clock may be a little behind.
_LIST_BACKDATED = timedelta(minutes=5)
_SECOND = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Signer:
    """An authority with its key: what is needed to sign."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def new_key() -> ec.EllipticCurvePrivateKey:
    """A key that nobody has. P-256: every TLS library and every broker takes it."""
    return ec.generate_private_key(ec.SECP256R1())


def authority_certificate(
    role: Role, key: ec.EllipticCurvePrivateKey, *, now: datetime, days: float
) -> x509.Certificate:
    """The self-signed certificate of a role's authority."""
    name = _subject(role, f"EdgeQA {role} authority")
    usage = _key_usage(key_cert_sign=True, crl_sign=True)
    return (
        _builder(name, name, key.public_key(), now, now + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


def member_certificate(
    signer: Signer,
    role: Role,
    name: str,
    key: CertificatePublicKeyTypes,
    *,
    now: datetime,
    days: float,
) -> x509.Certificate:
    """A certificate for a device, a client or a service; it ends no later than its authority."""
    builder = _builder(
        signer.certificate.subject, _subject(role, name), key, now, _end(signer, now, days)
    )
    return _leaf(builder, signer, key, ExtendedKeyUsageOID.CLIENT_AUTH).sign(
        signer.key, hashes.SHA256()
    )


def server_certificate(
    signer: Signer,
    hosts: Sequence[str],
    key: CertificatePublicKeyTypes,
    *,
    now: datetime,
    days: float,
) -> x509.Certificate:
    """The broker's own certificate, for these host names and addresses."""
    builder = _builder(
        signer.certificate.subject, _subject(None, "broker"), key, now, _end(signer, now, days)
    ).add_extension(x509.SubjectAlternativeName([_host(host) for host in hosts]), critical=False)
    return _leaf(builder, signer, key, ExtendedKeyUsageOID.SERVER_AUTH).sign(
        signer.key, hashes.SHA256()
    )


def revocation_list(
    signer: Signer,
    revoked: Iterable[tuple[int, datetime]],
    *,
    now: datetime,
    days: float,
    before: datetime | None,
) -> x509.CertificateRevocationList:
    """A list of revoked serial numbers.

    Args:
        signer: the authority.
        revoked: serial number and when.
        now: by our clock.
        days: it counts so long.
        before: of the list before it, when that was made. A broker that was told to read its files
            again holds both, and goes by the later one, to the second.
    """
    made = _whole(now) - _LIST_BACKDATED
    # One of the future was made by a clock that was wrong, and counts for nobody.
    if before is not None and before <= _whole(now):
        made = max(made, before + _SECOND)
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(signer.certificate.subject)
        .last_update(made)
        .next_update(_end(signer, now, days))
        .add_extension(x509.CRLNumber(int(made.timestamp())), critical=False)
        .add_extension(_issuer_id(signer), critical=False)
    )
    for serial, when in sorted(revoked):
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(_whole(when))
        builder = builder.add_revoked_certificate(entry.build())
    return builder.sign(signer.key, hashes.SHA256())


def pem_of(made: x509.Certificate | x509.CertificateRevocationList) -> str:
    """As PEM."""
    return made.public_bytes(Encoding.PEM).decode()


def _end(signer: Signer, now: datetime, days: float) -> datetime:
    return min(_whole(now + timedelta(days=days)), signer.certificate.not_valid_after_utc)


def _whole(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(microsecond=0)


def _subject(role: Role | None, name: str) -> x509.Name:
    unit = [x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, str(role))] if role else []
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, ORGANISATION),
            *unit,
            x509.NameAttribute(NameOID.COMMON_NAME, name),
        ]
    )


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _builder(
    issuer: x509.Name,
    subject: x509.Name,
    key: CertificatePublicKeyTypes,
    now: datetime,
    end: datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .issuer_name(issuer)
        .subject_name(subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(_whole(now) - BACKDATED)
        .not_valid_after(_whole(end))
    )


def _leaf(
    builder: x509.CertificateBuilder,
    signer: Signer,
    key: CertificatePublicKeyTypes,
    purpose: x509.ObjectIdentifier,
) -> x509.CertificateBuilder:
    return (
        builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(_issuer_id(signer), critical=False)
    )


def _issuer_id(signer: Signer) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.key.public_key())


def _key_usage(
    *, digital_signature: bool = False, key_cert_sign: bool = False, crl_sign: bool = False
) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        encipher_only=False,
        decipher_only=False,
    )
