"""How sure a score is, and whether one model is better than another on the same questions.

Questions are resampled as if each was drawn by itself. Those of one text are not quite that, so
an interval over other texts would be somewhat wider.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 10_000  # Source: Efron and Tibshirani 1993, ch. 13: at least 1,000 for percentiles
CONFIDENCE = 0.95
_AT_ONCE = 500  # resamples held in memory together: 40 MB where 10,000 values all differ
_SEED = 0


@dataclass(frozen=True, slots=True)
class Difference:
    """Mean of paired differences with its interval, in the unit of what was compared."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class McNemar:
    """McNemar's exact test.

    Attributes:
        gained: questions that only the other model answers exactly.
        lost: questions that only the first does.
        p: probability of so uneven a split, or a more uneven one, if both were equally good.
    """

    gained: int
    lost: int
    p: float


def bootstrap_interval(values: Sequence[float]) -> tuple[float, float]:
    """95 % percentile bootstrap interval of the mean; (0, 0) of nothing.

    The resamples of n values with k distinct ones are drawn as counts of a multinomial
    distribution with n trials and the values' shares: the same distribution as drawing n
    questions with replacement, k instead of n random numbers each.

    Source:
        Efron and Tibshirani 1993, An Introduction to the Bootstrap, section 13.3.
    """
    if not len(values):
        return 0.0, 0.0
    distinct, counts = np.unique(np.asarray(values, np.float64), return_counts=True)
    total = int(counts.sum())
    generator = np.random.default_rng(_SEED)
    means = np.concatenate(
        [
            generator.multinomial(total, counts / total, size=_AT_ONCE) @ distinct / total
            for _ in range(RESAMPLES // _AT_ONCE)
        ]
    )
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)


def paired_difference(first: Sequence[float], other: Sequence[float]) -> Difference:
    """Mean of other - first over the same questions, with its paired bootstrap interval.

    An interval without 0 says that the models differ at the 5 % level.

    Raises:
        ValueError: they are not of the same questions.

    Source:
        Koehn 2004, Statistical significance tests for machine translation evaluation: resample
        questions, not scores, so that both models meet the same ones.
    """
    pairs = [b - a for a, b in zip(first, other, strict=True)]
    low, high = bootstrap_interval(pairs)
    return Difference(sum(pairs) / max(1, len(pairs)), low, high)


def mcnemar(first: Sequence[float], other: Sequence[float]) -> McNemar:
    """McNemar's exact test of two models' exact matches (0 or 1) on the same questions.

    Of the n = gained + lost questions that only one of them answers, each falls to either with
    probability 1/2 if both are equally good: p = min(1, 2 * sum_{i <= min} C(n, i) / 2^n).

    Source:
        McNemar 1947, Psychometrika 12; the exact form: Dietterich 1998, Neural Computation 10,
        and Fagerland et al. 2013, BMC Medical Research Methodology 13:91.
    """
    gained = sum(b > a for a, b in zip(first, other, strict=True))
    lost = sum(a > b for a, b in zip(first, other, strict=True))
    trials = gained + lost
    tail = sum(math.comb(trials, i) for i in range(min(gained, lost) + 1))
    return McNemar(gained, lost, min(1.0, 2 * tail / 2**trials))
