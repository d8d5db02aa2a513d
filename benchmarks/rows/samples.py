"""Figures of a run, taken every few seconds, and what they come to."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass

_MIB = 1 << 20
# The first part of a run fills caches and pools: a slope is taken of the rest.
_WARM_UP = 0.5


@dataclass(frozen=True, slots=True)
class Sample:
    """A moment of the run.

    Attributes:
        time_ms: by the clock.
        seconds: since all devices were started.
        connected: devices.
        written: records that devices wrote so far.
        unsent: of these, not acknowledged by the broker.
        stored: rows in the database.
        resident: bytes, by part.
        cpu: share of a core since the sample before, by part.
    """

    time_ms: int
    seconds: float
    connected: int
    written: int
    unsent: int
    stored: int
    resident: dict[str, int]
    cpu: dict[str, float]

    @property
    def backlog(self) -> int:
        """Records that are written and not in the database."""
        return max(0, self.written - self.stored)

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {**asdict(self), "backlog": self.backlog}


def slope_mib_per_minute(samples: Sequence[Sample], part: str) -> float:
    """How fast a part's memory grows once it is warm: least squares."""
    warm = [s for s in samples if s.seconds >= _WARM_UP * samples[-1].seconds and s.resident[part]]
    if len({s.seconds for s in warm}) < 2:
        return 0.0
    slope = statistics.linear_regression(
        [s.seconds / 60 for s in warm], [s.resident[part] / _MIB for s in warm]
    ).slope
    return float(slope)


def quantile(values: Sequence[float], share: float) -> float:
    """The value that this share of them does not exceed; 0 of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0
