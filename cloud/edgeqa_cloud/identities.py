"""The numbers of devices and of their boots in the database, and what is known of each boot.

What was read or made in a transaction is remembered only once that is committed (`commit`); one
that fails leaves nothing behind (`forget_new`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from sqlalchemy import Connection, select

from edgeqa_cloud.bulk import Upsert
from edgeqa_cloud.tables import boots, devices

# A fleet of 100,000 devices with some boots each; some 200 bytes an entry. Beyond it the memory
# begins anew.
_MOST = 400_000
# Values in one IN (…); SQLite's default bound was 999 for long.
_CHUNK = 900

BootKey = tuple[str, str]
_T = TypeVar("_T")


@dataclass(slots=True)
class Boot:
    """A boot in the database.

    Attributes:
        id: its key.
        device_id: of its device.
        epoch_ms: our time at its uptime 0, as far as this collector knows.
    """

    id: int
    device_id: int
    epoch_ms: int | None


_NEW_DEVICES = Upsert(devices, ("device", "first_seen_ms", "last_seen_ms"), key=("device",))
_NEW_BOOTS = Upsert(
    boots,
    ("device_id", "boot_id", "first_seen_ms", "last_seen_ms"),
    key=("device_id", "boot_id"),
)


class Identities:
    """What is remembered. Thread: the writer's."""

    def __init__(self, *, most: int = _MOST) -> None:
        self._most = most
        self._devices: dict[str, int] = {}
        self._boots: dict[BootKey, Boot] = {}
        self._new_devices: dict[str, int] = {}
        self._new_boots: dict[BootKey, Boot] = {}

    def device(self, name: str) -> int:
        """Of one that was resolved."""
        found = self._devices.get(name)
        return self._new_devices[name] if found is None else found

    def boot(self, key: BootKey) -> Boot:
        """Of one that was resolved."""
        return self._boots.get(key) or self._new_boots[key]

    def resolve(
        self,
        connection: Connection,
        *,
        seen_ms: Mapping[str, int],
        boots_seen_ms: Mapping[BootKey, int],
    ) -> None:
        """Read what is not remembered, and make what is not there.

        Args:
            connection: a writing transaction.
            seen_ms: devices, and when each was seen.
            boots_seen_ms: boots, by device and boot id; their devices are in `seen_ms`.
        """
        unknown = sorted(name for name in seen_ms if name not in self._devices)
        if unknown:
            rows = [(name, seen_ms[name], seen_ms[name]) for name in unknown]
            _NEW_DEVICES.run(connection, rows)
            for some in _chunks(unknown):
                query = select(devices.c.device, devices.c.id).where(devices.c.device.in_(some))
                self._new_devices.update((row[0], row[1]) for row in connection.execute(query))
        missing = sorted(key for key in boots_seen_ms if key not in self._boots)
        if missing:
            _NEW_BOOTS.run(
                connection,
                [
                    (self.device(key[0]), key[1], boots_seen_ms[key], boots_seen_ms[key])
                    for key in missing
                ],
            )
            self._read_boots(connection, missing)

    def learn_epochs(self, connection: Connection, keys: Iterable[BootKey]) -> None:
        """Look whether another collector knows the epoch of boots where this one does not."""
        unknown = {boot.id: boot for key in keys if (boot := self.boot(key)).epoch_ms is None}
        for some in _chunks(sorted(unknown)):
            query = select(boots.c.id, boots.c.epoch_ms).where(
                boots.c.id.in_(some), boots.c.epoch_ms.is_not(None)
            )
            for number, epoch_ms in connection.execute(query):
                unknown[number].epoch_ms = epoch_ms

    def commit(self) -> None:
        """The transaction was committed."""
        if len(self._devices) + len(self._boots) > self._most:
            self._devices.clear()
            self._boots.clear()
        self._devices.update(self._new_devices)
        self._boots.update(self._new_boots)
        self.forget_new()

    def forget_new(self) -> None:
        """The transaction was not committed."""
        self._new_devices = {}
        self._new_boots = {}

    def _read_boots(self, connection: Connection, keys: list[BootKey]) -> None:
        names = {self.device(name): name for name, _ in keys}
        wanted = set(keys)
        for some in _chunks(keys):
            query = select(boots.c.id, boots.c.device_id, boots.c.boot_id, boots.c.epoch_ms).where(
                boots.c.boot_id.in_({boot_id for _, boot_id in some}),
                boots.c.device_id.in_({self.device(name) for name, _ in some}),
            )
            for number, device_id, boot_id, epoch_ms in connection.execute(query):
                key = names[device_id], boot_id
                if key in wanted:
                    self._new_boots[key] = Boot(number, device_id, epoch_ms)


def _chunks(values: list[_T]) -> Iterable[list[_T]]:
    return (values[start : start + _CHUNK] for start in range(0, len(values), _CHUNK))
