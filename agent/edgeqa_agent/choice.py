"""Which of two models a question goes to: the better one, unless something speaks against it.

Pure. What speaks against it has a memory, so that the choice does not flap: a *gate* goes over at
its high mark at once, and comes back only after it has been at or below its low mark for a while.
Where it goes over again soon after that, as under a load that only the quicker model bears, it
stays over twice as long, and so on up to a bound.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from edgeqa.choice_reason import Reason
from edgeqa.messages import Quality

# Most that the time for which a gate stays over grows, in the time that it is set to.
MOST_HOLDS = 8


@dataclass(frozen=True, slots=True)
class Marks:
    """When a gate goes over, and when it comes back.

    Attributes:
        high: it goes over here or above.
        low: it comes back here or below; less than `high`.
        hold_s: after that long, if it was there all the time.
    """

    high: float
    low: float
    hold_s: float


@dataclass(frozen=True, slots=True)
class Gate:
    """Whether a measure is over its marks.

    Attributes:
        changed_at: when it last went over or came back.
        hold_s: how long it stays over at least, this time or, where it is back, the last time.
        low_since: since when it is at its low mark or below; None: it is not, or is not over.
    """

    over: bool = False
    changed_at: float = -math.inf
    hold_s: float = 0.0
    low_since: float | None = None

    def at(self, now: float, value: float | None, marks: Marks) -> Gate:
        """The gate after a look at its measure; None: that is not known, and counts as low."""
        if not self.over:
            return self if value is None or value < marks.high else self._gone_over(now, marks)
        if value is not None and value > marks.low:
            return replace(self, low_since=None)
        since = now if self.low_since is None else self.low_since
        if now - self.changed_at >= self.hold_s and now - since >= marks.hold_s:
            return Gate(over=False, changed_at=now, hold_s=self.hold_s)
        return replace(self, low_since=since)

    def _gone_over(self, now: float, marks: Marks) -> Gate:
        hold_s = marks.hold_s
        if now - self.changed_at < self.hold_s:
            hold_s = min(2 * self.hold_s, MOST_HOLDS * marks.hold_s)
        return Gate(over=True, changed_at=now, hold_s=hold_s)


@dataclass(frozen=True, slots=True)
class Limits:
    """Of the requests waiting and running, and of the processor's temperature."""

    load: Marks
    heat: Marks


@dataclass(frozen=True, slots=True)
class Pressure:
    """What speaks against the better model at present."""

    load: Gate = Gate()
    heat: Gate = Gate()

    def at(self, now: float, limits: Limits, *, depth: int, celsius: float | None) -> Pressure:
        """The pressure after a look at the queue and the thermometer."""
        load = self.load.at(now, depth, limits.load)
        heat = self.heat.at(now, celsius, limits.heat)
        return self if load is self.load and heat is self.heat else Pressure(load, heat)


@dataclass(frozen=True, slots=True)
class Times:
    """When an answer is wanted and when each model would have it, milliseconds from now."""

    wanted: float
    better: float
    quicker: float

    @property
    def late(self) -> bool:
        """Whether the better model would be late, and the other one would be earlier."""
        return self.better > self.wanted and self.quicker < self.better


def choose(
    pressure: Pressure, *, quality: Quality | None, times: Times | None
) -> tuple[bool, Reason]:
    """Whether the quicker of two models shall answer, and why the chosen one does.

    Args:
        pressure: at present.
        quality: as the question says it.
        times: None where the question has no deadline.
    """
    if quality in {"fast", "best"}:
        return quality == "fast", Reason.ASKED
    if pressure.heat.over:
        return True, Reason.HEAT
    if pressure.load.over:
        return True, Reason.LOAD
    if times is not None and times.late:
        return True, Reason.DEADLINE
    return False, Reason.CALM
