"""Histograms of times that can be added up: base-2 exponential buckets, as OpenTelemetry has them.

The buckets are the same everywhere, so histograms of other minutes, devices and models are merged
by adding counts, and a percentile of the sum is as exact as one of a part: a value is known to
within 4.4 % (half a bucket of scale 3).

Source: OpenTelemetry metrics data model, "ExponentialHistogram", scale 3: bucket `i` holds the
values in `(2**(i/8), 2**((i+1)/8)]`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict, Field, model_validator

SCALE = 3
_PER_DOUBLING = 1 << SCALE
# From 1 microsecond, in milliseconds, to 2**22 ms, over an hour. Beyond, values count as the bound.
LOWEST = -10 * _PER_DOUBLING
_HIGHEST = 22 * _PER_DOUBLING - 1
MAX_BUCKETS = _HIGHEST - LOWEST + 1
_MAX_COUNT = 2**53


def bucket_of(value: float) -> int:
    """The bucket of a value; the lowest for 0 and less."""
    if value <= 0:
        return LOWEST
    index = math.ceil(math.log2(value) * _PER_DOUBLING) - 1
    return max(LOWEST, min(_HIGHEST, index))


def upper_bound(bucket: int) -> float:
    """The largest value that a bucket holds."""
    return float(2.0 ** ((bucket + 1) / _PER_DOUBLING))


class Histogram(BaseModel):
    """How values are spread.

    Attributes:
        scale: always 3 in this version of the contract.
        count: values.
        sum: of the values.
        offset: bucket of the first entry of `counts`.
        counts: values in each bucket from `offset` on. A value of 0 or less counts in the lowest.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    scale: int = Field(default=SCALE, ge=SCALE, le=SCALE)
    count: int = Field(ge=0, le=_MAX_COUNT)
    sum: float = Field(ge=0, le=_MAX_COUNT, description="Of all values.")
    offset: int = Field(ge=LOWEST, le=_HIGHEST)
    counts: list[int] = Field(max_length=MAX_BUCKETS)

    @model_validator(mode="after")
    def _adds_up(self) -> Histogram:
        check_sums(self)
        return self

    @classmethod
    def of(cls, values: Iterable[float]) -> Histogram:
        """Of values."""
        recorder = Recorder()
        for value in values:
            recorder.add(value)
        return recorder.histogram()

    @classmethod
    def merged(cls, parts: Iterable[Histogram]) -> Histogram:
        """Of all values of all parts."""
        recorder = Recorder()
        for part in parts:
            recorder.merge(part)
        return recorder.histogram()

    def quantile(self, share: float) -> float | None:
        """A value that this share of the values does not exceed, to within 4.4 %; None if empty.

        Args:
            share: 0 to 1.
        """
        rank = max(1, math.ceil(share * self.count))
        seen = 0
        for index, count in enumerate(self.counts):
            seen += count
            if seen >= rank:
                return float(2.0 ** ((self.offset + index + 0.5) / _PER_DOUBLING))
        return None


def check_sums(histogram: Histogram) -> None:
    """Whether a histogram, valid field by field, contradicts itself.

    Raises:
        ValueError: it does.
    """
    counts = histogram.counts
    if sum(counts) != histogram.count or min(counts, default=0) < 0:
        raise ValueError("the counts are negative or do not add up to `count`")
    if histogram.offset + len(counts) - 1 > _HIGHEST:
        raise ValueError(f"a bucket lies above {_HIGHEST}")


class Recorder:
    """Collects values into a histogram. Not safe to share between threads."""

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()
        self._sum = 0.0

    def add(self, value: float) -> None:
        """Count a value."""
        self._counts[bucket_of(value)] += 1
        self._sum += max(0.0, value)

    def merge(self, other: Histogram) -> None:
        """Count the values of another."""
        for index, count in enumerate(other.counts):
            if count:
                self._counts[other.offset + index] += count
        self._sum += other.sum

    def histogram(self) -> Histogram:
        """Of what was counted so far."""
        if not self._counts:
            return Histogram(count=0, sum=0.0, offset=0, counts=[])
        first, last = min(self._counts), max(self._counts)
        return Histogram(
            count=self._counts.total(),
            sum=round(self._sum, 3),
            offset=first,
            counts=[self._counts[index] for index in range(first, last + 1)],
        )
