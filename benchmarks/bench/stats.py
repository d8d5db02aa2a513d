"""Medians with their spread, of what was measured in turns."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Spread:
    """A median and its quartiles over `turns` values."""

    median: float
    low: float
    high: float
    turns: int


def spread(values: Iterable[float]) -> Spread | None:
    """None where there is no value."""
    ordered = sorted(values)
    if not ordered:
        return None
    return Spread(
        statistics.median(ordered), quantile(ordered, 0.25), quantile(ordered, 0.75), len(ordered)
    )


def quantile(ordered: Sequence[float], share: float) -> float:
    """Of sorted values; between two of them in proportion (numpy's default, Hyndman-Fan 7)."""
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def ratios(turns: Iterable[dict[str, float]], over: str, under: str) -> list[float]:
    """`over` by `under` in each turn in which both were measured."""
    return [turn[over] / turn[under] for turn in turns if turn.get(over) and turn.get(under)]
