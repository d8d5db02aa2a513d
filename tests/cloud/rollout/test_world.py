"""What the engine keeps in memory, and what of a device's words it takes for a model."""

from __future__ import annotations

from typing import Any

import pytest
from support.fleet import NEW, OLD

from edgeqa.messages import ModelRef
from edgeqa.model_messages import ModelState
from edgeqa_cloud.rollout.device_now import Stamp, model_ref, report_of
from edgeqa_cloud.rollout.model import Report
from edgeqa_cloud.rollout.world import World


def report(state: ModelState = ModelState.ACTIVE, at_ms: int = 1) -> Report:
    return Report(state, "w", ModelRef(**NEW), None, None, None, at_ms)


def stamp(time_ms: int, state: ModelState = ModelState.ACTIVE) -> Stamp:
    return "boot", str(time_ms), state


def test_an_earlier_report_that_comes_again_is_ignored() -> None:
    world = World()
    first, second = report(at_ms=1), report(ModelState.FAILED, at_ms=2)
    assert world.heard(7, first, stamp(10), at_ms=1)
    assert world.heard(7, second, stamp(20, ModelState.FAILED), at_ms=2)
    assert not world.heard(7, report(at_ms=3), stamp(10), at_ms=3)
    assert world.reports[7] is second
    # It is not looked at again and again.
    assert world.reported_ms[7] == 3


def test_the_last_report_may_come_again_as_brokers_redeliver() -> None:
    world = World()
    assert world.heard(7, report(at_ms=1), stamp(10), at_ms=1)
    assert world.heard(7, report(at_ms=2), stamp(10), at_ms=2)
    # Another device's is its own.
    assert world.heard(8, report(at_ms=2), stamp(10), at_ms=2)


def test_a_clock_that_was_set_back_is_no_replay() -> None:
    world = World()
    assert world.heard(7, report(at_ms=1), stamp(1000), at_ms=1)
    assert world.heard(7, report(at_ms=2), stamp(10), at_ms=2)


def test_what_is_remembered_is_bounded() -> None:
    world = World()
    for number in range(1000):
        assert world.heard(7, report(at_ms=number), stamp(number), at_ms=number)
    assert world.heard(7, report(at_ms=1001), stamp(3), at_ms=1001)  # forgotten long since


def test_of_newer_rollouts_the_owner_is_named() -> None:
    world = World()
    world.names = {1: "r-1", 2: "r-2"}
    world.claimed(1, [7])
    world.claimed(2, [7])
    world.claimed(1, [7])
    assert world.newer_owner(1, 7) == "r-2"
    assert world.newer_owner(2, 7) is None
    assert world.newer_owner(1, 8) is None


@pytest.mark.parametrize(
    "model",
    [
        {**OLD, "name": "../etc"},
        {**OLD, "name": "a" * 65},
        {**OLD, "version": "latest"},
        {**OLD, "version": "1.0.0\n"},
        {**OLD, "digest": "sha256:" + "Z" * 64},
        {**OLD, "digest": ""},
        {**OLD, "digest": None},
        {"name": "x"},
        "a model",
        None,
    ],
)
def test_what_could_not_be_wished_for_is_no_model(model: Any) -> None:
    found = report_of({"state": "active", "active": model, "previous": model}, 1)
    assert found is not None
    assert found.active is None
    assert found.previous is None


@pytest.mark.parametrize("reported", [None, [], "active", {}, {"state": "dancing"}, {"state": 3}])
def test_what_is_no_report_is_none(reported: Any) -> None:
    assert report_of(reported, 1) is None


def test_a_report_is_read() -> None:
    found = report_of(
        {"state": "failed", "wish": "w", "active": OLD, "previous": NEW,
         "reason": {"code": "disk_full", "message": "full" * 1000}},
        5,
    )  # fmt: skip
    assert found is not None
    assert (found.state, found.wish, found.code) == (ModelState.FAILED, "w", "disk_full")
    assert (found.active, found.previous) == (ModelRef(**OLD), ModelRef(**NEW))
    assert found.received_ms == 5
    assert len(found.message or "") == 2000
    # The same model is the same object, for ten thousand devices.
    assert found.active is model_ref(OLD["name"], OLD["version"], OLD["digest"])
