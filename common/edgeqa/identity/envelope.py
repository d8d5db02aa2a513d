"""Private keys in encrypted PKCS #8, with scrypt.

The `cryptography` library reads this form but writes only PBKDF2 with 2,048 rounds, which a
stolen stick would not hold out with. So the envelope is written here, and read by the library;
openssl reads it too.

Source: RFC 5958 (PKCS #8), RFC 8018 (PBES2), RFC 7914 section 7 (scrypt in PBES2), RFC 3565 (AES).
"""

from __future__ import annotations

import base64
import hashlib
import os

from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

# One of the settings of equal strength of the OWASP Password Storage Cheat Sheet: the one that
# stays below the 32 MiB that openssl allows scrypt.
_COST, _BLOCK, _PARALLEL = 2**14, 8, 5
_KEY_BYTES = 32  # AES-256
_SALT_BYTES = 16
_IV_BYTES = 16  # one block of AES
_MAX_MEMORY_BYTES = 64 << 20

_SEQUENCE, _INTEGER, _OCTETS, _OBJECT = 0x30, 0x02, 0x04, 0x06
_PBES2 = bytes.fromhex("2a864886f70d01050d")  # 1.2.840.113549.1.5.13
_SCRYPT = bytes.fromhex("2b06010401da47040b")  # 1.3.6.1.4.1.11591.4.11
_AES_256_CBC = bytes.fromhex("60864801650304012a")  # 2.16.840.1.101.3.4.1.42
_SHORT_LENGTH = 0x80  # DER: lengths below it stand in one byte
_LINE_CHARS = 64  # RFC 7468, section 2


def to_pem(key: PrivateKeyTypes, passphrase: bytes | None) -> bytes:
    """A private key as PKCS #8 in PEM, encrypted where there is a passphrase."""
    if passphrase is None:
        return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    plain = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    salt, vector = os.urandom(_SALT_BYTES), os.urandom(_IV_BYTES)
    derived = hashlib.scrypt(
        passphrase,
        salt=salt,
        n=_COST,
        r=_BLOCK,
        p=_PARALLEL,
        dklen=_KEY_BYTES,
        maxmem=_MAX_MEMORY_BYTES,
    )
    padder = PKCS7(_IV_BYTES * 8).padder()
    padded = padder.update(plain) + padder.finalize()
    encryptor = Cipher(algorithms.AES(derived), modes.CBC(vector)).encryptor()
    secret = encryptor.update(padded) + encryptor.finalize()
    costs = _der(
        _SEQUENCE, _der(_OCTETS, salt), _integer(_COST), _integer(_BLOCK), _integer(_PARALLEL)
    )
    derivation = _der(_SEQUENCE, _der(_OBJECT, _SCRYPT), costs)
    cipher = _der(_SEQUENCE, _der(_OBJECT, _AES_256_CBC), _der(_OCTETS, vector))
    scheme = _der(_SEQUENCE, _der(_OBJECT, _PBES2), _der(_SEQUENCE, derivation, cipher))
    return _pem(b"ENCRYPTED PRIVATE KEY", _der(_SEQUENCE, scheme, _der(_OCTETS, secret)))


def _der(tag: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    if len(body) < _SHORT_LENGTH:
        return bytes([tag, len(body)]) + body
    length = len(body).to_bytes((len(body).bit_length() + 7) // 8, "big")
    return bytes([tag, _SHORT_LENGTH | len(length)]) + length + body


def _integer(value: int) -> bytes:
    # One bit more than the value has: a leading one would be a sign.
    return _der(_INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def _pem(label: bytes, content: bytes) -> bytes:
    text = base64.b64encode(content)
    lines = [text[at : at + _LINE_CHARS] for at in range(0, len(text), _LINE_CHARS)]
    return b"\n".join([b"-----BEGIN %b-----" % label, *lines, b"-----END %b-----" % label, b""])
