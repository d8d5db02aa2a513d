"""Histograms: buckets as OpenTelemetry's, exact when merged, refused when contradictory."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from edgeqa.histogram import MAX_BUCKETS, Histogram, bucket_of, upper_bound

VALUES = st.lists(st.floats(0.001, 3_600_000, allow_nan=False), min_size=1, max_size=60)


def test_a_bucket_holds_its_upper_bound_and_not_its_lower() -> None:
    """OpenTelemetry: (base**i, base**(i+1)], base = 2**(1/8)."""
    assert upper_bound(bucket_of(1.0)) == 1.0
    assert bucket_of(1.0001) == bucket_of(1.0) + 1
    assert upper_bound(bucket_of(2.0)) == 2.0
    assert bucket_of(2.0) == bucket_of(1.0) + 8


@given(st.floats(0.001, 3_600_000))
def test_a_value_lies_in_its_bucket(value: float) -> None:
    bucket = bucket_of(value)
    assert value <= upper_bound(bucket) * (1 + 1e-12)
    assert value > upper_bound(bucket - 1) * (1 - 1e-12)


@given(VALUES, VALUES)
def test_merging_equals_measuring_together(ours: list[float], theirs: list[float]) -> None:
    merged = Histogram.merged([Histogram.of(ours), Histogram.of(theirs)])
    together = Histogram.of(ours + theirs)
    assert (merged.count, merged.offset, merged.counts) == (
        together.count,
        together.offset,
        together.counts,
    )
    assert merged.sum == pytest.approx(together.sum, abs=0.01)


@given(VALUES, st.sampled_from([0.5, 0.9, 0.95, 0.99, 1.0]))
def test_a_quantile_is_within_half_a_bucket(values: list[float], share: float) -> None:
    exact = sorted(values)[max(1, math.ceil(share * len(values))) - 1]
    found = Histogram.of(values).quantile(share)
    assert found == pytest.approx(exact, rel=0.0444)


def test_extremes_count_in_the_outermost_buckets() -> None:
    histogram = Histogram.of([0.0, -1.0, 1e-9, 1e12])
    assert histogram.count == 4
    assert len(histogram.counts) == MAX_BUCKETS
    assert (histogram.counts[0], histogram.counts[-1]) == (3, 1)


def test_an_empty_one_has_no_quantile_and_merges_to_nothing() -> None:
    empty = Histogram.of([])
    assert empty.quantile(0.5) is None
    one = Histogram.of([3.0])
    assert Histogram.merged([empty, one]) == one


def test_it_survives_the_wire() -> None:
    histogram = Histogram.of(random.Random(1).uniform(1, 500) for _ in range(1000))
    assert Histogram.model_validate_json(histogram.model_dump_json()) == histogram


@pytest.mark.parametrize(
    "fields",
    [
        {"count": 3, "sum": 1.0, "offset": 0, "counts": [1, 1]},
        {"count": 0, "sum": 1.0, "offset": 0, "counts": [1, -1]},
        {"count": 1, "sum": -1.0, "offset": 0, "counts": [1]},
        {"count": 1, "sum": math.nan, "offset": 0, "counts": [1]},
        {"count": 1, "sum": 1.0, "offset": 0, "counts": [1], "scale": 4},
        {"count": 1, "sum": 1.0, "offset": 9999, "counts": [1]},
        {"count": 2, "sum": 1.0, "offset": 175, "counts": [1, 1]},
        {"count": 0, "sum": 1.0, "offset": 0, "counts": [0] * (MAX_BUCKETS + 1)},
    ],
)
def test_one_that_contradicts_itself_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Histogram.model_validate(fields)
