"""Intervals of shares, of quantiles and of differences, at 95 %. Pure, and without a library.

Each source is named at its formula; tests/cloud/rollout/test_judging.py measures how often each
interval covers what it is an interval of.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from edgeqa.histogram import SCALE, Histogram, upper_bound

Z = 1.959963984540054  # normal quantile of 97.5 %
_ALPHA = 0.05
_TAIL = _ALPHA / 2
# Beyond, the normal distribution is off by a rank at most.
_EXACT_UP_TO = 1000
_PER_DOUBLING = 1 << SCALE
Interval = tuple[float, float]


def wilson(hits: int, total: int) -> Interval:
    """Of a share, from 0 to 1; also where it is 0 or 1, or the total is small.

    Source: Wilson 1927, JASA 22; recommended by Brown, Cai and DasGupta 2001, Statistical Science
    16.
    """
    if total <= 0:
        return 0.0, 1.0
    share = hits / total
    weight = 1 + Z**2 / total
    centre = (share + Z**2 / (2 * total)) / weight
    half = Z / weight * math.sqrt(share * (1 - share) / total + Z**2 / (4 * total**2))
    return max(0.0, centre - half), min(1.0, centre + half)


def newcombe(hits: int, total: int, hits_before: int, total_before: int) -> Interval:
    """Of the difference between two independent shares.

    Source: Newcombe 1998, Statistics in Medicine 17:873-890, method 10.
    """
    after, before = hits / total, hits_before / total_before
    return difference(after, wilson(hits, total), before, wilson(hits_before, total_before))


def difference(
    value: float, interval: Interval, before: float, interval_before: Interval
) -> Interval:
    """Of the difference between two independent figures, from the interval of each.

    Source: Zou and Donner 2008, Statistics in Medicine 27:1693-1702 (MOVER); of two shares with
    Wilson's intervals it is Newcombe's method 10.
    """
    apart = value - before
    low = math.hypot(value - interval[0], interval_before[1] - before)
    high = math.hypot(interval[1] - value, before - interval_before[0])
    return apart - low, apart + high


def pooled(parts: Sequence[tuple[float, float, Interval]]) -> tuple[float, Interval]:
    """Of the weighted mean of independent figures.

    Args:
        parts: weight, figure and its interval; weights are above 0.

    Source: as `difference`, of weighted sums: Zou, Taleban and Huo 2009, Computational Statistics
    & Data Analysis 53:3755-3764.
    """
    total = math.fsum(weight for weight, _, _ in parts)
    value = math.fsum(weight * one for weight, one, _ in parts) / total
    below = _root(weight / total * (one - low) for weight, one, (low, _) in parts)
    above = _root(weight / total * (high - one) for weight, one, (_, high) in parts)
    return value, (value - below, value + above)


def rule_of_three(total: int) -> float:
    """The share that something may have which was never seen in so many trials; about 3 / total.

    Source: Hanley and Lippman-Hand 1983, JAMA 249:1743-1745; exact, one-sided.
    """
    return 1 - float(_ALPHA ** (1 / total)) if total > 0 else 1.0


def quantile_ranks(total: int, share: float) -> tuple[int, int]:
    """Ranks, from 1, of the ordered values between which a quantile lies; 0 and `total` + 1 are
    beyond the ends, as the upper one is for the 95th percentile of fewer than 73 values.

    Source: order statistics: David and Nagaraja 2003, Order Statistics, section 7.1. How many
    values lie below a quantile is binomial; of many values, it is taken as normal.
    """
    if total > _EXACT_UP_TO:
        middle, spread = total * share, Z * math.sqrt(total * share * (1 - share))
        return math.floor(middle - spread), math.ceil(middle + spread) + 1
    low, below = 0, _binomial(total, 0, share)
    while below <= _TAIL and low < total:
        low += 1
        below += _binomial(total, low, share)
    high, above = total + 1, 0.0
    while high > low + 1 and above + _binomial(total, high - 1, share) <= _TAIL:
        high -= 1
        above += _binomial(total, high, share)
    return low, high


def _binomial(total: int, hits: int, share: float) -> float:
    ways = math.lgamma(total + 1) - math.lgamma(hits + 1) - math.lgamma(total - hits + 1)
    return math.exp(ways + hits * math.log(share) + (total - hits) * math.log(1 - share))


def quantile_interval(histogram: Histogram, share: float) -> Interval | None:
    """Of a quantile of what a histogram's values were drawn from; None of an empty one.

    A value is known to within its bucket, whose bounds are taken. Above the highest value nothing
    is known: then the end is infinite.
    """
    if not histogram.count:
        return None
    low, high = quantile_ranks(histogram.count, share)
    bottom = 0.0 if low < 1 else _bucket_of_rank(histogram, low)[0]
    top = math.inf if high > histogram.count else _bucket_of_rank(histogram, high)[1]
    return bottom, top


def _bucket_of_rank(histogram: Histogram, rank: int) -> Interval:
    seen = 0
    for index, count in enumerate(histogram.counts):
        seen += count
        if seen >= rank:
            top = upper_bound(histogram.offset + index)
            return top / 2 ** (1 / _PER_DOUBLING), top
    raise ValueError(f"no value has rank {rank}")


def _root(parts: Iterable[float]) -> float:
    return math.hypot(*parts)
