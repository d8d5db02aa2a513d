"""How long a model will take for a question, from what it took for others before."""

from __future__ import annotations

import math
from dataclasses import dataclass

# Of reading a text of no length, in characters: tokenising, the socket, the layers' fixed work.
_FIXED_CHARS = 100
# Characters of a check question with its text: the mean of the default packages' 29.
_CHECK_CHARS = 530
_NEWEST_SHARE = 0.2
# What was measured counts half after so long, against what the check questions took: a model that
# was slow in a bad moment must get the chance to show that it is not.
_HALF_LIFE_S = 60.0


@dataclass(slots=True)
class Speed:
    """Of one model on this device; a lock of the owner's guards it.

    Attributes:
        ms: mean time for a character; None before the first answer.
        at: `time.monotonic()` when it was measured last.
    """

    ms: float | None = None
    at: float = 0.0

    def learn(self, chars: int, took_ms: float, now: float) -> None:
        """A question with its text was answered."""
        newest = took_ms / (chars + _FIXED_CHARS)
        self.ms = newest if self.ms is None else self.ms + _NEWEST_SHARE * (newest - self.ms)
        self.at = now

    def expect_ms(self, chars: int, now: float, *, check_ms: float | None) -> float:
        """Time for a question with its text; 0 where nothing is known.

        Args:
            chars: of question and text.
            now: `time.monotonic()`.
            check_ms: what the model took for a check question, if that is known.
        """
        checked = None if check_ms is None else check_ms / (_CHECK_CHARS + _FIXED_CHARS)
        if self.ms is None or checked is None:
            return (self.ms or checked or 0.0) * (chars + _FIXED_CHARS)
        weight = math.pow(0.5, (now - self.at) / _HALF_LIFE_S)
        return (checked + weight * (self.ms - checked)) * (chars + _FIXED_CHARS)
