"""When the next question of an evaluation may be asked.

Not while others ask or asked a moment ago, not while the processor is hot, and not before the
question before has been idled off: one that took 50 ms at a share of 0.1 is followed by 450 ms of
nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

# A board cools down in tens of seconds.
_COOLING_S = 5.0
# While questions of others are under way: they take some ten milliseconds.
_BUSY_S = 0.02


@dataclass(frozen=True, slots=True)
class Budget:
    """What the settings allow.

    Attributes:
        idle_s: without questions of others.
        cpu_share: of one core.
        max_celsius: of the processor.
    """

    idle_s: float
    cpu_share: float
    max_celsius: float


class Pace:
    """Says how long to wait.

    Args:
        budget: what is allowed.
        quiet_s: since when there have been no questions of others; 0 while one is under way.
        celsius: temperature of the processor; None where it is not known.
        clock: seconds that are never set back.
    """

    def __init__(
        self,
        budget: Budget,
        *,
        quiet_s: Callable[[], float],
        celsius: Callable[[], float | None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._budget = budget
        self._quiet_s = quiet_s
        self._celsius = celsius
        self._clock = clock
        self._paid_at = clock()
        self._looked_at = clock() - _COOLING_S
        self._hot = False

    def spend(self, seconds: float) -> None:
        """So much processor time was taken, until now."""
        self._paid_at = self._clock() + seconds * (1 / self._budget.cpu_share - 1)

    def wait_s(self) -> float:
        """How long to wait before looking again; 0: ask."""
        now = self._clock()
        if now < self._paid_at:
            return self._paid_at - now
        quiet_s = self._quiet_s()
        if quiet_s <= 0 or quiet_s < self._budget.idle_s:
            return max(_BUSY_S, self._budget.idle_s - quiet_s)
        if now - self._looked_at >= _COOLING_S:
            celsius = self._celsius()
            self._hot = celsius is not None and celsius > self._budget.max_celsius
            self._looked_at = now
        return max(_BUSY_S, _COOLING_S - (now - self._looked_at)) if self._hot else 0.0
