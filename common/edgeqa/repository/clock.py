"""What time it is, for judging whether signatures have expired: never earlier than once known.

A Raspberry Pi has no clock that runs without power; it starts in the past until a server tells it
the time, and often none does. So the time of this version's making, and the latest at which the
repository's signatures were found valid, are taken as the least that it can be. A clock that is
ahead is believed, because one cannot tell it from a right one; docs/fetching.md says what follows.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from edgeqa.files import write_atomic

CLOCK_FILE = "clock.json"
# No device with this version lives before it; to be raised with each release.
MADE = datetime(2026, 11, 23, tzinfo=UTC)
# Flash wears by writing, and an hour more or less decides nothing here.
_KEEP_EVERY = timedelta(hours=1)
_LAST = datetime.max.replace(tzinfo=UTC)


class Clock:
    """The time, with a floor that survives restarts.

    Args:
        folder: where the floor is kept.
        system: seconds since 1970.
    """

    def __init__(self, folder: Path, *, system: Callable[[], float] = time.time) -> None:
        self._path = folder / CLOCK_FILE
        self._system = system
        self._kept = _read(self._path)
        self._floor = self._kept

    def now(self) -> datetime:
        """The system's time, or the floor if that is later; UTC."""
        try:
            system = datetime.fromtimestamp(self._system(), UTC)
        except (ValueError, OverflowError, OSError):
            system = _LAST  # it does not fit into a date
        return max(system, self._floor)

    def trust(self, moment: datetime) -> None:
        """Signatures were found valid at this moment: it will not be earlier again.

        Raises:
            OSError: the floor could not be written; it holds until the end of this process.
        """
        self._floor = max(self._floor, moment)
        if self._floor - self._kept >= _KEEP_EVERY:
            kept = _Kept(floor=self._floor)
            write_atomic(self._path, kept.model_dump_json().encode() + b"\n")
            self._kept = self._floor


class _Kept(BaseModel):
    """The file."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    floor: AwareDatetime


def _read(path: Path) -> datetime:
    """The floor that was kept; a file that is gone or damaged counts as none."""
    try:
        return max(MADE, _Kept.model_validate_json(path.read_bytes()).floor.astimezone(UTC))
    except (OSError, ValidationError, OverflowError):
        return MADE
