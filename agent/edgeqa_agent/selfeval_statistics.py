"""How sure the scores of an evaluation are, and whether one model is better than the one before.

Pure Python, as the agent's main process has no numpy; `edgeqa_models.significance` is the same in
the workshop. The work is done in small pieces with a rest after each, because it holds the
interpreter's lock that answers to others need.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence

# Resamples for so few values that they are cheap, at least for many, and draws altogether between.
# Source: Efron and Tibshirani 1993, ch. 13: at least 1,000 for the ends of an interval.
RESAMPLES, _MIN_RESAMPLES, _DRAWS = 10_000, 1_000, 1_000_000
# Draws of one piece: well under a millisecond, a fifth of the time after which Python would take
# the lock away (`sys.getswitchinterval`).
_PIECE_DRAWS = 2_000
_TAIL = 0.025  # of a 95 % interval, at each end
_Z = 1.959963984540054  # its normal quantile
_SEED = 0

Rest = Callable[[], None]


def wilson_interval(hits: int, total: int) -> tuple[float, float]:
    """95 % interval of a share, from 0 to 1; also where it is 0 or 1, or the total is small.

    Source: Wilson 1927, JASA 22; recommended by Brown, Cai and DasGupta 2001, Statistical
    Science 16.
    """
    if total <= 0:
        return 0.0, 1.0
    share = hits / total
    weight = 1 + _Z**2 / total
    centre = (share + _Z**2 / (2 * total)) / weight
    half = _Z / weight * math.sqrt(share * (1 - share) / total + _Z**2 / (4 * total**2))
    return max(0.0, centre - half), min(1.0, centre + half)


def bootstrap_interval(
    values: Sequence[float], *, rest: Rest = lambda: None
) -> tuple[float, float]:
    """95 % percentile bootstrap interval of the mean; the same of the same values.

    Args:
        values: one of each question; paired differences for a comparison, so that both models meet
            the same questions in each resample.
        rest: called after each piece of work.

    Source:
        Efron and Tibshirani 1993, An Introduction to the Bootstrap, section 13.3; for pairs Koehn
        2004, Statistical significance tests for machine translation evaluation.
    """
    count = len(values)
    if not count:
        return 0.0, 0.0
    if min(values) == max(values):
        return values[0], values[0]
    generator = random.Random(_SEED)  # noqa: S311  a resample, not a secret
    resamples = min(RESAMPLES, max(_MIN_RESAMPLES, _DRAWS // count))
    means = []
    drawn = 0
    for _ in range(resamples):
        means.append(math.fsum(generator.choices(values, k=count)) / count)
        drawn += count
        if drawn >= _PIECE_DRAWS:
            drawn = 0
            rest()
    means.sort()
    return _quantile(means, _TAIL), _quantile(means, 1 - _TAIL)


def percentile(ordered: Sequence[float], share: float) -> float:
    """Nearest-rank percentile of ordered values, as `edgeqa models evaluate` gives it."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def _quantile(ordered: Sequence[float], share: float) -> float:
    """Interpolated, as `numpy.quantile` does by default."""
    place = share * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)
