"""Writing files that survive a power cut.

A file is either its old self or its new self, never a part: written beside, synced, renamed over,
and the folder's entry synced. Every file that must outlive a crash is written here.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from edgeqa.errors import VerificationError

_BLOCK_BYTES = 1 << 20


def write_atomic(
    path: Path, content: bytes, *, mode: int = 0o644, owner: tuple[int, int] | None = None
) -> None:
    """Replace `path` by `content` so that a crash at any point leaves the old or the new file.

    Args:
        path: what to replace.
        content: all of it.
        mode: who may read and write it.
        owner: user and group that have it from its first moment; the writer if not said.

    Raises:
        OSError: the disk is full or the folder not writable; `path` is as it was.
    """
    _write(path, [content], mode, owner)


def copy_atomic(source: Path, path: Path, *, sha256: str, mode: int = 0o644) -> None:
    """Copy a file as `write_atomic` writes one, block by block, if its bytes are the expected ones.

    The digest is taken of what is written, so a source that changes meanwhile is noticed.

    Raises:
        OSError: `source` cannot be read or `path` not be written; `path` is as it was.
        VerificationError: `digest_mismatch`, the bytes are others; `path` is as it was.
    """
    _write(path, _verified(source, sha256), mode)


def sync_folder(folder: Path) -> None:
    """Make renames and new names in `folder` durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sha256_hex(path: Path) -> str:
    """SHA-256 of a file, read in blocks.

    Raises:
        OSError: the file cannot be read.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _write(
    path: Path, blocks: Iterable[bytes], mode: int, owner: tuple[int, int] | None = None
) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            for block in blocks:
                file.write(block)
            file.flush()
            if owner is not None:
                os.fchown(file.fileno(), *owner)
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    sync_folder(path.parent)


def _verified(source: Path, sha256: str) -> Iterator[bytes]:
    digest = hashlib.sha256()
    with source.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
            yield block
    if digest.hexdigest() != sha256:
        raise VerificationError(
            f"{source}: its SHA-256 is not the expected one; it was changed",
            code="digest_mismatch",
        )
