"""A file that is being downloaded: what came of it survives, and it appears whole or not at all.

Bytes are collected in `.NAME.part`, which no file of a package can be called, and renamed when they
are verified and synced. Nothing here follows a link.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import stat
import threading
from collections.abc import Collection
from pathlib import Path
from types import TracebackType
from typing import Self

from edgeqa.files import sync_folder
from edgeqa.repository.fetching import FetchError, RemoteFile, storing

_MODE = 0o644
_BLOCK_BYTES = 1 << 20
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


class PartialFile:
    """One file under way; a context manager.

    Raises:
        FetchError: from every method, `disk_full` or `store_failed`. A disk that is full gets back
            what this file took of it.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._path = folder / name
        self._part = folder / part_name(name)
        self._handle = -1
        self.size = 0

    def __enter__(self) -> Self:
        with storing(self._part):
            # A link to a file elsewhere, hard or symbolic, must not be written through.
            if not _is_own(self._part):
                _remove(self._part)
            self._handle = os.open(self._part, _FLAGS, _MODE)
            self.size = os.fstat(self._handle).st_size
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._handle)
        if isinstance(error, FetchError) and error.code == "disk_full":
            with contextlib.suppress(OSError):
                self._part.unlink()

    def write(self, chunk: bytes) -> None:
        """Append."""
        view = memoryview(chunk)
        with storing(self._part):
            while view:
                count = os.pwrite(self._handle, view, self.size)
                self.size += count
                view = view[count:]

    def clear(self) -> None:
        """Begin anew."""
        with storing(self._part):
            os.ftruncate(self._handle, 0)
        self.size = 0

    def matches(self, sha256: str, *, stop: threading.Event) -> bool:
        """Whether the bytes on disk are these."""
        with storing(self._part):
            return _hash(self._handle, stop) == sha256

    def finish(self) -> None:
        """Give it its name, durably."""
        with storing(self._path):
            os.fchmod(self._handle, _MODE)
            os.fsync(self._handle)
            if not _is_own(self._path):
                _remove(self._path)
            self._part.replace(self._path)
            sync_folder(self._path.parent)

    def discard(self) -> None:
        """Leave nothing of it."""
        with storing(self._part):
            self._part.unlink(missing_ok=True)


def part_name(name: str) -> str:
    """What a file is called while it is downloaded."""
    return f".{name}.part"


def is_there(folder: Path, file: RemoteFile, *, stop: threading.Event) -> bool:
    """Whether a file is in a folder, plain, readable, and with the right length and SHA-256.

    Raises:
        FetchError: `superseded`, stopped meanwhile.
    """
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        handle = os.open(folder / file.name, flags)
    except OSError:
        return False
    try:
        found = os.fstat(handle)
        plain = stat.S_ISREG(found.st_mode) and found.st_size == file.bytes
        return plain and _hash(handle, stop) == file.sha256
    except OSError:
        return False
    finally:
        os.close(handle)


def size_of(folder: Path, name: str | None = None) -> int:
    """Bytes that are there of a file under way, or of all files in the folder.

    Raises:
        FetchError: `store_failed`.
    """
    with storing(folder):
        paths = folder.iterdir() if name is None else [folder / part_name(name)]
        found = [path.lstat() for path in paths if _is_own(path) and path.exists()]
    return sum(one.st_size for one in found)


def keep_only(folder: Path, names: Collection[str]) -> None:
    """Remove from a folder all but plain files of these names, and what is there of them.

    Raises:
        FetchError: `store_failed`.
    """
    wanted = set(names) | {part_name(name) for name in names}
    with storing(folder):
        for path in folder.iterdir():
            if path.name not in wanted or not _is_own(path):
                _remove(path)


def _remove(path: Path) -> None:
    """Remove a file, link or folder, whatever is there.

    Raises:
        OSError: it cannot be removed.
    """
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _is_own(path: Path) -> bool:
    """Whether it is a plain file with no other name, or nothing."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return True
    return stat.S_ISREG(found.st_mode) and found.st_nlink == 1


def _hash(handle: int, stop: threading.Event) -> str:
    digest = hashlib.sha256()
    offset = 0
    while block := os.pread(handle, _BLOCK_BYTES, offset):
        if stop.is_set():
            raise FetchError("the fetch was stopped", code="superseded")
        digest.update(block)
        offset += len(block)
    return digest.hexdigest()
