"""The state machine of rollouts against a fleet on which anything happens in any order: devices
come and go, fail, die, restart, and are taken over; reports come late or are replayed; wishes are
published late or twice; the engine ends before or after its transaction; people order anything."""

from __future__ import annotations

from collections import Counter
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from support.rollout_fleet import NEW, OLD, Device, Fleet

from edgeqa_cloud.rollout.model import (
    GateResult,
    Joiner,
    Member,
    Order,
    Outcome,
    Rollout,
)
from edgeqa_cloud.rollout.planning import Candidate, assign
from edgeqa_cloud.rollout.spec import RolloutGates, RolloutSpec
from edgeqa_cloud.rollout.states import Action, GateStatus, MemberState, RolloutState
from edgeqa_cloud.rollout.windows import is_open

STUCK_S, EXPIRE_S, SOAK_S, EVIDENCE_S = 200, 1000, 90, 300
# A window from 01:00 to 13:00: the clock begins at 01:46:40.
WINDOW = {"begin": "01:00", "end": "13:00"}
START_MS = 1_000_000_000_000
DEVICES = st.integers(0, 6)


def passed(name: str = "f1", status: GateStatus = GateStatus.PASSED, *, required: bool = True,
           ) -> GateResult:  # fmt: skip
    return GateResult(name, status, f"{name} is {status}", required=required)


