"""Killing parts at random, by a seed, and starting them again."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from rows.parts import Part


@dataclass
class Killer:
    """Ends processes with `kill -9`.

    Attributes:
        parts: that may be killed; those whose names begin alike are chosen as one kind, so that
            many agents do not save the broker.
        rng: chooses.
        pause_s: between kills, at most; after each, a part stays away for as long at most.
    """

    parts: Sequence[Part]
    rng: random.Random
    pause_s: float
    away_s: float
    kills: Counter[str] = field(default_factory=Counter)

    def run(self, kills: int, told: Callable[[int], None] = lambda _: None) -> None:
        """Kill so many times, each kind once before any twice; all parts run afterwards."""
        kinds = sorted({kind_of(part) for part in self.parts})
        queue: list[str] = []
        for done in range(kills):
            time.sleep(self.rng.uniform(0.1, 1.0) * self.pause_s)
            if not queue:
                queue = self.rng.sample(kinds, len(kinds))
            kind = queue.pop()
            part = self.rng.choice([one for one in self.parts if kind_of(one) == kind])
            self.kills[kind] += 1
            part.kill()
            time.sleep(self.rng.uniform(0.0, 1.0) * self.away_s)
            # Without waiting: the next may be killed while this one starts.
            part.spawn()
            told(done + 1)


def kind_of(part: Part) -> str:
    """`agent` of `agent-2`."""
    return part.name.partition("-")[0]
