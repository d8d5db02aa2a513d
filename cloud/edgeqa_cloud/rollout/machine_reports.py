"""What devices said, taken in: who changed, failed, is back, was taken over or is not there.

A report counts for the wish that it names. One that names an older wish is old, or somebody's
replay. One that names none, as after a restart, counts by the digest of the model that answers, if
it came after the wish; not for the way back, where only the wish's own report is proof, as the
device may still be about to follow what it was told before.
"""

from __future__ import annotations

from edgeqa.model_messages import ModelState
from edgeqa_cloud.rollout.machine_back import (
    go_back,
    look_again,
    look_back,
    supersede,
)
from edgeqa_cloud.rollout.machine_draft import Draft, names
from edgeqa_cloud.rollout.model import DeviceNow, Member, Report
from edgeqa_cloud.rollout.states import MemberState, RolloutState

_ENDS = frozenset({ModelState.ACTIVE, ModelState.FAILED, ModelState.ROLLED_BACK})
_UNDER_WAY = frozenset({RolloutState.RUNNING, RolloutState.PAUSED})
_LET_GO = frozenset({MemberState.UNTOUCHED, MemberState.SUPERSEDED})
_GOING_BACK = frozenset(
    {MemberState.REVERTING, MemberState.REVERT_FAILED, MemberState.REVERT_EXPIRED}
)


def observe(draft: Draft) -> None:
    """Take in the devices that were seen; of a rollout that is over, only what mends an undo."""
    state = draft.rollout.state
    if state.final and state is not RolloutState.UNDO_INCOMPLETE:
        return
    for device_id, now in draft.facts.devices.items():
        member = draft.members.get(device_id)
        if member is None or member.state in _LET_GO:
            continue
        if member.state is MemberState.REVERTED:
            look_again(draft, member, now)
        elif now.taken_by is not None:
            supersede(draft, member, now.taken_by)
        elif member.state is MemberState.WISHED:
            _wished(draft, member, now)
        elif member.state is MemberState.CHANGED:
            _changed(draft, member, now)
        elif member.state is MemberState.EXPIRED:
            _expired(draft, member, now)
        elif member.state in _GOING_BACK:
            look_back(draft, member, now)
    draft.flush()


def _wished(draft: Draft, member: Member, now: DeviceNow) -> None:
    report = now.report
    if report is not None:
        if report.state is ModelState.ACTIVE and _counts(member, report, member.wished_ms):
            if report.active is not None and report.active.digest == draft.rollout.target.digest:
                _succeed(draft, member, report)
                return
        elif report.wish == member.wish and report.state in _ENDS:
            _fail(draft, member, report, code=report.code, message=report.message)
            return
    _wait(draft, member, now)


def _wait(draft: Draft, member: Member, now: DeviceNow) -> None:
    waited_ms = draft.now_ms - (member.wished_ms or 0)
    spec = draft.rollout.spec
    if now.online and not member.online_when_wished:
        # Back: from now on it is awaited like the others.
        draft.put(member, online_when_wished=True, wished_ms=draft.now_ms)
    elif now.online and waited_ms > 1000 * spec.stuck_s:
        told = f"it is online and neither took nor refused the model in {spec.stuck_s:g} s"
        # It may still take it: its wish must not stand.
        _fail(draft, member, now.report, code="device_stuck", message=told, back=True)
    elif waited_ms > 1000 * spec.offline_expire_s:
        told = f"it did not follow its wish in {spec.offline_expire_s:g} s"
        draft.put(
            member,
            state=MemberState.EXPIRED,
            revert_wish=draft.wish(member, member.before, forward=False),
            code="device_offline",
            message=told,
        )
        draft.note("devices_expired", member, "did not follow in time: its wish was taken back",
                   "did not follow in time: their wishes were taken back")  # fmt: skip


def _changed(draft: Draft, member: Member, now: DeviceNow) -> None:
    report = now.report
    if report is None or report.state not in _ENDS:
        return
    if report.wish is not None and report.wish == member.wish:
        if report.state is not ModelState.ACTIVE:
            _fail(draft, member, report, code=report.code, message=report.message)
        return
    # One that needed no wish has none whose reports alone would count.
    later = report.received_ms > (member.settled_ms or 0)
    if not later or (report.wish is not None and member.wish is not None):
        return
    if report.active is None or report.active.digest == draft.rollout.target.digest:
        return
    if report.state is ModelState.ACTIVE and member.wish is None:
        if draft.rollout.state in _UNDER_WAY:
            draft.put(member, state=MemberState.WAITING, before=None)
            draft.note("devices_wait_again", member, "left the new model: its turn comes again",
                       "left the new model: their turn comes again")  # fmt: skip
        return
    told = report.message or f"it runs {names(report.active)} instead"
    _fail(draft, member, report, code=report.code or "model_left", message=told)


def _expired(draft: Draft, member: Member, now: DeviceNow) -> None:
    """Its wish was taken back, with nothing to go back to; it may have followed before that."""
    report, rollout = now.report, draft.rollout
    if (
        report is not None
        and member.revert_wish is None
        and rollout.state in _UNDER_WAY
        and report.state is ModelState.ACTIVE
        and report.wish == member.wish
        and report.active is not None
        and report.active.digest == rollout.target.digest
    ):
        _succeed(draft, member, report)


def _counts(member: Member, report: Report, since_ms: int | None) -> bool:
    if report.wish is None:
        return report.received_ms > (since_ms or 0)
    return report.wish == member.wish


def _succeed(draft: Draft, member: Member, report: Report) -> None:
    before, previous = member.before, report.previous
    if before is None and previous is not None and previous.digest != draft.rollout.target.digest:
        before = previous
    draft.put(member, state=MemberState.CHANGED, before=before, code=None, message=None)
    draft.note("devices_changed", member, "proved the new model: it answers with it",
               "proved the new model: they answer with it")  # fmt: skip


def _fail(
    draft: Draft,
    member: Member,
    report: Report | None,
    *,
    code: str | None,
    message: str | None,
    back: bool = False,
) -> None:
    """It did not take the model, or left it; sent back, unless it says that it is."""
    active = None if report is None else report.active
    own = report is not None and report.wish == member.wish
    before = member.before
    if before is None and own and active and active.digest != draft.rollout.target.digest:
        before = active
    member = draft.put(
        member,
        state=MemberState.FAILED,
        before=before,
        code=code or "swap_failed",
        message=message,
    )
    if member.wish is not None and (back or active is None or active != before):
        member = go_back(draft, member, stays=True)
    evidence = {
        "stage": member.stage,
        "code": member.code,
        "wish": member.wish,
        "before": None if before is None else before.model_dump(),
        "active": None if active is None else active.model_dump(),
    }
    draft.decide(
        "device_failed",
        f"{member.device} does not serve the new model: {message or member.code}",
        evidence=evidence,
        device=member.device,
    )
