"""From instruction counts to a range of times on a Raspberry Pi 5. An estimate: nothing is timed.

A time is made of the fewest cycles in which a Cortex-A76 can issue what was counted, of the share
of that pace which it keeps, and of the weights, which come from memory once a window, as they are
larger than its caches. docs/pi5.md reasons about each assumption.
"""

from __future__ import annotations

from dataclasses import dataclass

# Raspberry Pi Ltd, "Raspberry Pi 5 product brief": 2.4 GHz, four cores.
HERTZ = 2.4e9
CORES = 4


@dataclass(frozen=True, slots=True)
class Assumed:
    """How well the board does.

    Attributes:
        pace: share of the issue limit that a core keeps.
        together: share of four times one core's pace that four cores keep.
        bandwidth: bytes/s, of a core and of all.
        hidden: whether reading the weights goes on beside computing.
    """

    pace: float
    together: float
    bandwidth: tuple[float, float]
    hidden: bool


QUICK = Assumed(pace=0.9, together=0.95, bandwidth=(8e9, 12e9), hidden=True)
LIKELY = Assumed(pace=0.7, together=0.85, bandwidth=(6e9, 9e9), hidden=True)
SLOW = Assumed(pace=0.5, together=0.7, bandwidth=(4e9, 6e9), hidden=False)


@dataclass(frozen=True, slots=True)
class Range:
    """Milliseconds."""

    quick: float
    likely: float
    slow: float


def estimate(cycles: float, weight_bytes: int, threads: int) -> Range:
    """For one window, with one thread or with four."""
    return Range(*(_time(cycles, weight_bytes, threads, a) for a in (QUICK, LIKELY, SLOW)))


def _time(cycles: float, weight_bytes: int, threads: int, assumed: Assumed) -> float:
    speed_up = 1.0 if threads == 1 else CORES * assumed.together
    computing = cycles / (HERTZ * assumed.pace * speed_up)
    reading = weight_bytes / assumed.bandwidth[0 if threads == 1 else 1]
    return 1000 * (max(computing, reading) if assumed.hidden else computing + reading)