class RolloutMachine(RuleBasedStateMachine):
    # Over all examples: that they get anywhere.
    reached: ClassVar[Counter[RolloutState]] = Counter()

    @initialize(
        fields=st.fixed_dictionaries(
            {
                "on_breach": st.sampled_from(["undo", "undo", "pause"]),
                "max_per_minute": st.sampled_from([None, None, 1, 2]),
                "max_under_way": st.sampled_from([None, 1]),
                "windows": st.sampled_from([[], [WINDOW]]),
            }
        ),
        stages=st.sampled_from([[100], [20, 100], [1, 50, 100], [50]]),
        soak_s=st.sampled_from([0, SOAK_S]),
        kinds=st.lists(
            st.sampled_from(["old", "old", "old", "new", "silent", "away"]), min_size=1, max_size=6
        ),
        status=st.sampled_from([None, GateStatus.UNDECIDED, GateStatus.PASSED]),
    )
    def begin(
        self,
        *,
        fields: dict[str, Any],
        stages: list[int],
        soak_s: int,
        kinds: list[str],
        status: GateStatus | None,
    ) -> None:
        spec = RolloutSpec.model_validate(
            fields
            | {
                "package": {"name": NEW.name, "version": NEW.version},
                "target": {"all": True},
                "stages": [{"percent": one, "soak_s": soak_s} for one in stages],
                "gates": dict.fromkeys(set(RolloutGates.model_fields) - {"f1"}),
                "stuck_s": STUCK_S,
                "offline_expire_s": EXPIRE_S,
                "evidence_s": EVIDENCE_S,
            }
        )
        devices = {}
        for device_id, kind in enumerate(kinds):
            devices[device_id] = Device(
                device_id,
                online=kind in {"old", "new"},
                active=NEW if kind == "new" else OLD,
                tells=kind != "silent",
            )
        members = assign(
            spec,
            [
                Candidate(one.device_id, one.name, one.online, one.active if one.tells else None)
                for one in devices.values()
            ],
            rollout="r-1",
        )
        rollout = Rollout(
            key=1, rollout="r-1", spec=spec, target=NEW, created_ms=START_MS,
            members={one.device_id: one for one in members},
        )  # fmt: skip
        self.fleet = Fleet(rollout, devices, START_MS)
        self.fleet.gates = () if status is None else (passed("f1", status),)
        self.orders = 0
        self.let_go: set[int] = set()

    # The world.

    def device(self, number: int) -> Device:
        return self.fleet.devices[number % len(self.fleet.devices)]

    @rule(number=DEVICES, fails=st.sampled_from([False, False, False, True]))
    def follow(self, number: int, fails: bool) -> None:
        self.device(number).follow(self.fleet.now_ms, fails=fails)

    @rule()
    def all_follow(self) -> None:
        for one in self.fleet.devices.values():
            one.follow(self.fleet.now_ms)

    @rule(number=DEVICES, what=st.sampled_from(["begin", "die", "restart"]))
    def something_happens(self, number: int, what: str) -> None:
        getattr(self.device(number), what)(self.fleet.now_ms)

    @rule(number=DEVICES, online=st.booleans())
    def come_or_go(self, number: int, online: bool) -> None:
        self.device(number).connect(self.fleet.now_ms, online)

    @rule(number=DEVICES, which=st.integers(0, 30))
    def replay(self, number: int, which: int) -> None:
        """An earlier report of a wish comes again, over a newer one."""
        device = self.device(number)
        old = [one for one in device.past if one.wish is not None]
        if old:
            device.replay(old[which % len(old)], self.fleet.now_ms)

    @precondition(lambda self: any(one.taken_by is None for one in self.fleet.devices.values()))
    @rule(number=DEVICES, by_hand=st.booleans(), chance=st.integers(0, 3))
    def take_over(self, number: int, by_hand: bool, chance: int) -> None:
        if chance:  # seldom
            return
        device = self.device(number)
        self.fleet.swap(device)
        if not by_hand:
            device.taken_by = "r-2"

    @rule(seconds=st.sampled_from([1, 59, 61, SOAK_S + 1, STUCK_S + 1, EVIDENCE_S, EXPIRE_S + 1]))
    def time_passes(self, seconds: int) -> None:
        self.fleet.now_ms += 1000 * seconds

    @rule(hours=st.sampled_from([6, 12]))
    def much_time_passes(self, hours: int) -> None:
        self.fleet.now_ms += 3_600_000 * hours

    @rule(
        status=st.sampled_from([*GateStatus, GateStatus.PASSED, GateStatus.PASSED]),
        optional=st.sampled_from([None, None, *GateStatus]),
    )
    def gates_are_judged(self, status: GateStatus, optional: GateStatus | None) -> None:
        gates = [passed("f1", status)]
        if optional is not None:
            gates.append(passed("p95_latency", optional, required=False))
        self.fleet.gates = tuple(gates)

    # The engine.

    @rule(most=st.sampled_from([None, 0, 1, 2]), marked=st.sampled_from([True, True, False]))
    def publish(self, most: int | None, marked: bool) -> None:
        self.fleet.publish(most, marked=marked)

    @rule(
        written=st.sampled_from([True, True, True, False]), turns=st.sampled_from([None, None, 1])
    )
    def step(self, written: bool, turns: int | None) -> None:
        self.take(written=written, turns=turns)

    @rule(action=st.sampled_from(Action), written=st.booleans(), chance=st.integers(0, 2))
    def order(self, action: Action, written: bool, chance: int) -> None:
        if action in {Action.ABORT, Action.UNDO} and chance:
            return
        self.orders += 1
        self.take(Order(self.orders, action, "user:anna"), written=written)

    @rule(count=st.integers(1, 2))
    def somebody_joins(self, count: int) -> None:
        if len(self.fleet.devices) > 8:
            return
        new = []
        for _ in range(count):
            device_id = len(self.fleet.devices)
            self.fleet.devices[device_id] = Device(device_id)
            new.append(Joiner(device_id, f"d{device_id}"))
        before = len(self.fleet.rollout.members)
        under_way = self.fleet.rollout.state in {RolloutState.RUNNING, RolloutState.PAUSED}
        whole = self.fleet.rollout.spec.stages[-1].percent == 100
        self.take(joiners=tuple(new))
        assert len(self.fleet.rollout.members) == before + count * (under_way and whole)

    def take(self, *orders: Order, joiners: tuple[Joiner, ...] = (), written: bool = True,
             turns: int | None = None) -> None:  # fmt: skip
        before = self.fleet.rollout
        outcome = self.fleet.step(*orders, joiners=joiners, written=written, turns=turns)
        self.check(before, outcome, orders)

    @rule()
    def all_goes_well_for_a_while(self) -> None:
        for seconds in (1, SOAK_S + 1):
            self.fleet.settle()
            self.take()
            self.fleet.now_ms += 1000 * seconds
        self.take()

    # What must hold.

    def check(self, before: Rollout, outcome: Outcome, orders: tuple[Order, ...]) -> None:
        after = outcome.rollout
        statuses = {one.gate: one.status for one in self.fleet.gates}
        if after.state is RolloutState.COMPLETED and before.state is not after.state:
            assert GateStatus.BREACHED not in statuses.values()
            if any(one.wish is not None for one in after.members.values()):
                assert after.promoted or statuses["f1"] is GateStatus.PASSED
            assert all(one.state not in {MemberState.WAITING, MemberState.WISHED}
                       for one in after.members.values())  # fmt: skip
        if GateStatus.BREACHED in statuses.values():
            assert after.state is not RolloutState.RUNNING
            assert after.state is not RolloutState.PAUSED or after.spec.on_breach == "pause"
        self.reached[after.state] += 1
        forward = [one for one in outcome.wishes if one.forward]
        if forward:
            assert is_open(after.spec.windows, self.fleet.now_ms)
            went_on = any(one.action in {Action.RESUME, Action.PROMOTE} for one in orders)
            assert before.state is RolloutState.RUNNING or went_on
            assert GateStatus.BREACHED not in statuses.values()
        for wish in outcome.wishes:
            assert wish.device_id not in self.let_go, "what was taken over is never touched again"
            assert self.fleet.devices[wish.device_id].taken_by is None
            assert wish.model is None or wish.wish is not None
        assert {one.device_id for one in forward} <= outcome.changed
        room = after.spec.max_under_way
        online = [one for one in forward if self.fleet.devices[one.device_id].online]
        if room is not None and online:
            busy = [one for one in after.members.values() if one.state is MemberState.WISHED
                    and self.fleet.devices[one.device_id].online]  # fmt: skip
            assert len(busy) <= room
        self.let_go |= {one.device_id for one in after.members.values()
                        if one.state is MemberState.SUPERSEDED}  # fmt: skip
        for device_id, member in before.members.items():
            if device_id not in outcome.changed:
                assert after.members[device_id] is member
        assert len(outcome.refusals) <= len(orders)

    @invariant()
    def rate_holds(self) -> None:
        spec = self.fleet.rollout.spec
        if spec.max_per_minute is None:
            return
        times = [at for at, wish in self.fleet.made if wish.forward]
        for at in times:
            assert sum(at <= one < at + 60_000 for one in times) <= spec.max_per_minute

    @invariant()
    def untouched_never_had_a_wish(self) -> None:
        wished = {wish.device_id for _, wish in self.fleet.made if wish.forward}
        for member in self.fleet.rollout.members.values():
            if member.state in {MemberState.WAITING, MemberState.UNTOUCHED}:
                assert member.device_id not in wished
                assert member.wish is None

    @invariant()
    def proof_is_proof(self) -> None:
        """Who counts as changed or back really had that model, for that wish."""
        for member in self.fleet.rollout.members.values():
            device = self.fleet.devices[member.device_id]
            told = [(one.wish, one.active and one.active.digest) for one in device.past]
            if member.state is MemberState.REVERTED:
                assert member.before is not None
                assert (member.revert_wish, member.before.digest) in told
            if member.state is MemberState.CHANGED and member.wish is not None:
                assert (member.wish, NEW.digest) in told or (None, NEW.digest) in told

    @invariant()
    def nobody_is_between_models(self) -> None:
        """At the end of a rollout each device is where it is said to be, or told to go there."""
        if self.fleet.rollout.state.final:
            for member in self.fleet.rollout.members.values():
                assert member.state not in {MemberState.WAITING, MemberState.WISHED,
                                            MemberState.REVERTING}  # fmt: skip
                self.check_told(member)

    def check_told(self, member: Member) -> None:
        """The newest wish that was made for a device leads to where it is said to be."""
        made = [wish for _, wish in self.fleet.made if wish.device_id == member.device_id]
        last = made[-1] if made else None
        if member.state is MemberState.CHANGED and member.wish is not None:
            assert last is not None
            assert last.wish == member.wish
            assert last.model == NEW
        elif member.state in {MemberState.EXPIRED, MemberState.REVERTED,
                              MemberState.REVERT_EXPIRED, MemberState.REVERT_FAILED}:  # fmt: skip
            assert last is not None
            assert not last.forward
            assert last.wish == member.revert_wish
            assert last.model == (member.before if last.wish else None)

    def teardown(self) -> None:
        """Whatever happened: undone, everybody is back once all are there and follow."""
        if not hasattr(self, "fleet"):
            return
        fleet = self.fleet
        if fleet.rollout.state is not RolloutState.UNDONE:
            self.take(Order(10**6, Action.UNDO, "user:anna"))
        # One to be sent back, one to learn what it had, one to prove it.
        for _ in range(4):
            fleet.now_ms += 1000
            fleet.settle()
            fleet.now_ms += 1000
            self.take()
        rollout = fleet.rollout
        assert rollout.state.final
        for member in rollout.members.values():
            device = fleet.devices[member.device_id]
            if device.taken_by is not None:
                continue
            if member.state is MemberState.REVERTED:
                assert member.before is not None
                assert device.active == member.before or device.died
            elif member.state is MemberState.REVERT_FAILED:
                assert rollout.state is RolloutState.UNDO_INCOMPLETE
            elif member.state is MemberState.EXPIRED and member.revert_wish is not None:
                assert device.active == member.before or device.died
            elif rollout.state not in {RolloutState.ABORTED, RolloutState.COMPLETED}:
                assert member.state in {MemberState.UNTOUCHED, MemberState.SUPERSEDED,
                                        MemberState.EXPIRED}  # fmt: skip


def run(examples: int, steps: int) -> None:
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        RolloutMachine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            report_multiple_bugs=False,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
        ),
    )


def test_nothing_is_left_between_models_whatever_happens() -> None:
    run(100, 40)
    for state in (RolloutState.PAUSED, RolloutState.COMPLETED, RolloutState.UNDONE):
        assert RolloutMachine.reached[state] >= 10  # some hundred


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_nothing_is_left_between_models_whatever_happens_for_long() -> None:
    run(3000, 100)
