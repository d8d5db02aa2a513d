"""The way back: undo and abort, each verified by what the devices report."""

from __future__ import annotations

from collections import Counter
from typing import Any

from edgeqa.model_messages import ModelState
from edgeqa_cloud.rollout.machine_draft import Draft
from edgeqa_cloud.rollout.model import DeviceNow, Member, Report
from edgeqa_cloud.rollout.states import MemberState, RolloutState

_ENDS = frozenset({ModelState.ACTIVE, ModelState.FAILED, ModelState.ROLLED_BACK})
_TOUCHED = frozenset({MemberState.WISHED, MemberState.CHANGED, MemberState.FAILED})
_MISSING = frozenset({MemberState.REVERT_FAILED, MemberState.REVERT_EXPIRED})


def begin_undo(
    draft: Draft, *, code: str, reason: str, actor: str = "engine", evidence: Any = None
) -> None:
    """Everybody goes back who was touched, and is still this rollout's."""
    draft.set(
        state=RolloutState.UNDOING,
        code=code,
        reason=reason,
        undo_begun_ms=draft.now_ms,
        ended_ms=None,
    )
    draft.decide("undo_begun", reason, evidence=evidence, actor=actor)
    _send_back(draft, _TOUCHED | _MISSING)


def begin_abort(draft: Draft, *, reason: str, actor: str, evidence: Any = None) -> None:
    """Nobody else; those under way go back, those that changed stay."""
    draft.set(state=RolloutState.ABORTING, code="ordered", reason=reason)
    draft.decide("abort_begun", reason, evidence=evidence, actor=actor)
    _send_back(draft, frozenset({MemberState.WISHED}))


def can_undo(draft: Draft) -> bool:
    """Whether there is a device to go back, or to wait for."""
    return any(
        (one.state in _TOUCHED and one.wish is not None)
        or one.state in _MISSING
        or one.state is MemberState.REVERTING
        for one in draft.members.values()
        if not _taken(draft, one)
    )


def _taken(draft: Draft, member: Member) -> bool:
    now = draft.now(member)
    return now is not None and now.taken_by is not None


def _send_back(draft: Draft, states: frozenset[MemberState]) -> None:
    for member in sorted(draft.members.values(), key=lambda one: one.position):
        waiting = member.state is MemberState.WAITING
        if not waiting and member.state not in states:
            continue
        now = draft.now(member)
        if now is not None and now.taken_by is not None:
            supersede(draft, member, now.taken_by)
        elif waiting or member.wish is None:
            draft.put(member, state=MemberState.UNTOUCHED)
        else:
            go_back(draft, member)


def supersede(draft: Draft, member: Member, taken_by: str) -> None:
    """Let go of a device."""
    told = f"taken over by {taken_by}"
    draft.put(member, state=MemberState.SUPERSEDED, code="taken_over", message=told)
    draft.note("devices_superseded", member, f"was {told}", f"were {told}")


def go_back(draft: Draft, member: Member, *, stays: bool = False) -> Member:
    """Wish for the model before; where nobody knows it, take the wish back.

    Args:
        draft: of the step.
        member: that got a wish.
        stays: in its state: nobody waits for it.
    """
    now = draft.now(member)
    before = member.before
    if before is None and now is not None and now.report is not None:
        before = _learnt(draft, now.report)
    wish = draft.wish(member, before, forward=False)
    if stays:
        return draft.put(member, before=before, revert_wish=wish)
    draft.note("devices_sent_back", member, "was sent back to the model that it had",
               "were sent back to the models that they had")  # fmt: skip
    return draft.put(
        member,
        state=MemberState.REVERTING,
        before=before,
        revert_wish=wish,
        reverting_ms=draft.now_ms,
        code=None,
        message=None,
    )


def _learnt(draft: Draft, report: Report) -> Any:
    """What a device had before the new model, as its report tells; None if it does not."""
    target = draft.rollout.target
    for model in (report.active, report.previous):
        if model is not None and model.digest != target.digest:
            return model
    return None


