"""Whose turn it is: new wishes, by stage, window, rate and how many may change at once."""

from __future__ import annotations

from edgeqa.messages import ModelRef
from edgeqa.model_messages import ModelState
from edgeqa_cloud.rollout.machine_draft import Draft, names
from edgeqa_cloud.rollout.machine_survey import survey
from edgeqa_cloud.rollout.model import DeviceNow, Member
from edgeqa_cloud.rollout.states import MemberState, RolloutState
from edgeqa_cloud.rollout.windows import is_open

_UNDER_WAY = frozenset({RolloutState.RUNNING, RolloutState.PAUSED})
_ENDS = frozenset({ModelState.ACTIVE, ModelState.FAILED, ModelState.ROLLED_BACK})
_WHOLE = 100


def join(draft: Draft) -> None:
    """Devices that have come to match the target join the last stage, where that takes all.

    Where it does not, devices outside of it were left out on purpose.
    """
    rollout = draft.rollout
    spec = rollout.spec
    if (
        rollout.state not in _UNDER_WAY
        or spec.joiners != "include"
        or spec.stages[-1].percent != _WHOLE
    ):
        return
    new = [one for one in draft.facts.joiners if one.device_id not in draft.members]
    if not new:
        return
    last = max((one.position for one in draft.members.values()), default=-1)
    for position, one in enumerate(new, last + 1):
        member = Member(one.device_id, one.device, len(spec.stages) - 1, position)
        if one.device_id not in draft.members:
            draft.put(member)
            draft.note("devices_joined", member, "joined the last stage", "joined the last stage")
    draft.flush()


def take_turns(draft: Draft) -> None:
    """Give wishes to those whose turn it is, in their order."""
    rollout = draft.rollout
    if rollout.stage_begun_ms is None:
        draft.set(stage_begun_ms=draft.now_ms)
        draft.decide(
            "stage_begun",
            f"stage {rollout.stage + 1} of {len(rollout.spec.stages)} begins",
            evidence={"stage": rollout.stage},
        )
    turns = sorted(
        (
            member
            for device_id in draft.facts.devices
            if (member := draft.members.get(device_id)) is not None
            and member.state is MemberState.WAITING
            and member.stage <= rollout.stage
        ),
        key=lambda one: one.position,
    )
    if not turns:
        return
    budget = _Budget(draft)
    for member in turns:
        now = draft.facts.devices[member.device_id]
        if _runs_target(draft, now):
            draft.put(member, state=MemberState.CHANGED, before=rollout.target)
            draft.note("devices_changed_already", member, "runs the new model already",
                       "run the new model already")  # fmt: skip
        elif budget.spend(now):
            _give(draft, member, now)
        elif budget.empty:
            break


def _give(draft: Draft, member: Member, now: DeviceNow) -> None:
    target = draft.rollout.target
    draft.put(
        member,
        state=MemberState.WISHED,
        before=_before(now),
        wish=draft.wish(member, target, forward=True),
        wished_ms=draft.now_ms,
        online_when_wished=now.online,
        revert_wish=None,
        reverting_ms=None,
        code=None,
        message=None,
    )
    draft.note("devices_wished", member, f"was wished {names(target)}",
               f"were wished {names(target)}")  # fmt: skip


def _before(now: DeviceNow) -> ModelRef | None:
    if now.report is not None and now.report.active is not None:
        return now.report.active
    return now.model


def _runs_target(draft: Draft, now: DeviceNow) -> bool:
    """Whether all that is known of it says so, and it is not about to leave it."""
    digest = draft.rollout.target.digest
    report = now.report
    active = None if report is None else report.active
    said = [one.digest for one in (now.model, active) if one is not None]
    return (
        bool(said)
        and all(one == digest for one in said)
        and (report is None or report.state in _ENDS)
    )


class _Budget:
    """How many new wishes may be made now."""

    def __init__(self, draft: Draft) -> None:
        spec = draft.rollout.spec
        self._open = is_open(spec.windows, draft.now_ms)
        seen = survey(draft)
        self._rate = None if spec.max_per_minute is None else spec.max_per_minute - seen.recent
        self._room = None if spec.max_under_way is None else spec.max_under_way - seen.busy

    @property
    def empty(self) -> bool:
        """Whether nobody gets a wish any more."""
        return not self._open or (self._rate is not None and self._rate <= 0)

    def spend(self, now: DeviceNow) -> bool:
        """Whether a device may have one; then it is counted."""
        if self.empty or (now.online and self._room is not None and self._room <= 0):
            return False
        if self._rate is not None:
            self._rate -= 1
        if now.online and self._room is not None:
            self._room -= 1
        return True
