"""The packages on the device and what it remembers of them: every change survives a power cut.

Packages are folders named by their content (`packages/NAME-VERSION-DIGEST`), and one small file,
replaced in one step, says which of them is current: docs/adr/0007. Whenever the power goes, the
next start finds the state of before a change or that of after it, and the packages it names.

Thread: any. Files are hashed without holding the lock, so that noting a command never waits for
that; what is being verified, loaded or fetched meanwhile is not pruned.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from structlog.typing import FilteringBoundLogger

from edgeqa.manifest import Package
from edgeqa.messages import Fault, ModelRef
from edgeqa.model_messages import StoredPackage
from edgeqa_agent.shelf import Shelf
from edgeqa_agent.store_file import StateFile, StoreError, storing
from edgeqa_agent.store_folder import StoreFolder
from edgeqa_agent.store_state import MAX_BOOT_ATTEMPTS, StoreState, WishRecord

__all__ = ["Store", "StoreError", "WishRecord"]


class Store:
    """The state folder of one agent."""

    def __init__(
        self,
        *,
        disk: StoreFolder,
        file: StateFile,
        state: StoreState,
        shelf: Shelf,
        quota_bytes: int,
        log: FilteringBoundLogger,
    ) -> None:
        self._disk = disk
        self._file = file
        self._state = state
        self._shelf = shelf
        self._inventory = shelf.inventory
        self._lock = shelf.lock
        self._quota_bytes = quota_bytes
        self._log = log
        # What prune must leave alone though the state does not name it, until the wish is over.
        self._held: set[str] = set()
        self._fetching: Path | None = None

    @classmethod
    def open(
        cls,
        folder: Path,
        *,
        embedded: Sequence[Path],
        quota_bytes: int,
        log: FilteringBoundLogger,
    ) -> Store:
        """Lock the folder, made where it is missing, and remove what a cut left half done.

        A damaged state file is set aside; the embedded default is then current.

        Args:
            folder: of this agent alone.
            embedded: packages of the installation; the first is the default.
            quota_bytes: what packages and downloads may take after `prune(keep_quota=True)`.
            log: for what was removed, skipped or given up.

        Raises:
            ConfigError: `state_locked`, another agent has it; `store_unusable`, not writable.
        """
        disk = StoreFolder.open(folder, log)
        try:
            file = StateFile(folder, log)
            state = file.open()
            shelf = Shelf(disk, embedded=embedded, log=log)
        except OSError as error:
            disk.close()
            raise disk.unusable(error) from error
        return cls(disk=disk, file=file, state=state, shelf=shelf, quota_bytes=quota_bytes, log=log)

    def close(self) -> None:
        """Let another agent have the folder; idempotent."""
        self._disk.close()

    @property
    def state(self) -> StoreState:
        """As it is on disk."""
        return self._state

    def boot_order(self) -> Iterator[Package]:
        """What to try at a start, best first: current, previous, the embedded ones.

        Each is verified when it is its turn. One that is damaged or gone is forgotten; one that was
        begun `MAX_BOOT_ATTEMPTS` times and never became ready is given up, unless there is nothing
        else. From one that is given out here and then does not load, the caller must `step_back`.
        """
        tried = set()
        for ref in (self._state.current, self._state.previous):
            if ref is None or ref.digest in tried or self._gives_up(ref):
                continue
            if package := self._shelf.take(ref):
                tried.add(ref.digest)
                yield package
            else:
                self._forget(ref)
        for ref in self._inventory.embedded():
            if ref.digest not in tried and (package := self._shelf.take(ref)):
                yield package

    def loading(self, package: Package) -> None:
        """A load begins; counted, so that one that takes the device down is not tried for ever.

        Raises:
            StoreError: it cannot be noted.
        """
        with self._lock:
            self._held.add(package.digest)
            self._save(self._state.beginning(package.digest))

    def ready(self, package: Package) -> None:
        """Its load is over: it is proven, or was refused and the device lived on.

        Raises:
            StoreError: it cannot be noted.
        """
        with self._lock:
            self._save(self._state.ready(package.digest))

    def find(self, name: str, version: str, digest: str | None) -> Package | None:
        """A package on the device, verified; one that turns out damaged is removed.

        Args:
            name: as in its manifest.
            version: as in its manifest.
            digest: None: any; then the current one is preferred, then the one used last.
        """
        with self._lock:
            refs = self._inventory.matching(self._state, name, version, digest)
            self._held.update(ref.digest for ref in refs)
        return next((package for ref in refs if (package := self._shelf.take(ref))), None)

    def staging(self, name: str, version: str) -> Path:
        """The folder to fetch a package into, with what an earlier try left; any other is removed.

        Raises:
            StoreError: it cannot be made.
        """
        with self._lock, storing(f"no folder for {name} {version}"):
            self._fetching = path = self._disk.stage(name, version)
        self._shelf.tidy()
        return path

    def admit(self, staging: Path) -> Package:
        """Verify what was fetched and move it to its place.

        What the manifest does not list is removed. A package that is not whole is removed
        altogether, so that the next try does not stumble over the same fault.

        Raises:
            ModelLoadError: no package (`package_malformed`).
            VerificationError: not what its manifest says, or not what the folder was made for.
            StoreError: it cannot be moved; it is still there.
        """
        try:
            package = self._disk.verified(staging)
        finally:
            self._shelf.tidy()
        with self._lock:
            self._held.add(package.digest)
        return self._shelf.admit(package)

    def activate(self, package: Package, wish: WishRecord | None) -> None:
        """Make a proven package the current one, and the current one previous, in one step.

        Args:
            package: one of this store.
            wish: what is noted in the same step; None: what was noted stays.

        Raises:
            StoreError: it is not on the device (any more), or cannot be noted.
        """
        with self._lock:
            if self._inventory.get(package.digest) is None:
                raise StoreError(f"{package.path} is not a package of this device")
            self._save(self._state.activated(package.ref, wish))
            self._held.clear()

    def step_back(self, *, reason: Fault) -> None:
        """Give the current package up for `previous_ref`, in one step.

        It is noted as given up, and the wish that brought it as rolled back.

        Raises:
            StoreError: `nothing_to_roll_back`, or it cannot be noted.
        """
        with self._lock:
            current = self._inventory.current(self._state)
            if current is None or not self._inventory.ways_back(self._state):
                raise StoreError("there is no model to go back to", code="nothing_to_roll_back")
            state = self._state
            if state.previous and self._inventory.get(state.previous.digest) is None:
                state = state.forgotten(state.previous.digest)
            self._save(state.abandoned(current, reason))
        self._log.warning("package_given_up", **current.model_dump(), code=reason.code)

    def previous_ref(self) -> ModelRef | None:
        """What a rollback would go to: the previous package, else the embedded default."""
        with self._lock:
            return next(iter(self._inventory.ways_back(self._state)), None)

    def previous_package(self) -> Package | None:
        """What a rollback goes to, verified; one that turns out damaged is removed."""
        with self._lock:
            refs = self._inventory.ways_back(self._state)
        return next((package for ref in refs if (package := self._shelf.take(ref))), None)

    def record_wish(self, record: WishRecord) -> None:
        """Note what became of the wish followed last; it is over.

        Raises:
            StoreError: it cannot be noted.
        """
        with self._lock:
            self._held.clear()
            self._fetching = None
            self._save(self._state.wished(record))

    def rest(self) -> None:
        """Nothing is being fetched or loaded any more: `prune` may take what was."""
        with self._lock:
            self._candidate = self._fetching = None

    def accept_command(self, number: int) -> bool:
        """Whether a command is a new one; noted, so that it is new only once.

        Raises:
            StoreError: it cannot be noted; it must not be obeyed.
        """
        with self._lock:
            if number <= self._state.command_number:
                return False
            self._save(self._state.commanded(number))
            return True

    def packages(self) -> list[StoredPackage]:
        """All packages: the current one, the previous one, then the others by name."""
        with self._lock:
            return self._inventory.listing(self._state)

    def prune(self, *, keep_quota: bool) -> int:
        """Remove what nothing needs: unfinished downloads, then packages by their last use.

        Args:
            keep_quota: only as much as is needed to get down to the quota.

        Returns: bytes.
        Raises:
            StoreError: not all could be removed.
        """
        quota_bytes = self._quota_bytes if keep_quota else -1
        try:
            with self._lock:
                return self._shelf.prune(
                    self._state, held=self._held, fetching=self._fetching, quota_bytes=quota_bytes
                )
        finally:
            self._shelf.tidy()

    def _gives_up(self, ref: ModelRef) -> bool:
        attempts = self._state.attempts(ref.digest)
        with self._lock:
            if attempts < MAX_BOOT_ATTEMPTS or not self._inventory.ways_back(self._state):
                return False
            self._log.warning("package_given_up", **ref.model_dump(), attempts=attempts)
            message = f"{ref.name} {ref.version} was loaded {attempts} times and never was ready"
            reason = Fault(code="model_keeps_dying", message=message)
            self._save_if_possible(self._state.abandoned(ref, reason))
        return True

    def _forget(self, ref: ModelRef) -> None:
        with self._lock:
            self._log.warning("package_forgotten", **ref.model_dump())
            self._save_if_possible(self._state.forgotten(ref.digest))

    def _save(self, state: StoreState) -> None:
        if state != self._state:
            self._file.write(state)
            self._state = state

    def _save_if_possible(self, state: StoreState) -> None:
        # At a start: a disk that is full or read-only must not keep a model from serving.
        try:
            self._save(state)
        except StoreError as error:
            self._log.error("state_not_saved", reason=str(error))
