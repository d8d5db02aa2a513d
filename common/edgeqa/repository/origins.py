"""Where the bytes of a repository come from, and a folder as such a place.

An origin vouches for nothing: what it gives is checked by whoever reads it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

CHUNK_BYTES = 1 << 16
_FORBIDDEN, _NOT_FOUND = 403, 404


class OriginError(Exception):
    """A file did not come, or not all of it.

    Args:
        message: for people.
        status: of HTTP, or what a web server would have said.
        retry: whether it may come if asked again at once.
        after_s: how long the origin wants to be left alone, seconds.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        retry: bool = True,
        after_s: float = 0.0,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.retry = retry
        self.after_s = after_s


@dataclass(frozen=True, slots=True)
class Head:
    """What an origin says before the bytes.

    Attributes:
        start: offset of the first byte that follows; 0 where it cannot begin elsewhere, -1 where
            it makes no sense.
        total: bytes of the whole file, if it says so.
    """

    start: int
    total: int | None


class Origin(Protocol):
    """A place of files. Thread: each `open` in one of its own."""

    def open(
        self, path: str, *, offset: int, most: int, fresh: bool
    ) -> Generator[Head | bytes, None, None]:
        """A head and then the bytes of a file.

        Args:
            path: below the repository's address, as in a URL.
            offset: where to begin; the head says where it does.
            most: bytes after `offset` that are wanted; no more are given.
            fresh: whether caches on the way shall be passed by.

        Raises:
            OriginError: from the generator.
        """

    def leave(self) -> None:
        """Make reads that are under way in other threads end, as far as that can be."""


class FolderOrigin:
    """A local folder, such as a stick. It is not trusted either: pipes and devices are no files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def leave(self) -> None:
        """See `Origin.leave`: reads of a disk end by themselves."""

    def open(
        self, path: str, *, offset: int, most: int, fresh: bool
    ) -> Generator[Head | bytes, None, None]:
        """See `Origin.open`."""
        del fresh
        where = self._folder / path
        if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
            raise OriginError(f"{path} is not below the repository", status=_NOT_FOUND, retry=False)
        try:
            # Opening a pipe would wait for a writer.
            handle = os.open(where, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            with os.fdopen(handle, "rb", buffering=0) as file:
                status = os.fstat(handle)
                if not stat.S_ISREG(status.st_mode):
                    raise OriginError(f"{where} is no file", status=_NOT_FOUND, retry=False)
                yield Head(offset, status.st_size)
                file.seek(offset)
                left = most
                while left and (chunk := file.read(min(CHUNK_BYTES, left))):
                    left -= len(chunk)
                    yield chunk
        except (FileNotFoundError, NotADirectoryError) as error:
            raise OriginError(f"{where} is not there", status=_NOT_FOUND, retry=False) from error
        except PermissionError as error:
            raise OriginError(f"{where} may not be read", status=_FORBIDDEN, retry=False) from error
        except OSError as error:
            raise OriginError(f"{where}: {error.strerror}") from error
