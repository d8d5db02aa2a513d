"""What is taken from a certificate signing request: its key, if the rest is in order. Pure.

Nothing else of it gets into the certificate: role, name, times and uses are the authority's to say.
"""

from __future__ import annotations

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.x509.oid import NameOID

from edgeqa.certificate_messages import MAX_PEM_CHARS
from edgeqa.identity.roles import Role
from edgeqa_cloud.enrolment.refusals import BadRequestError

# NIST SP 800-57 part 1 rev. 5, table 2: 112 bits of security need RSA of 2048 bits. Above 4096 a
# signature costs a small device, and the broker, more than it is worth.
RSA_BITS = (2048, 4096)
_RSA_EXPONENT = 65537  # FIPS 186-5, section 5.4: the least that is allowed
_CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
_HASHES = (hashes.SHA256, hashes.SHA384, hashes.SHA512)
_KEYS = "an EC key on P-256, P-384 or P-521, Ed25519, or RSA of 2048 to 4096 bits"


def requested_key(request_pem: str, *, role: Role, name: str) -> CertificatePublicKeyTypes:
    """The key that a request asks a certificate for.

    Args:
        request_pem: PKCS #10, PEM.
        role: that its subject must be of, if it says any.
        name: that its subject must have.

    Raises:
        BadRequestError: it is malformed, not signed by its key, of another, weak, or asks to be
            an authority.
    """
    request = _parse(request_pem)
    try:
        # Every part is decoded when it is looked at, so malformed ones are found here.
        key, subject = request.public_key(), request.subject
        extensions, hashed = list(request.extensions), request.signature_hash_algorithm
        signed = request.is_signature_valid
    except (ValueError, TypeError, UnsupportedAlgorithm, InvalidSignature) as error:
        raise BadRequestError(f"the signing request is malformed: {_first(error)}") from error
    except x509.DuplicateExtension as error:
        raise BadRequestError("the signing request has an extension twice") from error
    checked = _strong(key)
    if hashed is not None and not isinstance(hashed, _HASHES):
        raise BadRequestError(f"the signing request is signed by way of {hashed.name}, too weak")
    if not signed:
        raise BadRequestError("the signing request is not signed by its own key")
    _check_subject(subject, role, name)
    _check_wishes(extensions)
    return checked


def _parse(request_pem: str) -> x509.CertificateSigningRequest:
    if len(request_pem) > MAX_PEM_CHARS:
        raise BadRequestError(f"the signing request is longer than {MAX_PEM_CHARS:,} characters")
    try:
        return x509.load_pem_x509_csr(request_pem.encode("utf-8", "replace"))
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise BadRequestError(
            "this is no certificate signing request (PKCS #10, PEM: BEGIN CERTIFICATE REQUEST)"
        ) from error


def _strong(key: object) -> CertificatePublicKeyTypes:
    if isinstance(key, ed25519.Ed25519PublicKey):
        return key
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, _CURVES):
        return key
    if isinstance(key, rsa.RSAPublicKey):
        low, high = RSA_BITS
        if not low <= key.key_size <= high:
            raise BadRequestError(
                f"the signing request's RSA key has {key.key_size} bits; it must be {_KEYS}"
            )
        if key.public_numbers().e < _RSA_EXPONENT:
            raise BadRequestError("the signing request's RSA key has too small an exponent")
        return key
    raise BadRequestError(f"the signing request's key is of a kind not taken; it must be {_KEYS}")


def _check_subject(subject: x509.Name, role: Role, name: str) -> None:
    names = [one.value for one in subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    if names != [name]:
        said = " and ".join(repr(str(one)[:64]) for one in names[:2]) or "nobody"
        raise BadRequestError(f"the signing request is of {said}, and must be of {name!r} (CN)")
    units = subject.get_attributes_for_oid(NameOID.ORGANIZATIONAL_UNIT_NAME)
    if any(one.value != str(role) for one in units):
        raise BadRequestError(f"the signing request is of another role, and must be of {role} (OU)")


def _check_wishes(extensions: list[x509.Extension[x509.ExtensionType]]) -> None:
    for one in extensions:
        if isinstance(one.value, x509.BasicConstraints) and one.value.ca:
            raise BadRequestError("the signing request asks to be an authority; nobody may")
        if isinstance(one.value, x509.KeyUsage) and (one.value.key_cert_sign or one.value.crl_sign):
            raise BadRequestError("the signing request asks to sign certificates; nobody may")


def _first(error: BaseException) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__
