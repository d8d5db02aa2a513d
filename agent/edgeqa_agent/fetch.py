"""Fetches a model package from a repository into a folder.

No byte is believed before it is signed for: the list of the repository by TUF (`catalogue`), the
manifest by the list, and every other file by both of them. What the signed summary shows to be
unusable, unwanted or too large is refused before any of it is fetched.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

from structlog.typing import FilteringBoundLogger

from edgeqa.manifest import MANIFEST_FILE, Manifest
from edgeqa.model_messages import Desired
from edgeqa.repository.catalogue import Catalogue, Listed, check_root
from edgeqa.repository.clock import Clock
from edgeqa.repository.fetching import FetchError, FetchLimits, RemoteFile, Wanted, storing
from edgeqa.repository.pace import Timing
from edgeqa.repository.partial import is_there, keep_only, size_of
from edgeqa.repository.repository_url import parse_repository_url
from edgeqa.repository.signed import (
    check_supported,
    remote_file,
    signed_files,
    signed_manifest,
    signed_summary,
)
from edgeqa.repository.transfer import Transfer
from edgeqa.repository.web_origin import origin_of
from edgeqa.targets import PackageSummary, target_path

__all__ = ["FetchError", "FetchLimits", "Repository", "Wanted"]

# How it calls itself to web servers.
_CLIENT = "edgeqa-agent"

Progress = Callable[[int, int], None]


class Repository:
    """A model repository, and how far this device trusts it.

    Args:
        url: http, https or file; `metadata/` and `targets/` lie below it.
        root: the root of trust that the device was given, as bytes of a `root.json`.
        folder: keeps what was seen of the repository; made if it is not there.
        limits: of every fetch.
        clock: decides what has expired.
        log: for retries and the like.
        timing: for tests.

    Raises:
        ConfigError: the URL or the root is none.
    """

    def __init__(
        self,
        *,
        url: str,
        root: bytes,
        folder: Path,
        limits: FetchLimits,
        clock: Clock,
        log: FilteringBoundLogger,
        timing: Timing | None = None,
    ) -> None:
        check_root(root)
        self._url = parse_repository_url(url)
        self._root = root
        self._folder = folder
        self._limits = limits
        self._clock = clock
        self._log = log
        self._timing = timing or Timing()

    def fetch(
        self, wanted: Wanted | Desired, into: Path, *, progress: Progress, stop: threading.Event
    ) -> None:
        """Bring a package, so that its files and nothing else are in a folder.

        Args:
            wanted: name, version and perhaps digest.
            into: exists; what an earlier try left there is continued.
            progress: told the bytes there and those of the whole package, after every some ten
                kilobytes; both count the manifest.
            stop: ends the fetch within a second.

        Raises:
            FetchError: see docs/fetching.md for all codes. What came stays for the next try, but
                for files that were wrong.
        """
        transfer = Transfer(
            origin=origin_of(self._url, client=_CLIENT, timeout_s=self._limits.timeout_s),
            limits=self._limits,
            timing=self._timing,
            stop=stop,
            log=self._log,
        )
        catalogue = Catalogue(
            root=self._root,
            folder=self._folder,
            transfer=transfer,
            clock=self._clock,
            log=self._log,
        )
        catalogue.refresh()
        listed = catalogue.find(target_path(wanted.name, wanted.version))
        if listed is None:
            raise FetchError(
                f"the repository offers no {wanted.name} {wanted.version}", code="unknown_package"
            )
        summary = _summary(listed, wanted)
        self._check_size(summary)
        self._check_room(into, summary.bytes - size_of(into))

        def bring(*files: RemoteFile) -> None:
            missing = [file for file in files if not is_there(into, file, stop=stop)]
            done = sum(file.bytes for file in files) - sum(file.bytes for file in missing)
            self._check_room(
                into, sum(max(0, file.bytes - size_of(into, file.name)) for file in missing)
            )
            progress(done, summary.bytes)
            for file in missing:
                transfer.save(file, into, there=_counted(progress, done, summary.bytes))
                done += file.bytes

        first = remote_file(MANIFEST_FILE, listed)
        bring(first)
        files = [first, *signed_files(catalogue, _manifest(into, summary), summary, first)]
        keep_only(into, [file.name for file in files])
        bring(*files)

    def _check_size(self, summary: PackageSummary) -> None:
        if summary.bytes > self._limits.max_package_bytes:
            raise FetchError(
                f"{summary.name} {summary.version} has {summary.bytes} bytes; this device takes "
                f"packages of at most {self._limits.max_package_bytes}",
                code="package_too_large",
            )

    def _check_room(self, folder: Path, missing: int) -> None:
        with storing(folder):
            disk = os.statvfs(folder)
        free = disk.f_bavail * disk.f_frsize
        reserve = self._limits.reserve_bytes
        if missing > 0 and free < missing + reserve:
            raise FetchError(
                f"{missing} bytes are missing and {reserve} must remain free, but the disk has "
                f"{free}",
                code="disk_full",
            )


def _summary(listed: Listed, wanted: Wanted | Desired) -> PackageSummary:
    """What is signed of the package, if this agent can and shall serve it."""
    summary = signed_summary(listed, name=wanted.name, version=wanted.version)
    if wanted.digest is not None and wanted.digest != summary.digest:
        raise FetchError(
            f"the repository's {wanted.name} {wanted.version} is {summary.digest}, not "
            f"{wanted.digest}",
            code="wrong_digest",
        )
    check_supported(summary)
    return summary


def _manifest(folder: Path, summary: PackageSummary) -> Manifest:
    """The manifest, which is in the folder and is the one that was signed."""
    with storing(folder):
        raw = (folder / MANIFEST_FILE).read_bytes()
    return signed_manifest(raw, summary)


def _counted(progress: Progress, done: int, total: int) -> Callable[[int], None]:
    return lambda count: progress(done + count, total)
