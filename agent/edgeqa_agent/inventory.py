"""Which packages are on the device, and what each is to it: decisions without the disk."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from edgeqa.manifest import MANIFEST_FILE, Package
from edgeqa.messages import ModelRef
from edgeqa.model_messages import StoredPackage
from edgeqa_agent.store_state import StoreState


@dataclass(frozen=True, slots=True)
class Entry:
    """A package on the device, by its manifest; its files are not verified."""

    ref: ModelRef
    path: Path
    bytes: int
    embedded: bool

    @classmethod
    def of(cls, package: Package) -> Entry:
        """The entry of a package in the store.

        Raises:
            OSError: its manifest cannot be looked at.
        """
        size = package.file(MANIFEST_FILE).stat().st_size
        size += sum(one.bytes for one in package.manifest.files.values())
        return cls(package.ref, package.path, size, embedded=False)


class Inventory:
    """The packages in the store and those of the installation, by digest."""

    def __init__(self, *, stored: Iterable[Entry], embedded: Iterable[Entry]) -> None:
        self._embedded = {entry.ref.digest: entry for entry in embedded}
        self._stored = {entry.ref.digest: entry for entry in stored}

    def get(self, digest: str) -> Entry | None:
        """A package; that of the installation if both have it."""
        return self._embedded.get(digest) or self._stored.get(digest)

    def add(self, entry: Entry) -> None:
        """It came into the store."""
        self._stored[entry.ref.digest] = entry

    def drop(self, entry: Entry) -> None:
        """It is gone, or cannot be read."""
        (self._embedded if entry.embedded else self._stored).pop(entry.ref.digest, None)

    def embedded(self) -> list[ModelRef]:
        """Those of the installation; the default first."""
        return [entry.ref for entry in self._embedded.values()]

    def stored_bytes(self) -> int:
        """What the packages in the store take."""
        return sum(entry.bytes for entry in self._stored.values())

    def current(self, state: StoreState) -> ModelRef | None:
        """The current package: that of the state, else the embedded default."""
        return state.current or next(iter(self.embedded()), None)

    def ways_back(self, state: StoreState) -> list[ModelRef]:
        """What a rollback goes to, best first: the previous package, the embedded default."""
        current = self.current(state)
        ways: list[ModelRef] = []
        for ref in (state.previous, *self.embedded()[:1]):
            if ref and ref != current and ref not in ways and self.get(ref.digest):
                ways.append(ref)
        return ways

    def matching(
        self, state: StoreState, name: str, version: str, digest: str | None
    ) -> list[ModelRef]:
        """Packages of a name and version, the ones used last first."""
        found = [
            ref
            for ref in {e.ref.digest: e.ref for e in self._all()}.values()
            if (ref.name, ref.version) == (name, version) and digest in {None, ref.digest}
        ]
        return sorted(found, key=lambda ref: _last_use(state, ref), reverse=True)

    def removable(self, state: StoreState, held: Collection[str]) -> list[Entry]:
        """Packages in the store that nothing needs, the ones not used for longest first."""
        kept = {ref.digest for ref in (state.current, state.previous) if ref} | set(held)
        free = [entry for digest, entry in self._stored.items() if digest not in kept]
        return sorted(free, key=lambda entry: _last_use(state, entry.ref))

    def listing(self, state: StoreState) -> list[StoredPackage]:
        """All packages: the current one, the previous one, then the others by name."""
        current = self.current(state)
        previous = next(iter(self.ways_back(state)), None)
        rows = [
            StoredPackage(
                model=entry.ref,
                role="active" if entry.ref == current
                else "previous" if entry.ref == previous
                else "stored",
                embedded=entry.embedded,
                bytes=entry.bytes,
            )
            for entry in self._all()
        ]  # fmt: skip
        order = ("active", "previous", "stored")
        return sorted(rows, key=lambda row: (order.index(row.role), *_by_version(row.model)))

    def _all(self) -> Iterable[Entry]:
        return {**self._stored, **self._embedded}.values()


def _last_use(state: StoreState, ref: ModelRef) -> int:
    # No times: a device boots without a clock.
    digests = [*state.recent, *(one.digest for one in (state.previous, state.current) if one)]
    return max((rank for rank, one in enumerate(digests) if one == ref.digest), default=-1)


def _by_version(ref: ModelRef) -> tuple[str, list[int], str]:
    return ref.name, [int(part) for part in ref.version.split(".")], ref.digest
