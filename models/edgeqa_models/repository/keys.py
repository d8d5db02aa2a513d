"""Private keys on disk: one PEM file each, in a folder outside the repository.

A file is `ROLE-ID.pem` with mode 0600: the public key, then the private key as PKCS #8, encrypted
with the passphrase. The role in the name is for people; which keys a role has, the root says. The
public part stands in clear so that only keys that are needed are decrypted.
"""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from securesystemslib.signer import CryptoSigner, SSlibKey

from edgeqa.errors import ConfigError
from edgeqa.files import sync_folder
from edgeqa.identity import envelope
from edgeqa_models.repository.environment import Passphrase

SHORT_ID_CHARS = 8
_FILE_MODE = 0o600
_FOLDER_MODE = 0o700
_OTHERS = 0o077
_MAX_FILE_BYTES = 1 << 16  # an Ed25519 key takes some hundred bytes
_BLOCK = re.compile(rb"-----BEGIN ([A-Z ]+)-----.+?-----END \1-----\n?", re.DOTALL)
_PUBLIC, _PLAIN, _ENCRYPTED = b"PUBLIC KEY", b"PRIVATE KEY", b"ENCRYPTED PRIVATE KEY"


class KeyFolder:
    """The private keys that one person or machine holds.

    Args:
        path: need not exist until a key is stored.
        passphrase: of all encrypted keys in it.
        repository: must not hold the keys, since it is served to the world; None if not known.

    Raises:
        ConfigError: `keys_in_repository`.
    """

    def __init__(self, path: Path, passphrase: Passphrase, *, repository: Path | None) -> None:
        if repository is not None and path.resolve().is_relative_to(repository.resolve()):
            raise ConfigError(
                f"{path} lies in the repository, which is served to everyone; keep keys elsewhere",
                code="keys_in_repository",
            )
        self.path = path
        self._passphrase = passphrase
        self._signers: dict[str, CryptoSigner] = {}
        self._files: dict[str, Path] | None = None

    def files(self) -> dict[str, Path]:
        """Key id to key file, of all keys in the folder.

        Raises:
            ConfigError: a file is readable by others (`key_exposed`) or no key (`key_damaged`), or
                the folder cannot be read (`key_missing`).
        """
        if self._files is None:
            self._files = {self._key_of(path).keyid: path for path in self._paths()}
        return self._files

    def __contains__(self, keyid: object) -> bool:
        return keyid in self.files()

    def get(self, keyid: str) -> CryptoSigner | None:
        """The signer of a key, decrypted; None if it is not in the folder.

        Raises:
            ConfigError: as `files`, or the passphrase is missing or wrong.
        """
        if keyid not in self._signers:
            path = self.files().get(keyid)
            if path is None:
                return None
            self._signers[keyid] = self._open(path)
        return self._signers[keyid]

    def store(self, signer: CryptoSigner, *, role: str, encrypt: bool) -> Path:
        """Write a new key; what exists is never overwritten.

        Raises:
            ConfigError: no passphrase, or another than that of the other keys; or the folder
                cannot be written (`output_unwritable`).
        """
        private = load_pem_private_key(signer.private_bytes, None)
        if not isinstance(private, Ed25519PrivateKey):
            raise TypeError("only Ed25519 keys are made here")
        content = private.public_key().public_bytes(
            Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
        ) + envelope.to_pem(private, self._new_passphrase() if encrypt else None)
        keyid = signer.public_key.keyid
        path = self.path / f"{role}-{keyid[:SHORT_ID_CHARS]}.pem"
        try:
            self.path.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
            _create(path, content)
        except OSError as error:
            raise ConfigError(
                f"{path}: cannot be written: {error.strerror}", code="output_unwritable"
            ) from error
        self._signers[keyid] = signer
        self._files = None
        return path

    def _paths(self) -> list[Path]:
        try:
            return sorted(path for path in self.path.iterdir() if path.suffix == ".pem")
        except FileNotFoundError:
            return []
        except OSError as error:
            raise ConfigError(
                f"{self.path}: cannot be read: {error.strerror}", code="key_missing"
            ) from error

    def _new_passphrase(self) -> bytes:
        for path in self._paths():
            if _ENCRYPTED in _blocks(path):
                self._open(path)  # one passphrase for all, or a later `sign` would stop half-way
                return self._passphrase.get()
        return self._passphrase.get(new=True)

    def _key_of(self, path: Path) -> SSlibKey:
        public = _blocks(path).get(_PUBLIC)
        if public is None:  # made by other tools; the private key knows its public one
            return self._open(path).public_key
        return _public_key(path, public)

    def _open(self, path: Path) -> CryptoSigner:
        blocks = _blocks(path)
        encrypted = blocks.get(_ENCRYPTED)
        content = encrypted or blocks.get(_PLAIN)
        if content is None:
            raise ConfigError(f"{path}: holds no private key", code="key_damaged")
        try:
            private = load_pem_private_key(content, self._passphrase.get() if encrypted else None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            if encrypted and "password" in str(error).lower():
                raise ConfigError(
                    f"{path}: the passphrase is wrong", code="passphrase_wrong"
                ) from error
            raise ConfigError(f"{path}: not a private key", code="key_damaged") from error
        if not isinstance(private, Ed25519PrivateKey):
            raise ConfigError(f"{path}: not an Ed25519 key", code="key_damaged")
        signer = CryptoSigner(private)
        if _PUBLIC in blocks and _public_key(path, blocks[_PUBLIC]) != signer.public_key:
            raise ConfigError(
                f"{path}: its public key is not that of its private key", code="key_damaged"
            )
        return signer


def read_public_key(path: Path) -> SSlibKey:
    """Somebody else's public key, as `edgeqa models repository key` prints it.

    Raises:
        ConfigError: `key_damaged`, it is not one; `key_exposed`, it holds a private key.
    """
    blocks = _split(path)
    if _PLAIN in blocks or _ENCRYPTED in blocks:
        raise ConfigError(
            f"{path}: holds a private key; its owner should keep it, and give the public one",
            code="key_exposed",
        )
    if _PUBLIC not in blocks:
        raise ConfigError(f"{path}: holds no public key", code="key_damaged")
    return _public_key(path, blocks[_PUBLIC])


def public_pem(key: SSlibKey) -> str:
    """A public key as PEM, to hand to others."""
    public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(key.keyval["public"]))
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def _create(path: Path, content: bytes) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _FILE_MODE)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        with contextlib.suppress(OSError):
            path.unlink()
        raise
    sync_folder(path.parent)


def _blocks(path: Path) -> dict[bytes, bytes]:
    """The PEM blocks of a private key's file, by label."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}", code="key_missing") from error
    if mode & _OTHERS:
        raise ConfigError(
            f"{path}: others than its owner may read it; run chmod 600 on it, or mount a stick "
            "that knows no modes with umask=077",
            code="key_exposed",
        )
    return _split(path)


def _split(path: Path) -> dict[bytes, bytes]:
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_FILE_BYTES)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}", code="key_missing") from error
    return {match.group(1): match.group(0) for match in _BLOCK.finditer(content)}


def _public_key(path: Path, pem: bytes) -> SSlibKey:
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"{path}: not a public key", code="key_damaged") from error
    if not isinstance(key, Ed25519PublicKey):
        raise ConfigError(f"{path}: not an Ed25519 key", code="key_damaged")
    return SSlibKey.from_crypto(key)
