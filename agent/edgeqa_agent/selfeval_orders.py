"""When a device evaluates itself, and what it may be told to evaluate."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

# A device that was switched on tells soon how its model does; 10,000 that were switched on together
# do not tell all at once.
_FIRST_WITHIN_S = 600.0


@dataclass(frozen=True, slots=True)
class Routine:
    """What the settings say.

    Attributes:
        device: its name decides when in an interval it begins.
        questions: of a slice, at most.
        interval_s: from one evaluation to the next.
        timeout_s: for one.
    """

    device: str
    questions: int
    interval_s: float
    timeout_s: float

    @property
    def first_s(self) -> float:
        """From the start of the agent to the first evaluation."""
        digest = hashlib.sha256(self.device.encode()).digest()
        share = int.from_bytes(digest[:8], "big") / 2**64
        return share * min(self.interval_s, _FIRST_WITHIN_S)


@dataclass(frozen=True, slots=True)
class Order:
    """A command; `id` is its own, None where nobody waits for what comes of it."""

    size: int
    index: int | None
    id: str | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Of a slice among those of its set."""

    index: int
    of: int
