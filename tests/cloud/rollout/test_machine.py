"""The state machine of rollouts, transition by transition; the hostile ones first."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from support.rollout_fleet import NEW, OLD, OTHER, Device, Fleet

from edgeqa.messages import ModelRef
from edgeqa.model_messages import ModelState
from edgeqa_cloud.rollout.machine import step
from edgeqa_cloud.rollout.model import (
    DeviceNow,
    Facts,
    GateResult,
    Joiner,
    Member,
    Order,
    Outcome,
    Report,
    Rollout,
)
from edgeqa_cloud.rollout.planning import Candidate, assign
from edgeqa_cloud.rollout.spec import RolloutGates, RolloutSpec
from edgeqa_cloud.rollout.states import Action, GateStatus, MemberState, RolloutState

ANNA = "user:anna"
M, R = MemberState, RolloutState
SOAK_S = 60
PASSED = GateResult("f1", GateStatus.PASSED, "F1 is fine")
BREACHED = GateResult("f1", GateStatus.BREACHED, "F1 fell by 31.2 points", value=-31.2)
UNDECIDED = GateResult("f1", GateStatus.UNDECIDED, "who knows")
MISSING = GateResult("f1", GateStatus.NO_DATA, "nothing is known")


def fleet(
    *devices: Device, stages: Iterable[float] = (50, 100), gates: bool = True, **fields: Any
) -> Fleet:
    """Four devices, unless said; f1 is the only gate."""
    some = devices or tuple(Device(number) for number in range(4))
    values = {
        "package": {"name": NEW.name, "version": NEW.version},
        "target": {"all": True},
        "stages": [{"percent": one, "soak_s": SOAK_S} for one in stages],
        "gates": dict.fromkeys(set(RolloutGates.model_fields) - ({"f1"} if gates else set())),
        "stuck_s": 200,
        "offline_expire_s": 1000,
        "evidence_s": 300,
    }
    spec = RolloutSpec.model_validate(values | fields)
    members = assign(
        spec, [Candidate(one.device_id, one.name, one.online, one.active) for one in some],
        rollout="r-1",
    )  # fmt: skip
    rollout = Rollout(
        key=1, rollout="r-1", spec=spec, target=NEW, created_ms=0,
        members={one.device_id: one for one in members},
    )  # fmt: skip
    made = Fleet(rollout, {one.device_id: one for one in some})
    made.gates = (PASSED,)
    return made


def order(action: Action, note: str = "") -> Order:
    return Order(1, action, ANNA, note)


def wait(some: Fleet, seconds: float) -> Outcome:
    some.now_ms += round(1000 * seconds)
    return some.step()


def change(some: Fleet) -> Outcome:
    """Those with a wish follow it, and say so."""
    some.now_ms += 1000
    some.settle()
    return some.step()


def actions(outcome: Outcome) -> list[str]:
    return [one.action for one in outcome.decisions]


def started(**fields: Any) -> Fleet:
    """The first stage has its wishes."""
    some = fleet(**fields)
    some.step()
    return some


def member(some: Fleet, device_id: int) -> Member:
    return some.rollout.members[device_id]


def first(some: Fleet) -> Device:
    """The first of the first stage."""
    return some.devices[min(some.rollout.members.values(), key=lambda one: one.position).device_id]


def report(device: Device, some: Fleet, **fields: Any) -> None:
    values: dict[str, Any] = {
        "state": ModelState.ACTIVE, "wish": None, "active": device.active, "previous": None,
        "code": None, "message": None, "received_ms": some.now_ms,
    }  # fmt: skip
    device.last = Report(**values | fields)


# Reports that must not count.


@pytest.mark.parametrize("state", [ModelState.ACTIVE, ModelState.FAILED, ModelState.ROLLED_BACK])
@pytest.mark.parametrize("wish", ["w99", "r-0/old"])
def test_a_replayed_report_of_another_wish_changes_nothing(state: ModelState, wish: str) -> None:
    some = started()
    some.now_ms += 1000
    report(first(some), some, state=state, wish=wish, active=NEW)
    outcome = some.step()
    assert not outcome.decisions
    assert member(some, first(some).device_id).state is M.WISHED


@pytest.mark.parametrize("active", [None, OLD, OTHER])
def test_a_device_that_says_active_and_runs_another_digest_has_not_changed(
    active: ModelRef | None,
) -> None:
    some = started()
    device = first(some)
    some.now_ms += 1000
    report(device, some, wish=member(some, device.device_id).wish, active=active)
    some.step()
    assert member(some, device.device_id).state is M.WISHED


def test_a_report_without_a_wish_counts_only_if_it_came_after_the_wish() -> None:
    some = started()
    device = first(some)
    report(device, some, active=NEW)
    some.step()
    assert member(some, device.device_id).state is M.WISHED
    some.now_ms += 1
    report(device, some, active=NEW)
    some.step()
    assert member(some, device.device_id).state is M.CHANGED


def test_a_device_that_failed_does_not_become_changed_by_a_replay() -> None:
    some = started()
    device = first(some)
    some.publish()
    device.follow(some.now_ms)
    good = device.last
    some.step()
    device.die(some.now_ms)
    some.step()
    assert good is not None
    device.replay(good, some.now_ms + 1)
    some.step()
    assert member(some, device.device_id).state is M.FAILED


def test_the_way_back_is_proved_by_its_own_wish_alone() -> None:
    """A device that restarts may still be about to follow the wish that it was given first."""
    some = started(stages=[100])
    some.step(order(Action.UNDO))
    some.now_ms += 1000
    for device in some.devices.values():
        report(device, some)
    some.step()
    assert some.rollout.state is R.UNDOING
    change(some)
    assert some.rollout.state is R.UNDONE


# A rollout that goes well.


def test_a_rollout_goes_from_stage_to_stage_and_completes() -> None:
    some = fleet()
    outcome = some.step()
    assert actions(outcome) == ["stage_begun", "devices_wished"]
    assert len(outcome.wishes) == 2
    assert all(one.forward and one.model == NEW for one in outcome.wishes)
    assert some.members(M.WAITING)
    assert len(some.members(M.WISHED)) == 2
    assert actions(change(some)) == ["devices_changed", "soak_begun"]
    assert not wait(some, SOAK_S - 1).decisions
    outcome = wait(some, 1)
    assert actions(outcome) == ["stage_passed", "stage_begun", "devices_wished"]
    assert outcome.decisions[0].evidence["gates"][0]["message"] == "F1 is fine"
    assert some.rollout.stage == 1
    change(some)
    outcome = wait(some, SOAK_S)
    assert actions(outcome) == ["completed"]
    assert outcome.decisions[0].evidence["devices"] == {"changed": 4}
    assert some.rollout.state is R.COMPLETED
    assert some.rollout.ended_ms == some.now_ms
    assert len(some.members(M.CHANGED)) == 4
    assert not wait(some, 1000).decisions


def test_what_a_device_had_is_what_it_goes_back_to() -> None:
    some = started()
    assert member(some, first(some).device_id).before == OLD


def test_what_a_device_never_told_is_learnt_when_it_changed() -> None:
    some = fleet(Device(1, tells=False), Device(2), stages=[100])
    some.step()
    assert member(some, 1).before is None
    change(some)
    assert member(some, 1).before == OLD


def test_a_device_that_runs_the_model_gets_no_wish() -> None:
    some = fleet(Device(1, active=NEW), Device(2, active=NEW, online=False), stages=[100])
    outcome = some.step()
    assert not outcome.wishes
    assert actions(outcome) == ["stage_begun", "devices_changed_already", "soak_begun"]
    # Nobody needed a wish: there is nothing to judge.
    some.gates = ()
    wait(some, SOAK_S)
    assert some.rollout.state is R.COMPLETED


def test_a_device_that_is_about_to_leave_the_model_gets_a_wish() -> None:
    device = Device(1, active=NEW)
    some = fleet(device, stages=[100])
    report(device, some, state=ModelState.LOADING, wish="x", active=NEW)
    assert len(some.step().wishes) == 1


def test_a_device_that_left_the_model_later_gets_its_turn_again() -> None:
    device = Device(1, active=NEW)
    some = fleet(device, Device(2), stages=[100])
    some.step()
    some.now_ms += 1000
    device.active = OTHER
    report(device, some, active=OTHER)
    outcome = some.step()
    assert [one.device for one in outcome.wishes] == ["d1"]
    assert member(some, 1).before == OTHER


def test_nothing_new_copies_nothing() -> None:
    some = started()
    before = some.rollout
    outcome = some.step()
    assert outcome.rollout is before
    assert outcome == Outcome(before)


def test_ten_thousand_members_are_not_copied_where_nothing_happens() -> None:
    some = started(
        stages=[100],
    )
    members = {
        number: replace(member(some, 0), device_id=number, device=f"d{number}", state=M.CHANGED)
        for number in range(10_000)
    }
    rollout = replace(some.rollout, members=members, soak_begun_ms=some.now_ms)
    outcome = step(rollout, Facts(some.now_ms, {}), new_id=some.new_id)
    assert outcome.rollout.members is members


# Limits.


def test_rate_and_room_and_windows_hold_wishes_back() -> None:
    some = fleet(stages=[100], max_per_minute=3)
    assert len(some.step().wishes) == 3
    assert not wait(some, 59.9).wishes
    assert len(wait(some, 0.1).wishes) == 1
    some = fleet(stages=[100], max_under_way=1)
    assert len(some.step().wishes) == 1
    assert not wait(some, 60).wishes
    assert len(change(some).wishes) == 1
    # The clock begins on 1970-01-12 at 13:46:40.
    some = fleet(stages=[100], windows=[{"begin": "14:00", "end": "15:00"}])
    assert not some.step().wishes
    assert len(wait(some, 800).wishes) == 4


def test_those_not_online_take_no_room() -> None:
    some = fleet(Device(1), Device(2), Device(3, online=False), stages=[100], max_under_way=1)
    assert [one.device_id in {1, 2} for one in some.step().wishes] == [True, False]


# Devices that are not there, stuck, or fail.


def test_one_that_was_not_there_does_not_hold_a_stage_up_and_follows_later() -> None:
    some = fleet(Device(1), Device(2, online=False), Device(3, online=False), stages=[60, 100])
    some.step()
    some.publish()
    some.devices[1].follow(some.now_ms)
    assert "soak_begun" in actions(some.step())
    wait(some, SOAK_S)
    assert some.rollout.stage == 1
    some.publish()
    some.devices[2].connect(some.now_ms, True)
    some.devices[2].follow(some.now_ms)
    some.step()
    assert some.members(M.CHANGED) == ["d1", "d2"]
    # The last stage waits for all.
    some.publish()
    wait(some, SOAK_S)
    assert some.rollout.state is R.RUNNING
    outcome = wait(some, 1000)
    assert "devices_expired" in actions(outcome)
    assert [(one.device, one.model, one.forward) for one in outcome.wishes] == [("d3", OLD, False)]
    assert member(some, 3).code == "device_offline"


def test_a_stage_of_which_nobody_was_there_waits_for_one() -> None:
    some = fleet(Device(1, online=False), Device(2, online=False), stages=[100])
    some.step()
    assert not wait(some, 500).decisions
    some.publish()
    some.devices[2].connect(some.now_ms, True)
    some.devices[2].follow(some.now_ms)
    assert "soak_begun" in actions(some.step())


def test_one_that_came_back_is_awaited_as_the_others_are() -> None:
    some = fleet(Device(1), Device(2, online=False), stages=[100])
    some.step()
    some.now_ms += 500_000
    some.devices[2].online = True
    some.step()
    assert member(some, 2).online_when_wished
    assert member(some, 2).wished_ms == some.now_ms
    change(some)
    assert some.rollout.soak_begun_ms == some.now_ms


def test_one_that_is_stuck_has_failed_and_its_wish_is_taken_back() -> None:
    some = started(stages=[100])
    assert not wait(some, 200).decisions
    outcome = wait(some, 1)
    assert actions(outcome)[:4] == ["device_failed"] * 4
    assert all(one.model == OLD and not one.forward for one in outcome.wishes)
    assert {one.code for one in some.rollout.members.values()} == {"device_stuck"}


def test_one_that_went_away_holds_a_stage_up_no_longer_than_one_that_is_stuck() -> None:
    some = started(
        stages=[
            100,
        ],
        gates=False,
    )
    gone = some.devices[0]
    gone.online = False
    some.publish()
    for device in some.devices.values():
        device.follow(some.now_ms)
    assert "soak_begun" not in actions(some.step())
    assert "soak_begun" in actions(wait(some, 201))
    assert member(some, 0).state is M.WISHED


def test_a_failure_keeps_its_reason() -> None:
    some = started()
    device = first(some)
    some.publish()
    device.follow(some.now_ms, fails=True)
    outcome = some.step()
    assert actions(outcome) == ["device_failed"]
    assert outcome.decisions[0].device == device.name
    assert outcome.decisions[0].evidence["code"] == "checks_failed"
    failed = member(some, device.device_id)
    assert (failed.state, failed.code) == (M.FAILED, "checks_failed")
    assert not outcome.wishes, "it says that it serves what it had"


def test_one_that_fell_back_to_a_third_model_is_sent_to_the_one_it_had() -> None:
    some = started()
    device = first(some)
    some.now_ms += 1000
    wish = member(some, device.device_id).wish
    report(device, some, state=ModelState.ROLLED_BACK, wish=wish, active=OTHER)
    outcome = some.step()
    assert [(one.model, one.forward) for one in outcome.wishes] == [(OLD, False)]


def test_one_that_changed_and_left_the_model_has_failed() -> None:
    some = started()
    change(some)
    device = first(some)
    device.die(some.now_ms)
    outcome = some.step()
    assert actions(outcome) == ["device_failed"]
    assert device.name in some.members(M.FAILED)


def test_a_restart_with_another_model_is_a_failure() -> None:
    some = started()
    change(some)
    device = first(some)
    some.now_ms += 1000
    report(device, some, active=OTHER)
    some.step()
    assert member(some, device.device_id).code == "model_left"


def test_where_nobody_changed_a_person_decides() -> None:
    some = started(gates=False)
    some.publish()
    for device in some.devices.values():
        device.follow(some.now_ms, fails=True)
    assert actions(some.step())[-1] == "paused"
    assert some.rollout.code == "none_changed"
    outcome = some.step(order(Action.RESUME))
    assert [one.code for one in outcome.refusals] == ["none_changed"]
    assert "promote" in outcome.refusals[0].message
    some.step(order(Action.PROMOTE))
    assert (some.rollout.state, some.rollout.stage) == (R.RUNNING, 1)


# Gates.


@pytest.mark.parametrize("state", [R.RUNNING, R.PAUSED])
def test_a_breach_undoes_at_any_time(state: RolloutState) -> None:
    some = started()
    change(some)
    if state is R.PAUSED:
        some.step(order(Action.PAUSE))
    some.gates = (BREACHED,)
    outcome = some.step()
    assert actions(outcome) == ["gate_breached", "undo_begun", "devices_sent_back"]
    assert outcome.decisions[0].evidence["gates"][0]["value"] == -31.2
    assert some.rollout.state is R.UNDOING
    assert some.rollout.code == "gate_breached"
    assert some.rollout.reason == "F1 fell by 31.2 points"
    assert len(some.members(M.UNTOUCHED)) == 2
    assert [one.model for one in outcome.wishes] == [OLD, OLD]
    outcome = change(some)
    assert actions(outcome) == ["devices_reverted", "undone"]
    assert some.rollout.state is R.UNDONE
    assert {one.active.name for one in some.devices.values()} == {OLD.name}


def test_a_breach_at_the_very_end_does_not_complete() -> None:
    some = started(stages=[100])
    change(some)
    some.gates = (BREACHED,)
    wait(some, SOAK_S)
    assert some.rollout.state is R.UNDOING


def test_a_breach_pauses_where_that_was_ordered_and_no_order_leads_over_it() -> None:
    some = started(on_breach="pause")
    change(some)
    some.gates = (BREACHED,)
    assert actions(some.step()) == ["gate_breached", "paused"]
    assert not wait(some, 1000).decisions, "told once"
    for action in (Action.RESUME, Action.PROMOTE):
        outcome = some.step(order(action))
        assert [one.code for one in outcome.refusals] == ["gate_breached"]
        assert "undo" in outcome.refusals[0].message
        assert outcome.decisions[0].actor == ANNA
    assert some.rollout.state is R.PAUSED
    some.gates = (PASSED,)
    some.step(order(Action.RESUME))
    assert some.rollout.state is R.RUNNING


def test_a_person_s_pause_becomes_one_by_a_gate() -> None:
    some = started(on_breach="pause")
    change(some)
    some.step(order(Action.PAUSE))
    some.gates = (BREACHED,)
    some.step()
    assert some.rollout.code == "gate_breached"


@pytest.mark.parametrize("gates", [(UNDECIDED,), (MISSING,), ()])
def test_what_is_undecided_for_long_pauses(gates: tuple[GateResult, ...]) -> None:
    some = started(stages=[100])
    change(some)
    some.gates = gates
    assert not wait(some, SOAK_S + 300).decisions
    assert actions(wait(some, 1)) == ["paused"]
    assert some.rollout.code == "undecided"
    assert "f1" in (some.rollout.reason or "")
    # Resumed, evidence is waited for as long again.
    some.step(order(Action.RESUME))
    assert some.rollout.state is R.RUNNING
    assert not wait(some, 299).decisions
    some.gates = (PASSED,)
    wait(some, 1)
    assert some.rollout.state is R.COMPLETED


def test_a_gate_that_is_not_required_holds_nothing_up_and_stops_when_breached() -> None:
    for status, state in [
        (GateStatus.UNDECIDED, R.COMPLETED),
        (GateStatus.NO_DATA, R.COMPLETED),
        (GateStatus.BREACHED, R.UNDOING),
    ]:
        some = started(stages=[100])
        change(some)
        some.gates = (PASSED, GateResult("p95_latency", status, "slow", required=False))
        wait(some, SOAK_S)
        assert some.rollout.state is state


# Orders.


def test_a_paused_rollout_gives_no_wishes_and_goes_on_where_it_was() -> None:
    some = started()
    outcome = some.step(order(Action.PAUSE, "lunch"))
    assert outcome.decisions[0].message == "paused by user:anna: lunch"
    assert some.rollout.reason == "paused by user:anna: lunch"
    change(some)
    assert not wait(some, 1000).wishes
    assert some.rollout.stage == 0
    assert len(some.members(M.CHANGED)) == 2, "those under way finish"
    assert actions(some.step(order(Action.RESUME)))[:2] == ["resumed", "soak_begun"]
    assert wait(some, SOAK_S).wishes


def test_promote_waives_soak_and_undecided_gates_of_one_stage() -> None:
    some = started(stages=[25, 50, 100])
    change(some)
    some.gates = (UNDECIDED,)
    outcome = some.step(order(Action.PROMOTE))
    passed = next(one for one in outcome.decisions if one.action == "stage_passed")
    assert passed.evidence["waived"] == ["f1"]
    assert "without f1" in passed.message
    assert (some.rollout.stage, some.rollout.promoted) == (1, False)
    change(some)
    wait(some, SOAK_S)
    assert some.rollout.stage == 1


def test_promote_waits_for_those_under_way() -> None:
    some = started()
    some.step(order(Action.PROMOTE))
    assert some.rollout.promoted
    outcome = some.step(order(Action.PROMOTE))
    assert [one.code for one in outcome.refusals] == ["already_promoted"]
    change(some)
    assert some.rollout.stage == 1


def test_promote_goes_on_from_a_pause() -> None:
    some = started(stages=[100])
    change(some)
    some.gates = (UNDECIDED,)
    wait(some, SOAK_S + 301)
    some.step(order(Action.PROMOTE))
    assert some.rollout.state is R.COMPLETED


def test_abort_takes_back_what_is_under_way_and_keeps_the_rest() -> None:
    some = started(stages=[50, 100])
    device = first(some)
    some.publish()
    device.follow(some.now_ms)
    some.step()
    outcome = some.step(order(Action.ABORT))
    assert some.rollout.state is R.ABORTING
    assert len(outcome.wishes) == 1
    assert some.members(M.CHANGED) == [device.name]
    assert len(some.members(M.UNTOUCHED)) == 2
    outcome = change(some)
    assert actions(outcome) == ["devices_reverted", "aborted"]
    assert some.rollout.state is R.ABORTED
    # Undone later all the same.
    some.step(order(Action.UNDO))
    change(some)
    assert some.rollout.state is R.UNDONE
    assert device.active == OLD


@pytest.mark.parametrize(
    ("state", "action", "instead"),
    [
        (R.RUNNING, Action.RESUME, "pause"),
        (R.PAUSED, Action.PAUSE, "resume"),
        (R.ABORTING, Action.PROMOTE, "undo"),
        (R.UNDOING, Action.UNDO, "nothing is left"),
        (R.UNDOING, Action.ABORT, "nothing is left"),
        (R.COMPLETED, Action.ABORT, "undo"),
        (R.UNDONE, Action.UNDO, "nothing is left"),
        (R.UNDO_INCOMPLETE, Action.RESUME, "undo"),
    ],
)
def test_orders_that_make_no_sense_are_refused_with_what_would(
    state: RolloutState, action: Action, instead: str
) -> None:
    some = started()
    outcome = step(
        replace(some.rollout, state=state),
        Facts(some.now_ms, {}, orders=(order(action),)),
        new_id=some.new_id,
    )
    (refusal,) = outcome.refusals
    assert refusal.code == "order_refused"
    assert instead in refusal.message
    assert not outcome.wishes


def test_orders_are_taken_one_after_the_other() -> None:
    some = started()
    outcome = some.step(order(Action.PAUSE), order(Action.RESUME), order(Action.RESUME))
    assert actions(outcome) == ["paused", "resumed", "order_refused"]


# Undoing.


def completed(*devices: Device) -> Fleet:
    some = fleet(*devices, stages=[100])
    some.step()
    change(some)
    wait(some, SOAK_S)
    assert some.rollout.state is R.COMPLETED
    return some


def test_what_completed_is_undone_and_verified() -> None:
    some = completed(Device(1), Device(2, active=NEW))
    some.step(order(Action.UNDO))
    assert some.rollout.state is R.UNDOING
    assert some.rollout.ended_ms is None
    assert some.members(M.UNTOUCHED) == ["d2"], "it never got a wish"
    change(some)
    assert some.rollout.state is R.UNDONE
    assert some.devices[2].active == NEW


def test_what_others_took_over_since_is_not_undone() -> None:
    some = completed(Device(1), Device(2))
    some.devices[1].taken_by = "r-2"
    outcome = some.step(order(Action.UNDO))
    assert [one.device for one in outcome.wishes] == ["d2"]
    assert some.members(M.SUPERSEDED) == ["d1"]
    some = completed(Device(1))
    some.devices[1].taken_by = "r-2"
    outcome = some.step(order(Action.UNDO))
    assert [one.code for one in outcome.refusals] == ["nothing_to_undo"]


def test_missing_devices_make_it_incomplete_and_late_reports_mend_it() -> None:
    some = completed(Device(1), Device(2))
    some.step(order(Action.UNDO))
    some.publish()
    some.devices[2].connect(some.now_ms, False)
    some.devices[1].follow(some.now_ms)
    some.step()
    outcome = wait(some, 1001)
    assert actions(outcome) == ["devices_revert_expired", "undo_incomplete"]
    assert some.members(M.REVERT_EXPIRED) == ["d2"]
    assert not wait(some, 10**6).decisions
    some.devices[2].connect(some.now_ms, True)
    some.devices[2].follow(some.now_ms)
    assert actions(some.step()) == ["devices_reverted", "undone"]
    assert some.rollout.state is R.UNDONE


def test_a_device_that_cannot_go_back_is_told_and_tried_again_on_order() -> None:
    some = completed(Device(1))
    some.step(order(Action.UNDO))
    some.publish()
    some.devices[1].follow(some.now_ms, fails=True)
    outcome = some.step()
    assert actions(outcome) == ["device_not_reverted", "undo_incomplete"]
    assert member(some, 1).code == "checks_failed"
    outcome = some.step(order(Action.UNDO))
    assert len(outcome.wishes) == 1
    change(some)
    assert some.rollout.state is R.UNDONE


def test_one_that_failed_the_wish_back_but_serves_that_model_is_back() -> None:
    some = started(stages=[100])
    some.step(order(Action.UNDO))
    some.publish()
    for device in some.devices.values():
        device.follow(some.now_ms, fails=True)
    some.step()
    assert some.rollout.state is R.UNDONE


def test_one_of_which_nothing_is_known_has_its_wish_taken_back_and_then_says_it() -> None:
    some = fleet(Device(1, tells=False, online=False), stages=[100])
    some.step()
    outcome = some.step(order(Action.UNDO))
    assert [(one.wish, one.model) for one in outcome.wishes] == [(None, None)]
    assert some.rollout.state is R.UNDOING
    some.now_ms += 1000
    some.publish()
    some.devices[1].connect(some.now_ms, True)
    outcome = some.step()
    assert [one.model for one in outcome.wishes] == [OLD], "so that it is proved"
    change(some)
    assert some.rollout.state is R.UNDONE


def test_one_that_has_nothing_to_go_back_to_says_so() -> None:
    device = Device(1, tells=False)
    some = fleet(device, stages=[100])
    some.step()
    some.now_ms += 1000
    report(device, some, wish=member(some, 1).wish, active=NEW)
    some.step()
    some.step(order(Action.UNDO))
    some.now_ms += 1000
    report(device, some, active=NEW)
    some.step()
    assert some.rollout.state is R.UNDO_INCOMPLETE
    assert member(some, 1).code == "before_unknown"
    assert "edgeqa swap d1" in (member(some, 1).message or "")


def test_undo_ignores_windows_and_rate() -> None:
    some = fleet(stages=[100], max_per_minute=4, windows=[{"begin": "13:00", "end": "13:47"}])
    assert len(some.step().wishes) == 4
    some.now_ms += 30_000
    assert len(some.step(order(Action.UNDO)).wishes) == 4


# Two rollouts on one device, and devices that come.


@pytest.mark.parametrize("state", [M.WAITING, M.WISHED, M.CHANGED, M.FAILED])
def test_what_a_newer_rollout_reached_is_never_touched_again(state: MemberState) -> None:
    some = started()
    device = first(some)
    if state is M.WAITING:
        device = next(one for one in some.devices.values()
                      if member(some, one.device_id).state is state)  # fmt: skip
    elif state is not M.WISHED:
        some.publish()
        device.follow(some.now_ms, fails=state is M.FAILED)
        some.step()
    assert member(some, device.device_id).state is state
    device.taken_by = "r-2"
    outcome = some.step()
    assert actions(outcome) == ["devices_superseded"]
    assert outcome.decisions[0].message == "1 device was taken over by r-2"
    assert device.name in some.members(M.SUPERSEDED)
    assert not any(one.device == device.name for one in some.step(order(Action.UNDO)).wishes)


def test_where_all_was_taken_over_a_rollout_ends() -> None:
    some = started(stages=[100])
    for device in some.devices.values():
        device.taken_by = "r-2"
    some.step()
    assert some.rollout.state is R.ABORTED
    assert some.rollout.code == "taken_over"


def test_joiners_join_the_last_stage_once() -> None:
    some = started()
    some.devices[7] = Device(7)
    outcome = some.step(joiners=(Joiner(7, "d7"), Joiner(1, "d1"), Joiner(7, "d7")))
    assert actions(outcome) == ["devices_joined"]
    assert (member(some, 7).stage, member(some, 7).position) == (1, 4)
    assert member(some, 7).state is M.WAITING


@pytest.mark.parametrize("fields", [{"stages": [50]}, {"joiners": "ignore"}])
def test_nobody_joins_where_devices_were_left_out_on_purpose(fields: dict[str, Any]) -> None:
    some = started(**fields)
    before = len(some.rollout.members)
    some.step(joiners=(Joiner(7, "d7"),))
    assert len(some.rollout.members) == before


def test_facts_of_strangers_are_ignored() -> None:
    some = started()
    facts = Facts(some.now_ms, {999: DeviceNow(online=True, model=OLD, report=None)})
    assert step(some.rollout, facts, new_id=some.new_id).rollout is some.rollout
