"""Signing requests: only a sound one, of the right name, signed by its strong key, is served."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from edgeqa.errors import ExitCode
from edgeqa.identity.roles import Role
from edgeqa_cloud.enrolment.authority import Authority
from edgeqa_cloud.enrolment.refusals import BadNameError, BadRequestError

Extra = Callable[[x509.CertificateSigningRequestBuilder], x509.CertificateSigningRequestBuilder]
P256 = ec.generate_private_key(ec.SECP256R1())
WEAK = rsa.generate_private_key(65537, 1024)  # noqa: S505  to be refused
RSA2048 = rsa.generate_private_key(65537, 2048)


def request(
    key: CertificateIssuerPrivateKeyTypes = P256,
    *,
    names: tuple[str, ...] = ("pi-7",),
    unit: str | None = "device",
    extra: Extra = lambda builder: builder,
    algorithm: hashes.HashAlgorithm | None = None,
) -> x509.CertificateSigningRequest:
    subject = [x509.NameAttribute(NameOID.COMMON_NAME, name) for name in names]
    if unit is not None:
        subject.append(x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, unit))
    builder = extra(x509.CertificateSigningRequestBuilder().subject_name(x509.Name(subject)))
    plain = isinstance(key, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey)
    chosen = None if plain else algorithm or hashes.SHA256()
    return builder.sign(key, chosen)  # type: ignore[arg-type]  # a hash of any kind


def pem(made: x509.CertificateSigningRequest) -> str:
    return made.public_bytes(Encoding.PEM).decode()


def broken(made: x509.CertificateSigningRequest) -> str:
    """The same with another name, and the signature as it was."""
    content = made.public_bytes(Encoding.DER).replace(b"eve-1", b"pi-77")
    changed = x509.load_der_x509_csr(content)
    assert not changed.is_signature_valid
    return pem(changed)


@pytest.mark.parametrize(
    "key",
    [
        P256,
        ec.generate_private_key(ec.SECP384R1()),
        ec.generate_private_key(ec.SECP521R1()),
        ed25519.Ed25519PrivateKey.generate(),
        RSA2048,
    ],
    ids=["P-256", "P-384", "P-521", "Ed25519", "RSA 2048"],
)
def test_a_sound_request_gets_a_certificate_for_its_key(
    authority: Authority, now: datetime, key: CertificateIssuerPrivateKeyTypes
) -> None:
    text = pem(request(key))
    issued = authority.sign_request(Role.DEVICE, text, name="pi-7", valid_days=9, now=now)
    made = x509.load_pem_x509_certificate(issued.certificate.encode())
    assert made.public_key() == key.public_key()
    made.verify_directly_issued_by(authority.certificates[Role.DEVICE])


def test_nothing_but_the_key_gets_into_the_certificate(authority: Authority, now: datetime) -> None:
    wishes = request(
        extra=lambda builder: builder.add_extension(
            x509.SubjectAlternativeName([x509.DNSName("broker.example.org")]), critical=False
        ).add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=True)
    )
    issued = authority.sign_request(Role.DEVICE, pem(wishes), name="pi-7", valid_days=9, now=now)
    made = x509.load_pem_x509_certificate(issued.certificate.encode())
    uses = made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(uses) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    with pytest.raises(x509.ExtensionNotFound):
        made.extensions.get_extension_for_class(x509.SubjectAlternativeName)


def test_openssl_makes_requests_that_are_served(
    authority: Authority, now: datetime, tmp_path: Path
) -> None:
    subprocess.run(
        ["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-keyout", "key", "-out", "csr", "-subj", "/CN=pi-7"],
        cwd=tmp_path, check=True, capture_output=True,
    )  # fmt: skip
    text = (tmp_path / "csr").read_text()
    assert authority.sign_request(Role.DEVICE, text, name="pi-7", valid_days=9, now=now)


def ca_wish(
    builder: x509.CertificateSigningRequestBuilder,
) -> x509.CertificateSigningRequestBuilder:
    return builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)


def signing_wish(
    builder: x509.CertificateSigningRequestBuilder,
) -> x509.CertificateSigningRequestBuilder:
    flags = dict.fromkeys(
        ["content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
         "crl_sign", "encipher_only", "decipher_only"], False,
    )  # fmt: skip
    usage = x509.KeyUsage(digital_signature=True, key_cert_sign=True, **flags)
    return builder.add_extension(usage, critical=True)


SOUND = pem(request())
REFUSED: dict[str, tuple[str, str]] = {
    "empty": ("", "no certificate signing request"),
    "no PEM": ("hello", "no certificate signing request"),
    "a certificate": (SOUND.replace("CERTIFICATE REQUEST", "CERTIFICATE"), "no certificate sign"),
    "cut off": (SOUND[:200], "no certificate signing request"),
    "surrogates": ("\ud800", "no certificate signing request"),
    "too long": (SOUND + " " * 9000, "longer than"),
    "another name": (pem(request(names=("pi-8",))), "must be of 'pi-7'"),
    "another case": (pem(request(names=("PI-7",))), "must be of 'pi-7'"),
    "a longer name": (pem(request(names=("pi-7\0",))), "must be of 'pi-7'"),
    "two names": (pem(request(names=("pi-7", "pi-8"))), "must be of 'pi-7'"),
    "no name": (pem(request(names=())), "nobody"),
    "another role": (pem(request(unit="service")), "another role"),
    "not its signature": (broken(request(names=("eve-1",))), "not signed by its own key"),
    "RSA of 1024 bits": (pem(request(WEAK)), "1024 bits"),
    "RSA with exponent 3": (pem(request(rsa.generate_private_key(3, 2048))), "exponent"),
    "a curve of 224 bits": (pem(request(ec.generate_private_key(ec.SECP224R1()))), "not taken"),
    "Ed448": (pem(request(ed448.Ed448PrivateKey.generate())), "not taken"),
    "SHA-224": (pem(request(algorithm=hashes.SHA224())), "too weak"),
    "wants to be an authority": (pem(request(extra=ca_wish)), "to be an authority"),
    "wants to sign": (pem(request(extra=signing_wish)), "to sign certificates"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_any_other_request_is_refused_in_one_line(
    authority: Authority, now: datetime, case: str
) -> None:
    text, said = REFUSED[case]
    with pytest.raises(BadRequestError, match=said) as caught:
        authority.sign_request(Role.DEVICE, text, name="pi-7", valid_days=9, now=now)
    assert caught.value.code == "bad_signing_request"
    assert caught.value.exit_code is ExitCode.USAGE
    assert "\n" not in str(caught.value)


def test_a_request_of_nobody_is_refused_by_its_name(authority: Authority, now: datetime) -> None:
    with pytest.raises(BadNameError):
        authority.sign_request(
            Role.DEVICE, pem(request(names=("a/b",))), name="a/b", valid_days=9, now=now
        )


def test_every_bit_of_a_request_is_signed(authority: Authority, now: datetime) -> None:
    """Whatever one byte is changed to, there is no certificate for another key or name."""
    content = request().public_bytes(Encoding.DER)
    served = 0
    for at in range(0, len(content), 3):
        changed = content[:at] + bytes([content[at] ^ 0x41]) + content[at + 1 :]
        try:
            text = pem(x509.load_der_x509_csr(changed))
            issued = authority.sign_request(Role.DEVICE, text, name="pi-7", valid_days=9, now=now)
        except (BadRequestError, ValueError):
            continue
        made = x509.load_pem_x509_certificate(issued.certificate.encode())
        assert made.public_key() == P256.public_key()
        served += 1
    assert served == 0
