"""Gates: how often intervals cover the truth, examples by hand, and figures that make no sense."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeqa.histogram import Histogram
from edgeqa_cloud.rollout.judging import judge
from edgeqa_cloud.rollout.model import (
    DeviceServed,
    Evidence,
    GateResult,
    PairedScore,
    Served,
    Tally,
)
from edgeqa_cloud.rollout.spec import RolloutGates
from edgeqa_cloud.rollout.states import GateStatus
from edgeqa_cloud.rollout.statistics import (
    Z,
    newcombe,
    pooled,
    quantile_interval,
    quantile_ranks,
    rule_of_three,
    wilson,
)

PASSED, BREACHED = GateStatus.PASSED, GateStatus.BREACHED
UNDECIDED, NO_DATA = GateStatus.UNDECIDED, GateStatus.NO_DATA
NOBODY = Tally(0, 0, 0, 0, 0)


def evidence(**fields: Any) -> Evidence:
    return Evidence(**{"stage": 0, "gathered_ms": 0, "stage_tally": NOBODY,
                       "rollout_tally": NOBODY} | fields)  # fmt: skip


def score(
    difference: float, half: float = 3.0, *, device: int = 1, part: str = "s1", questions: int = 200
) -> PairedScore:
    interval = difference - half, difference + half
    return PairedScore(device, "f", part, questions, difference, interval, difference, interval)


def judged(gate: str, limits: dict[str, Any] | None = None, **fields: Any) -> GateResult:
    """One gate alone."""
    others: dict[str, Any] = dict.fromkeys(RolloutGates.model_fields)
    gates = RolloutGates.model_validate(others | {gate: limits or {}})
    (result,) = judge(gates, evidence(**fields))
    assert result.gate == gate
    return result


def served(before: Served | None, after: Served | None, device: int = 1) -> DeviceServed:
    return DeviceServed(device, before, after)


def serving(answered: int = 100, failed: int = 0, **fields: Any) -> Served:
    return Served(**{"answered": answered, "failed": failed, "latency": None,
                     "resident_bytes": None, "temperature_celsius": None} | fields)  # fmt: skip


# Intervals.


def test_wilsons_interval_is_that_of_the_paper() -> None:
    # Newcombe 1998, Statistics in Medicine 17:857-872, table I: 81/263, 15/148, 0/20, 1/29.
    for hits, total, expected in [
        (81, 263, (0.2553, 0.3662)),
        (15, 148, (0.0624, 0.1605)),
        (0, 20, (0.0, 0.1611)),
        (1, 29, (0.0061, 0.1718)),
    ]:
        assert wilson(hits, total) == pytest.approx(expected, abs=5e-5)


def test_newcombes_interval_is_that_of_the_paper() -> None:
    # Newcombe 1998, Statistics in Medicine 17:873-890, table II, method 10.
    for case, expected in [
        ((56, 70, 48, 80), (0.0524, 0.3339)),
        ((9, 10, 3, 10), (0.1705, 0.8090)),
        ((5, 56, 0, 29), (-0.0381, 0.1926)),
        ((10, 10, 0, 20), (0.6791, 1.0)),
    ]:
        assert newcombe(*case) == pytest.approx(expected, abs=5e-5)


def test_nothing_seen_in_n_trials_may_be_three_in_n() -> None:
    assert rule_of_three(100) == pytest.approx(0.0295, abs=1e-4)
    assert rule_of_three(1) == 0.95
    assert rule_of_three(0) == 1.0


def test_weights_of_a_pool_are_its_questions() -> None:
    value, (low, high) = pooled([(100, 0.0, (-4.0, 4.0)), (300, -8.0, (-10.0, -5.0))])
    assert value == -6.0
    assert low == pytest.approx(-6 - math.hypot(1.0, 1.5))
    assert high == pytest.approx(-6 + math.hypot(1.0, 2.25))


@pytest.mark.parametrize("total", [50, 73, 100, 500, 5000])
def test_order_statistics_cover_the_95th_percentile(total: int) -> None:
    """Exactly: it is covered where `low` to `high` - 1 values are below it."""
    low, high = quantile_ranks(total, 0.95)
    covered = math.fsum(
        math.exp(
            math.lgamma(total + 1) - math.lgamma(k + 1) - math.lgamma(total - k + 1)
            + k * math.log(0.95) + (total - k) * math.log(0.05)
        )
        for k in range(low, high)
    )  # fmt: skip
    assert 0.95 <= covered <= 0.985 or total < 73
    assert covered >= 0.949
    assert (high > total) == (total < 73)


def test_newcombe_covers_the_difference() -> None:
    chance = random.Random(1)
    for share, before, total in [(0.02, 0.02, 200), (0.1, 0.05, 80), (0.0, 0.01, 500)]:
        covered = 0
        for _ in range(400):
            hits = sum(chance.random() < share for _ in range(total))
            hits_before = sum(chance.random() < before for _ in range(total))
            low, high = newcombe(hits, total, hits_before, total)
            covered += low <= share - before <= high
        assert 0.92 <= covered / 400 <= 1.0


def device_score(chance: random.Random, part: str, questions: int, true: float, spread: float,
                 ) -> PairedScore:  # fmt: skip
    """What a device would measure: paired differences and their interval."""
    some = [chance.gauss(true, spread) for _ in range(questions)]
    mean = math.fsum(some) / questions
    deviation = math.sqrt(math.fsum((one - mean) ** 2 for one in some) / (questions - 1))
    half = Z * deviation / math.sqrt(questions)
    return PairedScore(0, "f", part, questions, mean, (mean - half, mean + half), mean,
                       (mean - half, mean + half))  # fmt: skip


def test_pooled_slices_cover_the_true_difference_and_no_more_than_they_should() -> None:
    chance = random.Random(2)
    covered = 0
    for _ in range(400):
        paired = [device_score(chance, f"s{number}", size, -2.0, 20.0)
                  for number, size in enumerate((40, 60, 100, 200))]  # fmt: skip
        result = judged("f1", paired=paired)
        assert result.low is not None
        assert result.high is not None
        covered += result.low <= -2.0 <= result.high
    assert 0.92 <= covered / 400 <= 0.98


def test_ten_devices_with_one_slice_are_no_surer_than_one() -> None:
    """Were they counted as ten samples, the interval would be a third as wide, and not cover."""
    chance = random.Random(3)
    covered = 0
    for _ in range(400):
        one = device_score(chance, "s1", 100, -2.0, 20.0)
        result = judged("f1", paired=[replace(one, device_id=number) for number in range(10)])
        assert result.samples == 100
        assert result.low is not None
        assert result.high is not None
        covered += result.low <= -2.0 <= result.high
    assert 0.92 <= covered / 400 <= 0.98


# EM and F1.


def test_a_fall_is_told_with_its_interval() -> None:
    fell = replace(score(0), f1_difference=-31.2, f1_interval=(-34.5, -27.9))
    result = judged("f1", paired=[fell])
    assert result.status is BREACHED
    assert result.message == (
        "F1 fell by 31.2 points (95 %: 27.9 to 34.5) on 200 questions; it may fall by 3 at most"
    )
    assert (result.value, result.limit, result.samples) == (-31.2, -3.0, 200)


def test_a_rise_is_told_as_one() -> None:
    result = judged("exact_match", paired=[score(1.5, 2.5)])
    assert result.status is PASSED
    assert result.message.startswith("EM rose by 1.5 points (95 %: -1.0 to 4.0) on 200 questions;")


@pytest.mark.parametrize(
    ("difference", "half", "status"),
    [
        (0.0, 2.9, PASSED),
        (0.0, 3.1, UNDECIDED),
        (-3.0, 1.6, UNDECIDED),
        (-6.0, 2.9, BREACHED),
        (-6.0, 3.1, UNDECIDED),
        (20.0, 9.0, PASSED),
    ],
)
def test_whole_intervals_decide(difference: float, half: float, status: GateStatus) -> None:
    assert judged("f1", paired=[score(difference, half)]).status is status


def test_too_few_questions_do_not_pass() -> None:
    result = judged("f1", paired=[score(0, 1, questions=99)])
    assert result.status is UNDECIDED
    assert result.message.endswith("3 at most; to hold, it takes 100 questions")
    two = [score(5, 1, questions=99), score(5, 1, questions=1, part="s2")]
    assert judged("f1", paired=two).status is PASSED


def test_a_disaster_shows_with_fewer_questions_than_pass() -> None:
    """As 50 questions, which one device asks itself, show a model whose labels were shuffled."""
    assert judged("f1", paired=[score(-40, 12, questions=50)]).status is BREACHED
    assert judged("f1", paired=[score(-40, 12, questions=29)]).status is UNDECIDED
    assert judged("f1", {"min_questions": 20}, paired=[score(-40, 12, questions=29)]).status is (
        BREACHED
    )


def test_few_questions_seldom_stop_a_model_that_is_just_good_enough() -> None:
    chance = random.Random(5)
    stopped = 0
    for _ in range(400):
        some = chance.choices([-100.0, 0.0, 100.0], [0.08, 0.87, 0.05], k=40)  # -3 points
        mean = math.fsum(some) / 40
        half = Z * math.sqrt(math.fsum((one - mean) ** 2 for one in some) / 39 / 40)
        paired = [score(mean, half, questions=40)]
        stopped += judged("exact_match", paired=paired).status is BREACHED
    assert stopped / 400 <= 0.025


def test_one_slice_on_many_devices_is_averaged_and_counted_once() -> None:
    result = judged(
        "f1", paired=[score(-4, device=1), score(-8, device=2), score(-2, 1, part="s2")]
    )
    assert result.samples == 400
    assert result.value == -4.0  # of -6 and -2
    assert result.high == pytest.approx(-4 + math.hypot(1.5, 0.5))


def test_only_the_newest_of_a_device_and_slice_counts() -> None:
    assert judged("f1", paired=[score(-1), score(-9), score(-9)]).value == -1.0


def test_an_interval_without_width_is_not_believed() -> None:
    """Where no answer differed on 50 questions, six in a hundred still may."""
    few = judged("f1", {"min_questions": 20}, paired=[score(0, 0, questions=50)])
    assert few.status is UNDECIDED
    assert few.low == pytest.approx(-5.82, abs=0.01)
    assert judged("f1", paired=[score(0, 0, questions=100)]).status is PASSED
    bad = judged("f1", {"min_questions": 2}, paired=[score(-100, 0, questions=2)])
    assert bad.low == -100.0
    assert bad.status is BREACHED
    one = judged("f1", {"min_questions": 1}, paired=[score(-50, 0, questions=1)])
    assert one.status is UNDECIDED


def test_a_slice_without_width_does_not_outweigh_others() -> None:
    result = judged("f1", paired=[score(0, 0, questions=100), score(-20, 4, part="s2")])
    assert result.value == pytest.approx(-40 / 3)
    assert result.status is BREACHED


@pytest.mark.parametrize(
    "broken",
    [
        {"f1_difference": math.nan},
        {"f1_difference": -math.inf},
        {"f1_interval": (math.nan, 0.0)},
        {"f1_interval": (-math.inf, math.inf)},
        {"f1_interval": (3.0, -3.0)},
        {"f1_difference": -1e9, "f1_interval": (-1e9, -1e9)},
        {"questions": 0},
        {"questions": -5},
    ],
)
def test_what_makes_no_sense_is_left_out(broken: dict[str, Any]) -> None:
    bad = replace(score(-90, device=2, part="s9"), **broken)
    assert judged("f1", paired=[bad]).status is NO_DATA
    good = judged("f1", paired=[bad, score(0, 2)])
    assert (good.value, good.status, good.samples) == (0.0, PASSED, 200)


def test_no_device_outweighs_all_others_by_a_number() -> None:
    forged = replace(score(100, 0, device=9, part="s9"), questions=2**53)
    result = judged("f1", paired=[forged, score(-50, 2)])
    assert result.samples == 100_200


def test_an_interval_that_misses_its_mean_is_widened() -> None:
    odd = replace(score(0), f1_difference=-5.0, f1_interval=(-4.0, 1.0))
    low = judged("f1", paired=[odd]).low
    assert low is not None
    assert low <= -5.0


def test_without_evaluations_there_is_nothing_to_judge() -> None:
    result = judged("exact_match")
    assert (result.status, result.required) == (NO_DATA, True)
    assert result.value is None


# Latency and errors.


def times(*values: float) -> Served:
    return serving(latency=Histogram.of(values))


def spread(middle: float, count: int = 200) -> Served:
    return times(*(middle * (0.5 + number / count) for number in range(count)))


@pytest.mark.parametrize(
    ("after", "status"), [(100, PASSED), (115, PASSED), (150, UNDECIDED), (400, BREACHED)]
)
def test_p95_is_judged_by_its_interval(after: float, status: GateStatus) -> None:
    result = judged("p95_latency", served=[served(spread(100), spread(after))])
    assert result.status is status
    assert result.value == pytest.approx(after / 100, rel=0.1)
    assert result.low is not None
    assert result.high is not None
    assert result.low < after / 100 < result.high
    assert not result.required


def test_only_devices_with_both_times_count() -> None:
    some = [
        served(spread(100), spread(100)),
        served(None, spread(9000)),
        served(spread(9000), None),
        served(serving(), spread(9000)),
        served(spread(9000), serving()),
    ]
    result = judged("p95_latency", served=some)
    assert result.value == pytest.approx(1.0)
    assert result.samples == 200


def test_few_times_have_no_upper_bound() -> None:
    result = judged("p95_latency", served=[served(spread(100, 60), spread(100, 60))])
    assert result.status is UNDECIDED
    assert result.high is None
    assert "to any)" in result.message
    assert (
        judged("p95_latency", served=[served(spread(100, 9), spread(900, 9))]).status is UNDECIDED
    )
    assert judged("p95_latency").status is NO_DATA


def test_times_of_nothing_make_no_infinity() -> None:
    result = judged("p95_latency", served=[served(times(*[0.0] * 90), times(*[0.0] * 90))])
    assert result.value == 1.0
    assert quantile_interval(Histogram.of([]), 0.95) is None


def test_p95_ratios_are_covered() -> None:
    """As devices measure them: lognormal times, in buckets."""
    chance = random.Random(4)
    covered = 0
    for _ in range(60):
        before = times(*(chance.lognormvariate(4, 0.5) for _ in range(150)))
        after = times(*(1.3 * chance.lognormvariate(4, 0.5) for _ in range(150)))
        result = judged("p95_latency", served=[served(before, after)])
        assert result.low is not None
        assert result.high is not None
        covered += result.low <= 1.3 <= result.high
    assert covered >= 56


@pytest.mark.parametrize(
    ("failed", "total", "status"),
    [(0, 400, PASSED), (0, 60, UNDECIDED), (30, 400, BREACHED), (8, 400, UNDECIDED)],
)
def test_errors_are_judged_by_newcombes_interval(
    failed: int, total: int, status: GateStatus
) -> None:
    some = [served(serving(400, 0), serving(total - failed, failed))]
    result = judged("error_rate", served=some)
    assert result.status is status
    assert result.after == pytest.approx(failed / total)
    assert result.unit == "share"


def test_errors_that_were_there_before_are_not_the_new_models() -> None:
    some = [served(serving(900, 100), serving(900, 100))]
    assert judged("error_rate", {"max_rise": 0.04}, served=some).status is PASSED
    assert judged("error_rate", served=[served(None, serving(0, 100))]).status is NO_DATA
    assert judged("error_rate", served=[served(serving(0, 0), serving(0, 0))]).status is NO_DATA


# Memory, temperature, and the devices themselves.


def test_memory_is_compared_on_the_same_devices() -> None:
    def uses(mebibytes: float | None) -> Served:
        return serving(resident_bytes=None if mebibytes is None else mebibytes * 2**20)

    some = [served(uses(100), uses(150)), served(uses(300), uses(450)), served(None, uses(9999))]
    result = judged("memory", served=some)
    assert (result.status, result.value, result.samples, result.of) == (PASSED, 1.5, 2, "devices")
    assert "from 200 to 300 MiB, 1.50 times, on 2 devices" in result.message
    assert judged("memory", {"max_ratio": 1.4}, served=some).status is BREACHED
    assert judged("memory", served=[served(uses(0), uses(100))]).status is NO_DATA
    assert judged("memory", served=[served(uses(math.nan), uses(100))]).status is NO_DATA
    assert judged("memory", served=[served(uses(100), uses(math.inf))]).status is NO_DATA


def warm(highest: float | None, mean: float | None = None) -> Served:
    return serving(temperature_celsius=highest, temperature_mean_celsius=mean)


@pytest.mark.parametrize(
    ("before", "after", "status"),
    [
        (warm(60, 50), warm(70, 55), PASSED),
        (warm(60, 50), warm(70, 66), BREACHED),
        (warm(60), warm(76), BREACHED),
        (warm(60, 50), warm(90, 55), BREACHED),
        (None, warm(90), BREACHED),
        (None, warm(70), PASSED),
        (warm(88, 80), warm(90, 82), PASSED),
        (warm(60, 50), warm(None), NO_DATA),
        (None, None, NO_DATA),
        (warm(60), warm(math.nan), NO_DATA),
    ],
)
def test_heat(before: Served | None, after: Served | None, status: GateStatus) -> None:
    assert judged("temperature", served=[served(before, after)]).status is status


def test_one_broken_fan_among_many_does_not_stop_a_fleet() -> None:
    many = [served(warm(60), warm(62), number) for number in range(99)]
    assert judged("temperature", served=[*many, served(warm(60), warm(99))]).status is PASSED


def test_shares_of_devices_are_exact() -> None:
    result = judged("failed_swaps", stage_tally=Tally(20, 20, 17, 3, 0),
                    rollout_tally=Tally(40, 40, 37, 3, 0))  # fmt: skip
    assert result.status is BREACHED
    assert result.message == (
        "3 of this stage's 20 devices failed to take the new model, or left it "
        "(15.0%); at most 10.0% allowed"
    )
    limit = judged("failed_swaps", stage_tally=Tally(20, 20, 18, 2, 0))
    assert (limit.status, limit.value) == (PASSED, 0.1)


def test_devices_of_earlier_stages_that_fail_late_count() -> None:
    tallies = {"stage_tally": Tally(10, 10, 10, 0, 0), "rollout_tally": Tally(30, 30, 20, 0, 10)}
    result = judged("silent_devices", **tallies)
    assert result.status is BREACHED
    assert "10 of all 30 devices" in result.message


def test_the_first_failure_of_a_slow_stage_is_a_small_share() -> None:
    stage = Tally(size=100, wished=1, changed=0, failed=1, silent=0)
    result = judged("failed_swaps", stage_tally=stage, rollout_tally=stage)
    assert (result.status, result.value) == (GateStatus.PASSED, 0.01)


def test_nobody_wished_is_nobody_failed() -> None:
    result = judged("failed_swaps")
    assert (result.status, result.required) == (NO_DATA, False)


# All.


def test_a_gate_that_is_off_is_not_judged_and_the_others_are_in_order() -> None:
    results = judge(RolloutGates(f1=None), evidence())
    assert [one.gate for one in results] == [
        name for name in RolloutGates.model_fields if name != "f1"
    ]


numbers = st.floats(allow_nan=True, allow_infinity=True)
some_served = st.one_of(
    st.none(),
    st.builds(
        Served,
        answered=st.integers(0, 2**53),
        failed=st.integers(0, 2**53),
        latency=st.one_of(st.none(), st.lists(st.floats(0, 1e6), max_size=80).map(Histogram.of)),
        resident_bytes=st.one_of(st.none(), numbers),
        temperature_celsius=st.one_of(st.none(), numbers),
        temperature_mean_celsius=st.one_of(st.none(), numbers),
    ),
)


@settings(max_examples=150, deadline=None)
@given(
    paired=st.lists(
        st.builds(
            PairedScore,
            device_id=st.integers(1, 3),
            fingerprint=st.just("f"),
            slice_id=st.sampled_from(["s1", "s2"]),
            questions=st.integers(-1, 2**60),
            exact_match_difference=numbers,
            exact_match_interval=st.tuples(numbers, numbers),
            f1_difference=st.floats(-100, 100),
            f1_interval=st.tuples(st.floats(-100, 100), st.floats(-100, 100)),
        ),
        max_size=4,
    ),
    some=st.lists(st.builds(DeviceServed, st.integers(1, 3), some_served, some_served), max_size=3),
)
def test_whatever_devices_say_the_figures_are_figures(
    paired: list[PairedScore], some: list[DeviceServed]
) -> None:
    for result in judge(RolloutGates(), evidence(paired=paired, served=some)):
        for value in (result.value, result.low, result.high, result.before, result.after):
            assert value is None or math.isfinite(value), result
        assert "nan" not in result.message
        assert "inf" not in result.message
        if result.low is not None and result.high is not None:
            assert result.low <= result.value <= result.high
