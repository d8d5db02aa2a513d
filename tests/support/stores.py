"""State folders with packages in them, and stores that do not wait for the disk."""

from __future__ import annotations

import hashlib
import os
from collections.abc import MutableMapping, Sequence
from pathlib import Path
from typing import Any

import structlog
from structlog.testing import LogCapture

from edgeqa.manifest import Package, open_package
from edgeqa_agent.store import Store
from support.kill_store import QUOTA_BYTES, fetch
from support.repository import make_package

Events = Sequence[MutableMapping[str, Any]]


class Device:
    """A state folder, the installation's packages, and others to fetch.

    Attributes:
        events: what its stores logged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "state"
        self.source = folder / "source"
        self.embedded = [make_package(folder / "embedded", "base", "0.1.0")]
        self._capture = LogCapture()

    @property
    def events(self) -> list[str]:
        return [str(entry["event"]) for entry in self._capture.entries]

    def open(self, *, quota_bytes: int = QUOTA_BYTES) -> Store:
        log = structlog.wrap_logger(
            None, processors=[self._capture], wrapper_class=structlog.make_filtering_bound_logger(0)
        )
        return Store.open(self.folder, embedded=self.embedded, quota_bytes=quota_bytes, log=log)

    def package(self, version: str, name: str = "tiny") -> Path:
        """One to fetch."""
        path = self.source / f"{name}-{version}"
        return path if path.exists() else make_package(self.source, name, version)

    def bring(self, store: Store, version: str, name: str = "tiny") -> Package:
        """Fetch it into the store."""
        staging = store.staging(name, version)
        fetch(self.package(version, name), staging)
        return store.admit(staging)

    def use(self, store: Store, version: str, name: str = "tiny") -> Package:
        """Fetch it, and make it the current one."""
        package = self.bring(store, version, name)
        store.activate(package, None)
        return package

    def names(self, part: str = "packages") -> set[str]:
        """What lies in a part of the folder."""
        return {path.name for path in (self.folder / part).iterdir()}

    def versions(self) -> list[str]:
        """What is in the store, by folder; every one must be whole."""
        return sorted(
            open_package(path).manifest.version for path in (self.folder / "packages").iterdir()
        )


def flip_a_bit(path: Path) -> None:
    """What an old SD card does."""
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)


def digest_of(path: Path) -> str:
    """The digest of a package's folder."""
    return f"sha256:{hashlib.sha256((path / 'manifest.json').read_bytes()).hexdigest()}"


def not_synced(_handle: int) -> None:
    """For `os.fsync`: what a test writes need not survive the machine."""
    assert os.fstat(_handle)