def look_back(draft: Draft, member: Member, now: DeviceNow) -> None:
    """A member on its way back: whether it is there."""
    report = now.report
    if report is not None and report.state in _ENDS:
        if member.before is None:
            if report.received_ms > (member.reverting_ms or 0):
                _find_out(draft, member, report)
                return
        elif report.wish is not None and report.wish == member.revert_wish:
            if report.active is not None and report.active == member.before:
                draft.put(member, state=MemberState.REVERTED, code=None, message=None)
                draft.note("devices_reverted", member, "proved the model that it had before",
                           "proved the models that they had before")  # fmt: skip
                return
            if report.state is not ModelState.ACTIVE:
                _cannot(draft, member, report.code or "swap_failed", report.message)
                return
    if member.state is not MemberState.REVERTING:
        return
    spec = draft.rollout.spec
    if draft.now_ms - (member.reverting_ms or 0) > 1000 * spec.offline_expire_s:
        told = f"it did not come back in {spec.offline_expire_s:g} s; its wish stands"
        draft.put(member, state=MemberState.REVERT_EXPIRED, code="device_offline", message=told)
        draft.note("devices_revert_expired", member, "did not come back in time: its wish stands",
                   "did not come back in time: their wishes stand")  # fmt: skip


def look_again(draft: Draft, member: Member, now: DeviceNow) -> None:
    """A member that was back: whether it left that model again."""
    report = now.report
    if (
        report is not None
        and now.taken_by is None
        and report.wish is not None
        and report.wish == member.revert_wish
        and report.state in {ModelState.FAILED, ModelState.ROLLED_BACK}
        and (report.active is None or report.active != member.before)
    ):
        _cannot(draft, member, report.code or "model_left", report.message)


def _find_out(draft: Draft, member: Member, report: Report) -> None:
    """Nobody knew what to go back to; the device says it now, or that it has nothing."""
    if _learnt(draft, report) is not None:
        go_back(draft, member)
    elif report.active is not None:
        told = "it runs the new model, and nothing says what it ran before; wish for a model: "
        _cannot(draft, member, "before_unknown", told + f"edgeqa swap {member.device}")


def _cannot(draft: Draft, member: Member, code: str, message: str | None) -> None:
    if member.state is MemberState.REVERT_FAILED and member.code == code:
        return
    draft.put(member, state=MemberState.REVERT_FAILED, code=code, message=message)
    draft.decide(
        "device_not_reverted",
        f"{member.device} did not go back: {message or code}",
        evidence={"code": code, "wish": member.revert_wish},
        device=member.device,
    )


def end_undo(draft: Draft) -> None:
    """Over, when nothing is awaited any more."""
    counts = Counter(one.state for one in draft.members.values())
    state = draft.rollout.state
    if counts[MemberState.REVERTING]:
        if state is RolloutState.UNDO_INCOMPLETE:  # one that said only now what it had before
            draft.set(state=RolloutState.UNDOING, ended_ms=None)
        return
    missing = sum(counts[one] for one in _MISSING)
    ends = RolloutState.UNDO_INCOMPLETE if missing else RolloutState.UNDONE
    if ends is state:
        return
    back = counts[MemberState.REVERTED]
    reason = f"{back:,} device{'s' * (back != 1)} proved the model that they had before"
    if missing:
        reason += f"; {missing:,} did not, and may still"
    # Why it was undone stays its reason; how it ended is in its state.
    draft.set(state=ends, ended_ms=draft.now_ms)
    draft.decide(ends.value, reason, evidence=_by_state(counts))


def end_abort(draft: Draft) -> None:
    """Over, when nothing is awaited any more."""
    counts = Counter(one.state for one in draft.members.values())
    if counts[MemberState.REVERTING]:
        return
    draft.set(state=RolloutState.ABORTED, ended_ms=draft.now_ms)
    kept = counts[MemberState.CHANGED]
    draft.decide(
        "aborted",
        f"{kept:,} device{'s' * (kept != 1)} keep the new model",
        evidence=_by_state(counts),
    )


def _by_state(counts: Counter[MemberState]) -> dict[str, Any]:
    return {"devices": {state.value: counts[state] for state in MemberState if counts[state]}}
