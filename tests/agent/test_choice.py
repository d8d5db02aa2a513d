"""The choice between two models: its gates hold, come back and do not flap, whatever happens."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeqa.choice_reason import Reason
from edgeqa.messages import Quality
from edgeqa_agent.choice import (
    MOST_HOLDS,
    Gate,
    Limits,
    Marks,
    Pressure,
    Times,
    choose,
)

MARKS = Marks(high=8, low=2, hold_s=5.0)
LIMITS = Limits(load=MARKS, heat=Marks(high=80, low=75, hold_s=5.0))
CALM = Pressure()
LOADED = CALM.at(0.0, LIMITS, depth=8, celsius=40.0)
HOT = CALM.at(0.0, LIMITS, depth=1, celsius=80.0)

# What a queue may do: how long until the next look, and how deep it is then. Steps and holds are
# quarters, which floats add up without a rest.
steps = st.tuples(st.integers(1, 40).map(lambda n: n / 4), st.integers(0, 20))
traces = st.lists(steps, max_size=200)
marks = st.builds(
    lambda low, more, hold: Marks(high=low + more, low=low, hold_s=hold / 4),
    st.integers(0, 8),
    st.integers(1, 8),
    st.integers(1, 40),
)


def changes(trace: list[tuple[float, int]], limits: Marks) -> list[tuple[float, bool, int]]:
    """When a gate changed, to what, and at which depth."""
    gate, now, found = Gate(), 0.0, []
    for wait_s, depth in trace:
        now += wait_s
        before, gate = gate, gate.at(now, depth, limits)
        if gate.over != before.over:
            found.append((now, gate.over, depth))
    return found


@given(trace=traces, limits=marks)
def test_a_gate_goes_over_only_at_its_high_mark_and_comes_back_only_at_its_low_one(
    trace: list[tuple[float, int]], limits: Marks
) -> None:
    for _, over, depth in changes(trace, limits):
        assert depth >= limits.high if over else depth <= limits.low


@given(trace=traces, limits=marks)
def test_a_gate_stays_over_for_its_hold_and_was_low_all_through_the_last_of_it(
    trace: list[tuple[float, int]], limits: Marks
) -> None:
    found = changes(trace, limits)
    at = 0.0
    depths = [(at := at + wait_s, depth) for wait_s, depth in trace]
    for (went, _, _), (back, over, _) in zip(found[::2], found[1::2], strict=False):
        assert not over
        assert back - went >= limits.hold_s
        high_again = [when for when, depth in depths if when <= back and depth > limits.low]
        assert back - max(high_again) >= limits.hold_s


@given(trace=traces, limits=marks)
def test_a_gate_that_goes_over_at_once_again_stays_over_longer(
    trace: list[tuple[float, int]], limits: Marks
) -> None:
    found = changes(trace, limits)
    hold_s, came_back = 0.0, -math.inf
    for (went, _, _), (back, _, _) in zip(found[::2], found[1::2], strict=False):
        relapse = went - came_back < hold_s
        hold_s = min(2 * hold_s, MOST_HOLDS * limits.hold_s) if relapse else limits.hold_s
        assert back - went >= hold_s
        came_back = back


@given(trace=traces, limits=marks)
def test_changes_are_bounded_by_time_whatever_the_queue_does(
    trace: list[tuple[float, int]], limits: Marks
) -> None:
    lasted_s = sum(wait_s for wait_s, _ in trace)
    assert len(changes(trace, limits)) <= 2 * (lasted_s // limits.hold_s) + 1


def test_a_load_that_only_the_quicker_model_bears_is_tried_ever_more_seldom() -> None:
    gate, now, back = Gate(), 0.0, []
    while now < 1000:  # over: the queue is short; back: it grows at once
        now += 0.25
        before, gate = gate, gate.at(now, 1 if gate.over else 9, MARKS)
        if before.over and not gate.over:
            back.append(now)
    waits = [later - earlier for earlier, later in itertools.pairwise(back)]
    assert waits[:4] == [10.25, 20.25, 40.25, 40.25]
    assert len(back) < 1000 / 38


def test_after_a_long_calm_the_hold_is_the_first_again() -> None:
    gate, now = Gate(), 0.0
    for _ in range(3):  # three relapses at once
        gate = gate.at(now, 9, MARKS)
        while gate.over:
            now += 1
            gate = gate.at(now, 0, MARKS)
    assert gate.hold_s == 20
    assert gate.at(now + 20, 9, MARKS).hold_s == 5


@given(trace=traces, limits=marks)
def test_every_gate_comes_back_in_the_end(trace: list[tuple[float, int]], limits: Marks) -> None:
    gate, now = Gate(), 0.0
    for wait_s, depth in trace:
        now += wait_s
        gate = gate.at(now, depth, limits)
    for value in (limits.low, limits.low):
        gate = gate.at(now, value, limits)
        now += MOST_HOLDS * limits.hold_s
    assert not gate.at(now, limits.low, limits).over


def test_a_thermometer_that_breaks_keeps_no_gate_over() -> None:
    pressure = HOT
    for second in range(1, 8):
        pressure = pressure.at(float(second), LIMITS, depth=1, celsius=None)
    assert not pressure.heat.over


def test_between_the_marks_nothing_changes() -> None:
    assert CALM.at(9.0, LIMITS, depth=7, celsius=79.9) is CALM
    assert LOADED.at(100.0, LIMITS, depth=3, celsius=76.0).load.over
    assert HOT.at(100.0, LIMITS, depth=3, celsius=76.0).heat.over


LATE = Times(wanted=100, better=120, quicker=40)
IN_TIME = Times(wanted=100, better=90, quicker=40)
BOTH_LATE = Times(wanted=10, better=120, quicker=40)
NO_HELP = Times(wanted=10, better=40, quicker=60)


@pytest.mark.parametrize(
    ("pressure", "quality", "times", "quick", "reason"),
    [
        (CALM, None, None, False, Reason.CALM),
        (CALM, "balanced", None, False, Reason.CALM),
        (CALM, "fast", None, True, Reason.ASKED),
        (CALM, "best", LATE, False, Reason.ASKED),
        (LOADED, "best", None, False, Reason.ASKED),
        (HOT, "best", None, False, Reason.ASKED),
        (LOADED, None, None, True, Reason.LOAD),
        (LOADED, "balanced", None, True, Reason.LOAD),
        (HOT, None, None, True, Reason.HEAT),
        (HOT, "balanced", IN_TIME, True, Reason.HEAT),
        (CALM, None, LATE, True, Reason.DEADLINE),
        (CALM, "balanced", BOTH_LATE, True, Reason.DEADLINE),
        (CALM, None, IN_TIME, False, Reason.CALM),
        (CALM, None, NO_HELP, False, Reason.CALM),
    ],
)
def test_what_speaks_for_which_model(
    pressure: Pressure, quality: Quality | None, times: Times | None, *, quick: bool, reason: Reason
) -> None:
    assert choose(pressure, quality=quality, times=times) == (quick, reason)
