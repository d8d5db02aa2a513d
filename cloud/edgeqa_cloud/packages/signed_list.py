"""Reading the signed repository: its list, and the manifests of the packages in it.

What is read is what a device would take: the list is signed, current and not of the past, each
manifest is the one that the list signs, and so is each file that the manifest names.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from structlog.typing import FilteringBoundLogger

from edgeqa.manifest import MANIFEST_FILE, Manifest
from edgeqa.repository.catalogue import Catalogue, check_root
from edgeqa.repository.clock import Clock
from edgeqa.repository.fetching import FetchError, FetchLimits, RemoteFile, storing
from edgeqa.repository.origins import OriginError
from edgeqa.repository.pace import Timing, pause
from edgeqa.repository.repository_url import RepositoryUrl
from edgeqa.repository.signed import (
    check_supported,
    remote_file,
    signed_files,
    signed_manifest,
    signed_summary,
)
from edgeqa.repository.transfer import OtherFileError, Transfer
from edgeqa.repository.web_origin import origin_of
from edgeqa.targets import PackageSummary

_CLIENT = "edgeqa-cloud"
# As long as columns and wishes have room for.
_MAX_VERSION_CHARS = 64
_MAX_BYTES = 1 << 62
_NAME, _VERSION, _FILE = range(3)
_LOCK_FILE = "reading.lock"
_LOCK_LOOK_S = 0.1


@dataclass(frozen=True, slots=True)
class Offered:
    """A package of the list; nothing of it was fetched yet."""

    summary: PackageSummary
    manifest: RemoteFile


@dataclass(frozen=True, slots=True)
class SignedList:
    """The list as it was verified.

    Attributes:
        faults: of packages that are listed and cannot be had.
        manifest: brings that of a package; `FetchError` where it is not what is signed.
    """

    expires_ms: int
    offered: list[Offered]
    faults: list[FetchError]
    manifest: Callable[[Offered], Manifest]


class SignedRepository:
    """A repository, and how far it is trusted.

    Args:
        url: where it is.
        root: what is trusted to begin with, as bytes of a `root.json`.
        folder: keeps what was seen of it; other processes may use the same.
        limits: of all transfers.
        now: seconds since 1970.
        stop: ends a reading within a second.

    Raises:
        ConfigError: the root is none.
    """

    def __init__(
        self,
        *,
        url: RepositoryUrl,
        root: bytes,
        folder: Path,
        limits: FetchLimits,
        now: Callable[[], float],
        stop: threading.Event,
        log: FilteringBoundLogger,
        timing: Timing | None = None,
    ) -> None:
        check_root(root)
        self.url = url
        self._root = root
        self._folder = folder
        self._limits = limits
        self._now = now
        self._stop = stop
        self._log = log
        self._timing = timing or Timing()

    def read(self) -> SignedList:
        """Fetch and verify the list.

        Raises:
            FetchError: `repository_unreachable`, `repository_expired`, `metadata_refused`,
                `disk_full`, `store_failed`; `superseded`, where it was stopped.
        """
        transfer = Transfer(
            origin=origin_of(self.url, client=_CLIENT, timeout_s=self._limits.timeout_s),
            limits=self._limits,
            timing=self._timing,
            stop=self._stop,
            log=self._log,
        )
        with self._alone():
            catalogue = Catalogue(
                root=self._root,
                folder=self._folder,
                transfer=transfer,
                clock=Clock(self._folder, system=self._now),
                log=self._log,
            )
            catalogue.refresh()
        offered, faults = _offered(catalogue)
        return SignedList(
            expires_ms=round(catalogue.expires.timestamp() * 1000),
            offered=offered,
            faults=faults,
            manifest=lambda one: _manifest(catalogue, transfer, one),
        )

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Several processes of one machine may share the folder; tuf does not expect that."""
        with storing(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            handle = os.open(self._folder / _LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
        try:
            while not _locked(handle):
                pause(_LOCK_LOOK_S, timing=self._timing, stop=self._stop)
            yield
        finally:
            os.close(handle)


def _locked(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _offered(catalogue: Catalogue) -> tuple[list[Offered], list[FetchError]]:
    offered: list[Offered] = []
    faults: list[FetchError] = []
    for target in catalogue.targets():
        parts = target.split("/")
        if len(parts) != _FILE + 1 or parts[_FILE] != MANIFEST_FILE:
            continue
        listed = catalogue.find(target)
        if listed is None:
            continue
        try:
            summary = signed_summary(listed, name=parts[_NAME], version=parts[_VERSION])
            check_supported(summary)
            _check_room(summary)
            offered.append(Offered(summary, remote_file(MANIFEST_FILE, listed)))
        except FetchError as error:
            faults.append(error)
    return offered, faults


def _check_room(summary: PackageSummary) -> None:
    if len(summary.version) > _MAX_VERSION_CHARS or summary.bytes > _MAX_BYTES:
        raise FetchError(
            f"{summary.name}: its version or its size is beyond all use", code="metadata_refused"
        )


def _manifest(catalogue: Catalogue, transfer: Transfer, one: Offered) -> Manifest:
    file = one.manifest
    why = ""
    for fresh in (False, True):  # a bad cache on the way is passed by
        try:
            raw = transfer.read(file.path, most=file.bytes, fresh=fresh)
        except OtherFileError as error:
            why = str(error)
            continue
        except OriginError as error:
            raise FetchError(str(error), code="repository_unreachable") from error
        if hashlib.sha256(raw).hexdigest() == file.sha256:
            manifest = signed_manifest(raw, one.summary)
            signed_files(catalogue, manifest, one.summary, file)
            return manifest
        why = "its SHA-256 is another"
    raise FetchError(
        f"{file.path} is not what the repository signed: {why}", code="download_corrupt"
    )
