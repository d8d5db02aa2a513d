"""What a repository offers, by The Update Framework (TUF): signed, current, and not of the past.

The client is tuf's; what is ours is where its bytes come from, what time it is, that what it keeps
is synced to disk, and the codes of its errors. Targets are only looked up here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from structlog.typing import FilteringBoundLogger
from tuf.api.exceptions import (
    DownloadError,
    DownloadHTTPError,
    DownloadLengthMismatchError,
    ExpiredMetadataError,
    RepositoryError,
)
from tuf.api.metadata import Metadata, Root, TargetFile
from tuf.ngclient import FetcherInterface, Updater
from tuf.ngclient._internal.trusted_metadata_set import TrustedMetadataSet

from edgeqa.errors import ConfigError
from edgeqa.files import write_atomic
from edgeqa.repository.clock import Clock
from edgeqa.repository.fetching import FetchError, storing
from edgeqa.repository.origins import OriginError
from edgeqa.repository.transfer import OtherFileError, Transfer

METADATA, TARGETS = "metadata", "targets"
# The one file that changes under its name. All others may come from caches.
_TIMESTAMP = "timestamp.json"


@dataclass(frozen=True, slots=True)
class Listed:
    """A file that the repository offers.

    Attributes:
        path: below the repository's address.
        custom: what the signed metadata say of it besides.
    """

    path: str
    bytes: int
    sha256: str
    custom: Any


class Catalogue:
    """The signed list of a repository, for one reading.

    Args:
        root: what the device trusts to begin with.
        folder: where newer roots, and the newest metadata seen, are kept.
        transfer: brings the metadata.
        clock: decides what has expired.
    """

    def __init__(
        self,
        *,
        root: bytes,
        folder: Path,
        transfer: Transfer,
        clock: Clock,
        log: FilteringBoundLogger,
    ) -> None:
        self._root = root
        self._folder = folder
        self._fetcher = _Fetcher(transfer)
        self._clock = clock
        self._log = log
        self._updater: _Updater | None = None

    def refresh(self) -> None:
        """Fetch and verify what is new.

        What does not verify is asked for a second time past all caches, because a cache that mixes
        old and new is more common than an attack.

        Raises:
            FetchError: `repository_unreachable`, `repository_expired`, `metadata_refused`,
                `disk_full`, `store_failed` or `superseded`. What the device trusts is as it was,
                but for newer roots, which hold whatever becomes of the rest.
        """
        now = self._clock.now()
        with self._translated(now):
            try:
                self._updater = self._refreshed(now, fresh=False)
            except (RepositoryError, DownloadLengthMismatchError) as error:
                self._log.info("metadata_again", path=self._fetcher.last, reason=_line(error))
                self._updater = self._refreshed(now, fresh=True)
        try:
            self._clock.trust(now)
        except OSError as error:
            self._log.warning("clock_not_kept", reason=str(error))

    def find(self, target: str) -> Listed | None:
        """What the list says of a target; None if it is not in it.

        Raises:
            FetchError: as `refresh`, where the list is in parts.
        """
        updater = self._refreshed_one
        with self._translated(self._clock.now()):
            info = updater.get_targetinfo(target)
        return None if info is None else _listed(info, updater)

    def targets(self) -> list[str]:
        """All targets of the list, by the names that `find` takes; not those of delegated parts,
        which our repositories have none of."""
        return list(self._refreshed_one.signed.targets.targets)

    @property
    def expires(self) -> datetime:
        """When the first of the signatures that vouch for the list ends; UTC."""
        trusted = self._refreshed_one.signed
        parts = (trusted.root, trusted.timestamp, trusted.snapshot, trusted.targets)
        return min(one.expires for one in parts)

    @property
    def _refreshed_one(self) -> _Updater:
        assert self._updater is not None  # noqa: S101  `refresh` was called
        return self._updater

    def _refreshed(self, now: datetime, *, fresh: bool) -> _Updater:
        self._fetcher.fresh = fresh
        updater = _Updater(str(self._folder), METADATA, fetcher=self._fetcher, bootstrap=self._root)
        updater.set_time(now)
        updater.refresh()
        return updater

    @contextmanager
    def _translated(self, now: datetime) -> Iterator[None]:
        try:
            with storing(self._folder):
                yield
        except ExpiredMetadataError as error:
            raise FetchError(
                f"{_line(error)}: by this device's clock it is {now:%Y-%m-%d %H:%M:%S} UTC; if "
                "that is right, sign the repository anew, else correct the clock",
                code="repository_expired",
            ) from error
        except DownloadLengthMismatchError as error:
            raise FetchError(
                f"{self._fetcher.last}: {_line(error)}", code="metadata_refused"
            ) from error
        except DownloadError as error:
            raise FetchError(_line(error), code="repository_unreachable") from error
        except RepositoryError as error:
            raise FetchError(
                f"{self._fetcher.last}: {_line(error)}", code="metadata_refused"
            ) from error


def _listed(info: TargetFile, updater: _Updater) -> Listed:
    sha256 = info.hashes.get("sha256")
    if sha256 is None:
        raise FetchError(f"{info.path} is listed without a SHA-256", code="metadata_refused")
    folder, _, name = info.path.rpartition("/")
    if updater.signed.root.consistent_snapshot:
        name = f"{sha256}.{name}"  # TUF specification 5.7.3
    path = quote(f"{TARGETS}/{folder}/{name}")
    return Listed(path, info.length, sha256, info.custom)


def check_root(root: bytes) -> None:
    """See that this is something to trust.

    Raises:
        ConfigError: it is no root of a TUF repository.
    """
    try:
        metadata = Metadata[Root].from_bytes(root)
    except RepositoryError as error:
        raise ConfigError(f"repository_root: no TUF metadata: {_line(error)}") from error
    if metadata.signed.type != Root.type:
        raise ConfigError(f"repository_root: {metadata.signed.type} metadata, not root metadata")
    try:
        metadata.signed.verify_delegate(Root.type, metadata.signed_bytes, metadata.signatures)
    except RepositoryError as error:
        raise ConfigError(f"repository_root: not signed by its own keys: {_line(error)}") from error


class _Updater(Updater):
    """tuf's client, with our clock and our way of writing files."""

    # Private parts of tuf, which has no public ones for these; test_fetch_metadata.py fails if a
    # later version knows them no more.

    def set_time(self, now: datetime) -> None:
        """What expiry dates are compared with."""
        self._trusted_set.reference_time = now

    @property
    def signed(self) -> TrustedMetadataSet:
        """What was verified."""
        return self._trusted_set

    def _persist_file(self, filename: str, data: bytes) -> None:
        # tuf does not sync: an empty file after a power cut would let an old repository in again.
        # And it writes the root whenever it starts, the same or not: flash wears by that.
        path = Path(filename)
        if not (path.is_file() and path.read_bytes() == data):
            write_atomic(path, data)


class _Fetcher(FetcherInterface):
    """Brings metadata for tuf's client by our transfer.

    Attributes:
        fresh: whether to pass by all caches.
        last: the file asked for last.
    """

    def __init__(self, transfer: Transfer) -> None:
        self._transfer = transfer
        self.fresh = False
        self.last = ""

    def download_bytes(self, url: str, max_length: int) -> bytes:
        """A whole file; `url` is a path below the repository's address."""
        self.last = url
        fresh = self.fresh or url.endswith(f"/{_TIMESTAMP}")
        try:
            return self._transfer.read(url, most=max_length, fresh=fresh)
        except OtherFileError as error:
            raise DownloadLengthMismatchError(str(error)) from error
        except OriginError as error:
            if error.status is not None:
                raise DownloadHTTPError(str(error), error.status) from error
            raise DownloadError(str(error)) from error

    def _fetch(self, url: str) -> Iterator[bytes]:
        raise NotImplementedError(f"{url}: targets are not fetched by tuf")


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
