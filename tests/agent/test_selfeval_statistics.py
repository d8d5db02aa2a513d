"""Intervals and differences, against the workshop's and by hand."""

from __future__ import annotations

import random

import pytest

from edgeqa.telemetry_messages import Model
from edgeqa_agent.selfeval_memory import Result
from edgeqa_agent.selfeval_record import paired
from edgeqa_agent.selfeval_statistics import bootstrap_interval, percentile, wilson_interval
from edgeqa_models.evaluate import Tally
from edgeqa_models.significance import bootstrap_interval as workshop_interval
from edgeqa_models.significance import mcnemar, paired_difference

VALUES = [0.0, 0.0, 0.25, 0.4, 0.5, 0.6667, 0.8, 1.0, 1.0, 1.0]


def drawn(count: int, seed: int = 1) -> list[float]:
    return random.Random(seed).choices(VALUES, k=count)


def result(name: str, exact: str, f1: list[float]) -> Result:
    digest = f"sha256:{(name.encode().hex() * 64)[:64]}"
    return Result(
        model=Model(name=name, version="1.0.0", digest=digest),
        fingerprint="f",
        slice="s0000000000000000",
        index=0,
        of=1,
        exact=exact,
        f1=f1,
    )


@pytest.mark.parametrize(
    ("hits", "total", "low", "high"),
    [
        # Source: Newcombe 1998, Statistics in Medicine 17, table I, method 3.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (29, 29, 0.8830, 1.0000),
    ],
)
def test_wilson_gives_published_intervals(hits: int, total: int, low: float, high: float) -> None:
    assert wilson_interval(hits, total) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize("count", [20, 50, 400, 3000])
def test_bootstrap_agrees_with_that_of_the_workshop(count: int) -> None:
    values = drawn(count)
    low, high = workshop_interval(values)
    # Both are random: the ends of an interval of 10,000 resamples, here down to 1,000, scatter by
    # a few hundredths of its width.
    near = 0.06 * (high - low)
    assert bootstrap_interval(values) == pytest.approx((low, high), abs=near)


def test_bootstrap_is_the_same_each_time_and_rests_between_pieces() -> None:
    rests: list[None] = []
    first = bootstrap_interval(drawn(50), rest=lambda: rests.append(None))
    assert first == bootstrap_interval(drawn(50))
    assert len(rests) >= 200


def test_bootstrap_of_equal_values_and_of_none() -> None:
    assert bootstrap_interval([0.5] * 30) == (0.5, 0.5)
    assert bootstrap_interval([]) == (0.0, 0.0)


def test_percentiles_are_those_of_the_workshop() -> None:
    for count in (1, 2, 19, 20, 50, 101):
        tally = Tally(count)
        tally.times_ms = drawn(count)
        for share in (0.5, 0.95, 0.99):
            assert percentile(sorted(tally.times_ms), share) == tally.percentile_ms(share)


def test_paired_figures_by_hand() -> None:
    """Ten questions: two gained, one lost, one half better in F1."""
    old = result("old", "1110000000", [1, 1, 1, 0, 0, 0.5, 0, 0, 0, 0])
    new = result("new", "1100110000", [1, 1, 0, 0, 1, 1, 0.5, 0, 0, 0])
    got = paired(new, old, rest=lambda: None)
    assert got is not None
    assert got.previous.name == "old"
    assert got.questions == 10
    assert (got.exact_match_gained, got.exact_match_lost) == (2, 1)
    assert got.exact_match_difference == pytest.approx(10.0)  # (2 - 1) / 10
    assert got.f1_difference == pytest.approx(10.0)  # (-1 + 1 + 0.5 + 0.5) / 10
    low, high = got.f1_interval
    assert low < 0 < high


def test_paired_figures_are_those_of_the_workshop() -> None:
    old_f1, new_f1 = drawn(60, 1), drawn(60, 2)
    old = result("old", "".join(str(int(x == 1)) for x in old_f1), old_f1)
    new = result("new", "".join(str(int(x == 1)) for x in new_f1), new_f1)
    got = paired(new, old, rest=lambda: None)
    assert got is not None
    f1 = paired_difference(old_f1, new_f1)
    assert got.f1_difference == pytest.approx(100 * f1.mean, abs=1e-3)
    assert got.f1_interval == pytest.approx((100 * f1.low, 100 * f1.high), abs=1.5)
    exact = mcnemar([int(x) for x in old.exact], [int(x) for x in new.exact])
    assert (got.exact_match_gained, got.exact_match_lost) == (exact.gained, exact.lost)
    em = paired_difference([int(x) for x in old.exact], [int(x) for x in new.exact])
    assert got.exact_match_interval == pytest.approx((100 * em.low, 100 * em.high), abs=2.0)


def test_no_pair_without_a_model_before_or_with_too_few_common_questions() -> None:
    new = result("new", "1" * 30, [1.0] * 30)
    assert paired(new, None, rest=lambda: None) is None
    assert paired(new, result("old", "1" * 19, [1.0] * 19), rest=lambda: None) is None
    partly = paired(new, result("old", "1" * 20, [1.0] * 20), rest=lambda: None)
    assert partly is not None
    assert partly.questions == 20
