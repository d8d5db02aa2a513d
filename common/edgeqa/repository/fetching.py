"""What a fetch is asked for, within which limits, and how it fails.

Apart from `fetch`, because this imports nothing heavy: an agent without a repository pays for no
TUF client.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from edgeqa.errors import EdgeqaError, ExitCode

_FULL = {errno.ENOSPC, errno.EDQUOT}


class FetchError(EdgeqaError):
    """A package cannot be had; `code` says why, docs/fetching.md what follows."""

    code = "repository_unreachable"
    exit_code = ExitCode.REFUSED


@dataclass(frozen=True, slots=True)
class FetchLimits:
    """Bounds of a fetch.

    Attributes:
        rate_bytes_s: bytes per second that a fetch takes from the network; 0: as many as come.
        timeout_s: a connection that brings nothing for so long is given up.
        retries: of one file, in a row, without progress.
        reserve_bytes: free room that must remain on the disk.
        max_package_bytes: larger packages are refused.
    """

    rate_bytes_s: int = 0
    timeout_s: float = 30.0
    retries: int = 5
    reserve_bytes: int = 64 << 20
    max_package_bytes: int = 2 << 30


@dataclass(frozen=True, slots=True)
class Wanted:
    """A package to fetch; `digest` refuses any other of that name and version."""

    name: str
    version: str
    digest: str | None = None


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file of a package, and what is signed of it.

    Attributes:
        path: below the repository's address.
        name: in the package.
    """

    path: str
    name: str
    bytes: int
    sha256: str


@contextmanager
def storing(what: object) -> Iterator[None]:
    """Turn failures to write inside the block into errors with codes.

    Raises:
        FetchError: `disk_full` or `store_failed`.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in _FULL:
            raise FetchError(f"{what}: {reason}", code="disk_full") from error
        raise FetchError(f"{what}: {reason}", code="store_failed") from error
