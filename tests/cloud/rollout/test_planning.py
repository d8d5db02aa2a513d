"""Who is in which stage, what cannot be ordered, and when stages can begin."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.rollout_fleet import NEW, OLD

from edgeqa_cloud.rollout.model import Member
from edgeqa_cloud.rollout.plan_checks import RolloutError
from edgeqa_cloud.rollout.planning import Candidate, assign, timetable
from edgeqa_cloud.rollout.spec import RolloutSpec

DAY_MS = 86_400_000


def spec_of(*stages: dict[str, Any], **fields: Any) -> RolloutSpec:
    values = {
        "package": {"name": NEW.name, "version": NEW.version},
        "target": {"all": True},
        "stages": list(stages),
    }
    return RolloutSpec.model_validate(values | fields)


def fleet(count: int, *, online: int | None = None) -> list[Candidate]:
    online = count if online is None else online
    return [Candidate(number, f"d{number:04}", number < online, OLD) for number in range(count)]


def sizes(members: list[Member], stages: int) -> list[int]:
    return [sum(one.stage == stage for one in members) for stage in range(stages)]


def percents(*shares: float) -> list[dict[str, Any]]:
    return [{"percent": share} for share in shares]


@pytest.mark.parametrize(
    ("count", "shares", "expected"),
    [
        (10_000, (5, 25, 100), [500, 2000, 7500]),
        (100, (7, 100), [7, 93]),  # 0.07 * 100 is 7.000000000000001
        (1000, (0.1, 0.3, 100), [1, 2, 997]),
        (30, (5, 100), [2, 28]),  # 1.5 devices
        (3, (5, 25, 100), [1, 1, 1]),
        (2, (5, 25, 100), [1, 1, 0]),
        (1, (5, 25, 100), [1, 0, 0]),
        (100, (99.9,), [100]),
        (100, (10, 50), [10, 40]),
    ],
)
def test_shares_are_rounded_and_a_canary_has_a_device(
    count: int, shares: tuple[float, ...], expected: list[int]
) -> None:
    members = assign(spec_of(*percents(*shares)), fleet(count), rollout="r-1")
    assert sizes(members, len(shares)) == expected


def test_counts_and_names_and_shares_mix() -> None:
    spec = spec_of({"devices": ["d0005", "d0001"]}, {"count": 4}, {"percent": 50}, {"percent": 100})
    members = assign(spec, fleet(20), rollout="r-1")
    assert sizes(members, 4) == [2, 2, 6, 10]
    assert {one.device for one in members if one.stage == 0} == {"d0001", "d0005"}


def test_devices_that_a_later_stage_names_are_left_to_it() -> None:
    spec = spec_of({"count": 5}, {"devices": ["d0003"]}, {"percent": 100})
    for name in map(str, range(20)):
        members = assign(spec, fleet(10), rollout=name)
        assert [one.stage for one in members if one.device == "d0003"] == [1]
        assert sizes(members, 3) == [5, 1, 4]


def test_those_online_come_first_and_the_order_is_the_rollouts_own() -> None:
    spec = spec_of(*percents(10, 100))
    members = assign(spec, fleet(100, online=40), rollout="r-1")
    assert [int(one.device[1:]) < 40 for one in members] == [True] * 40 + [False] * 60
    assert [one.position for one in members] == list(range(100))
    shuffled = fleet(100, online=40)
    random.Random(1).shuffle(shuffled)
    assert assign(spec, shuffled, rollout="r-1") == members
    other = assign(spec, fleet(100, online=40), rollout="r-2")
    assert {one.device for one in other[:10]} != {one.device for one in members[:10]}


def refused(spec: RolloutSpec, candidates: list[Candidate]) -> tuple[str, str]:
    with pytest.raises(RolloutError) as error:
        assign(spec, candidates, rollout="r-1")
    return error.value.code, str(error.value)


def test_nobody_is_no_rollout() -> None:
    code, message = refused(spec_of(*percents(100)), [])
    assert code == "empty_target"
    assert "edgeqa fleet list" in message


def test_a_stage_cannot_name_what_the_target_does_not_mean() -> None:
    strange = [f"x{number}\x1b[31m" for number in range(3)]
    del strange[1:]
    code, message = refused(spec_of({"devices": ["d0001", "x9"]}), fleet(3))
    assert code == "stage_outside_target"
    assert "stage 1 names x9, which" in message
    code, message = refused(spec_of({"devices": [f"x{number}" for number in range(12)]}), fleet(3))
    assert "and 2 more" in message


@pytest.mark.parametrize(
    ("stages", "said"),
    [
        ([{"count": 50}, {"percent": 10}], "stage 2 ends at 10 of the 100 devices"),
        ([{"devices": ["d0001", "d0002"]}, {"count": 1}], "stage 2 ends at 1 of the 100"),
        ([{"percent": 100}, {"devices": ["d0001"]}], "later ones name 1 of them"),
    ],
)
def test_stages_that_overlap_are_refused(stages: list[dict[str, Any]], said: str) -> None:
    code, message = refused(spec_of(*stages), fleet(100))
    assert code == "overlapping_stages"
    assert said in message


def test_gates_that_can_never_be_decided_are_refused() -> None:
    nothing = {"temperature": {"max_rise_celsius": None, "max_celsius": None}}
    code, message = refused(spec_of(*percents(100), gates=nothing), fleet(3))
    assert code == "impossible_gates"
    assert "max_celsius" in message
    hasty = spec_of({"percent": 50}, {"percent": 100, "soak_s": 0}, evidence_s=0)
    code, message = refused(hasty, fleet(3))
    assert code == "impossible_gates"
    assert "exact_match, f1" in message
    assert "stage 2" in message
    gates = dict.fromkeys(("exact_match", "f1"))
    assert assign(spec_of({"percent": 100, "soak_s": 0}, evidence_s=0, gates=gates), fleet(3),
                  rollout="r-1")  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(
    count=st.integers(1, 60),
    stages=st.lists(
        st.one_of(
            st.builds(lambda one: {"percent": one}, st.floats(0.01, 100)),
            st.builds(lambda one: {"count": one}, st.integers(1, 70)),
            st.builds(
                lambda one: {"devices": [f"d{number:04}" for number in one]},
                st.sets(st.integers(0, 59), min_size=1, max_size=4),
            ),
        ),
        min_size=1,
        max_size=5,
    ),
)
def test_whatever_is_ordered_stages_are_cumulative_or_refused(
    count: int, stages: list[dict[str, Any]]
) -> None:
    try:
        spec = spec_of(*stages)
        members = assign(spec, fleet(count, online=count // 2), rollout="r-1")
    except (RolloutError, ValueError):
        return
    assert [one.position for one in members] == list(range(len(members)))
    assert [one.stage for one in members] == sorted(one.stage for one in members)
    assert len({one.device for one in members}) == len(members) <= count
    assert any(one.stage == 0 for one in members), "a canary has a device"
    reached = 0
    for number, stage in enumerate(spec.stages):
        before, reached = reached, sum(one.stage <= number for one in members)
        if stage.count is not None:
            assert before <= reached <= max(before, min(stage.count, count))
        elif stage.percent is not None:
            later = sum(len(one.devices or ()) for one in spec.stages[number + 1 :])
            near = abs(reached - stage.percent * count / 100) <= 0.5
            assert near or reached in {before + 1, count - later}
            assert reached > before or reached == count - later
    if spec.stages[-1].percent == 100:
        assert len(members) == count


def times(spec: RolloutSpec, count: int, now_ms: int = 0) -> tuple[list[int], int]:
    found = timetable(spec, assign(spec, fleet(count), rollout="r-1"), now_ms)
    return list(found.begins_ms), found.ends_ms


def test_a_timetable_adds_soaks() -> None:
    spec = spec_of({"percent": 10, "soak_s": 60}, {"percent": 100, "soak_s": 30})
    assert times(spec, 100, 5) == ([5, 60_005], 90_005)


def test_a_timetable_knows_the_rate() -> None:
    spec = spec_of({"count": 25, "soak_s": 60}, {"percent": 100, "soak_s": 0}, max_per_minute=10,
                   evidence_s=60)  # fmt: skip
    # 10, 10 and 5 devices: the last two minutes after the first.
    assert times(spec, 100) == ([0, 180_000], 180_000 + 7 * 60_000)


def test_a_timetable_waits_for_windows_and_goes_on_in_the_next() -> None:
    spec = spec_of({"percent": 100, "soak_s": 0}, windows=[{"begin": "02:00", "end": "02:03"}],
                   max_per_minute=10, evidence_s=60)  # fmt: skip
    begin_ms = 2 * 3_600_000
    # 30 in the first night, 5 in the next.
    assert times(spec, 35) == ([begin_ms], DAY_MS + begin_ms)


def test_a_stage_that_adds_nobody_takes_no_time() -> None:
    spec = spec_of(*({"percent": one, "soak_s": 60} for one in (5, 25, 100)))
    assert times(spec, 1) == ([0, 60_000, 60_000], 60_000)


def test_what_takes_years_has_an_end() -> None:
    spec = spec_of({"percent": 100}, max_per_minute=1,
                   windows=[{"begin": "02:00", "end": "02:01", "days": ["mon"]}])  # fmt: skip
    members = [Member(number, f"d{number}", 0, number) for number in range(2000)]
    assert timetable(spec, members, 0).ends_ms > 5 * 365 * DAY_MS
