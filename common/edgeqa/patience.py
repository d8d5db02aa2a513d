"""How long to leave alone what failed."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

# Full jitter below a doubling ceiling, as at reconnects. A collector that returns is noticed by the
# heartbeat before the longest of these is over; a record of each kind that is tried every ten
# minutes costs less than 0.5 MB a day.
BACKOFF_FIRST_S = 1.0
BACKOFF_MAX_S = 600.0
_MOST_DOUBLINGS = 16


@dataclass(slots=True)
class Patience:
    """With one thing that may fail again and again.

    Args:
        uniform: gives a number between two.

    Attributes:
        failures: since it last succeeded.
    """

    uniform: Callable[[float, float], float] = random.uniform
    failures: int = 0
    _until: float = 0.0

    def failed(self, now: float) -> None:
        """Leave it alone for a while, for longer than the last time."""
        ceiling = min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2**self.failures)
        self.failures = min(self.failures + 1, _MOST_DOUBLINGS)
        self._until = now + self.uniform(ceiling / 2, ceiling)

    def succeeded(self) -> None:
        """It works."""
        self.failures, self._until = 0, 0.0

    def hurry(self) -> None:
        """It may have got well: try at once."""
        self._until = 0.0

    def left_s(self, now: float) -> float:
        """Until the next try; 0 if it may be now."""
        return max(0.0, self._until - now)
