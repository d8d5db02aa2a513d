"""A device's side of a new certificate: a new key, the request, and the judgement of the reply.

Pure, but for the key's randomness.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509.oid import NameOID

from edgeqa.identity.certificate import IdentityError, describe, parse_certificate
from edgeqa.identity.roles import ORGANISATION, Role
from edgeqa.tls import CertificateFiles

_REPLY = Path("the cloud's reply")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A key that has no certificate yet. It never leaves the machine."""

    role: Role
    name: str
    key: ec.EllipticCurvePrivateKey

    def request(self) -> str:
        """A certificate signing request, PEM."""
        builder = x509.CertificateSigningRequestBuilder().subject_name(
            subject(self.role, self.name)
        )
        return builder.sign(self.key, SHA256()).public_bytes(Encoding.PEM).decode()

    def completed(self, certificate_pem: str, *, now: datetime) -> bytes:
        """Key and certificate as one PEM file, if the certificate is what was asked for.

        Raises:
            IdentityError: it is not: another's, for another key, or not valid now.
        """
        certificate = parse_certificate(certificate_pem.encode("utf-8", "replace"), _REPLY)
        form = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
        if certificate.public_key().public_bytes(*form) != self.key.public_key().public_bytes(
            *form
        ):
            raise IdentityError(
                "the certificate in the cloud's reply is for another key",
                code="certificate_key_mismatch",
            )
        identity = describe(certificate, CertificateFiles(_REPLY))
        if (identity.role, identity.name) != (self.role, self.name):
            raise IdentityError(
                f"the certificate in the cloud's reply is of the {identity.role} {identity.name}",
                code="certificate_of_another",
            )
        identity.check_time(now)
        chain = x509.load_pem_x509_certificates(certificate_pem.encode())
        key = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return key + b"".join(one.public_bytes(Encoding.PEM) for one in chain)


def new_candidate(role: Role, name: str) -> Candidate:
    """With a new key, on P-256: every TLS library and every broker takes it."""
    return Candidate(role, name, ec.generate_private_key(ec.SECP256R1()))


def subject(role: Role, name: str) -> x509.Name:
    """How a certificate names somebody."""
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, ORGANISATION),
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, str(role)),
            x509.NameAttribute(NameOID.COMMON_NAME, name),
        ]
    )
