"""The packages on disk as the store uses them: taken out verified, put in whole, pruned."""

from __future__ import annotations

import threading
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from structlog.typing import FilteringBoundLogger

from edgeqa.errors import ModelLoadError, VerificationError
from edgeqa.manifest import MANIFEST_FILE, Package, open_package
from edgeqa.messages import ModelRef
from edgeqa_agent.inventory import Entry, Inventory
from edgeqa_agent.store_file import storing
from edgeqa_agent.store_folder import StoreFolder, read_embedded
from edgeqa_agent.store_state import StoreState


class Shelf:
    """The packages' folder and the inventory of it and of the installation.

    Attributes:
        lock: held for changes; not while files are hashed or deleted, which takes seconds.
        inventory: what there is.

    Thread: any. Who calls `take`, `stage`, `admit` or `tidy` must not hold the lock.
    """

    def __init__(
        self, disk: StoreFolder, *, embedded: Sequence[Path], log: FilteringBoundLogger
    ) -> None:
        self.lock = threading.RLock()
        self.inventory = Inventory(stored=disk.entries(), embedded=read_embedded(embedded, log))
        self._disk = disk
        self._log = log
        self.tidy()

    def take(self, ref: ModelRef) -> Package | None:
        """A package, if it is here and whole; else it is taken off the inventory.

        A damaged one in the store is removed as well. One that cannot be read is left: it may be
        readable at the next start.
        """
        with self.lock:
            entry = self.inventory.get(ref.digest)
        if entry is None:
            return None
        try:
            return _opened(entry)
        except (ModelLoadError, VerificationError) as error:
            self._log.error("package_damaged", **ref.model_dump(), reason=str(error))
            self._drop(entry, readable=not isinstance(error.__cause__, OSError))
            return None

    def admit(self, package: Package) -> Package:
        """Move a verified download to its place; only removed if its package is here.

        Raises:
            StoreError: it cannot be moved, and is still there; or not be made durable there.
        """
        here = self.take(package.ref)
        with self.lock, storing(f"{package.path} cannot be moved to its place"):
            if here:
                self._disk.throw(package.path)
            else:
                files = {MANIFEST_FILE, *package.manifest.files}
                here = replace(package, path=self._disk.adopt(package.path, package.ref, files))
                self.inventory.add(Entry.of(here))
                self._disk.settle()
        self.tidy()
        return here

    def prune(
        self,
        state: StoreState,
        *,
        held: Collection[str],
        fetching: Path | None,
        quota_bytes: int,
    ) -> int:
        """Throw away downloads other than `fetching`, then packages, until the rest fits the quota.

        Returns: bytes; they are free after `tidy`.
        Raises:
            StoreError: not possible; what was removed before is gone.
        """
        freed = 0
        with self.lock, storing("packages cannot be removed"):
            downloads = self._disk.staged()
            used = sum(downloads.values()) + self.inventory.stored_bytes()
            for path, size in downloads.items():
                if path != fetching and used - freed > quota_bytes:
                    freed += size if self._disk.throw(path) else 0
            for entry in self.inventory.removable(state, held):
                if used - freed > quota_bytes:
                    freed += entry.bytes if self._disk.throw(entry.path) else 0
                    self.inventory.drop(entry)
        return freed

    def tidy(self) -> None:
        """Delete what was thrown away."""
        self._disk.empty_trash()

    def _drop(self, entry: Entry, *, readable: bool) -> None:
        with self.lock:
            self.inventory.drop(entry)
            if entry.embedded or not readable:
                return
            try:
                self._disk.throw(entry.path)
            except OSError as error:
                self._log.warning("damage_not_removed", path=str(entry.path), reason=str(error))
        self.tidy()


def _opened(entry: Entry) -> Package:
    package = open_package(entry.path)
    if package.digest != entry.ref.digest:
        raise VerificationError(f"{entry.path}: its manifest was changed")
    return package
