"""When a gap is asked for, and when it is given up. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from edgeqa_cloud.gap_finder import Gap

# The pause between two tries doubles up to this.
_LONGEST_PAUSE_MS = 86_400_000


class Step(Enum):
    """What to do about a gap now."""

    WAIT = auto()
    ASK = auto()
    LOSE = auto()


@dataclass(frozen=True, slots=True)
class AskingRules:
    """How gaps are asked for.

    Attributes:
        settle_ms: a record may take so long to get here.
        retry_ms: pause after the first time.
        tries: times that a gap is asked for.
    """

    settle_ms: int
    retry_ms: int
    tries: int

    def step(self, gap: Gap, *, held_from: int | None, online: bool, now_ms: int) -> Step:
        """Of one gap.

        Args:
            gap: open, with something still missing.
            held_from: the oldest record of the boot that the device can send again, if it said so.
            online: whether the device is there.
            now_ms: by our clock.
        """
        if now_ms - gap.found_ms < self.settle_ms:
            return Step.WAIT
        if held_from is not None and gap.still[-1][1] < held_from:
            return Step.LOSE
        if not online:
            return Step.WAIT
        if gap.asked_ms is None:
            return Step.ASK
        pause_ms = min(_LONGEST_PAUSE_MS, self.retry_ms * 2 ** min(gap.asked - 1, 30))
        if now_ms - gap.asked_ms < pause_ms:
            return Step.WAIT
        return Step.LOSE if gap.asked >= self.tries else Step.ASK
