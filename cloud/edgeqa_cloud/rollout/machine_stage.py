"""A stage from its last wish to the next stage: settled, soaked, judged."""

from __future__ import annotations

from collections import Counter

from edgeqa_cloud.rollout.machine_breach import breached, undecided
from edgeqa_cloud.rollout.machine_draft import Draft
from edgeqa_cloud.rollout.machine_survey import Survey, survey
from edgeqa_cloud.rollout.states import MemberState, RolloutState

NONE_CHANGED = "none_changed"
UNDECIDED = "undecided"
_TAKEN_OVER = "taken_over"


def advance(draft: Draft) -> None:
    """Go on as far as the stage allows."""
    seen = survey(draft)
    if not seen.ours:
        _end_empty(draft)
        return
    if draft.rollout.soak_begun_ms is None and not _begin_soak(draft, seen):
        return
    _judge(draft, seen)


def soak_ends_ms(draft: Draft) -> int | None:
    """When the soak is over, if it has begun."""
    rollout = draft.rollout
    if rollout.soak_begun_ms is None:
        return None
    return rollout.soak_begun_ms + round(1000 * rollout.spec.stages[rollout.stage].soak_s)


def none_changed(seen: Survey) -> bool:
    """Whether nobody is left in the stage who could still change, and nobody has."""
    return not (seen.waiting or seen.awaited or seen.own_open or seen.changed)


def _begin_soak(draft: Draft, seen: Survey) -> bool:
    """Whether the stage is settled; its soak begins then."""
    rollout = draft.rollout
    if seen.waiting or seen.awaited:
        return False
    if not rollout.promoted:
        if none_changed(seen):
            _pause(draft, NONE_CHANGED, "no device of this stage took the new model, so that there "
                   "is nothing to judge")  # fmt: skip
            return False
        if seen.own_open and not seen.own_changed:
            return False  # nobody of them was there so far
    soak_s = rollout.spec.stages[rollout.stage].soak_s
    # A stage that adds nobody has nothing to show.
    begun_ms = draft.now_ms if seen.own else draft.now_ms - round(1000 * soak_s)
    draft.set(soak_begun_ms=begun_ms)
    draft.decide(
        "soak_begun",
        f"stage {rollout.stage + 1}: {seen.own_changed:,} of {seen.own:,} devices serve the new "
        f"model; they show for {soak_s:g} s how it does",
        evidence={
            "stage": rollout.stage,
            "devices": seen.own,
            "changed": seen.own_changed,
            "not_there": seen.own_open,
            "soak_s": soak_s,
            "promoted": rollout.promoted,
        },
    )
    return True


def _judge(draft: Draft, seen: Survey) -> None:
    rollout = draft.rollout
    end_ms = soak_ends_ms(draft) or 0
    if breached(draft) or (draft.now_ms < end_ms and not rollout.promoted):
        return
    open_gates = undecided(draft, seen)
    if open_gates and not rollout.promoted:
        if draft.now_ms > end_ms + 1000 * rollout.spec.evidence_s:
            names = ", ".join(open_gates)
            _pause(draft, UNDECIDED, f"too little is known for {names}, "
                   f"{rollout.spec.evidence_s:g} s after the soak")  # fmt: skip
        return
    if rollout.stage + 1 < len(rollout.spec.stages):
        _next_stage(draft, open_gates)
    elif not seen.unsettled:
        _complete(draft, open_gates)


def _next_stage(draft: Draft, waived: list[str]) -> None:
    rollout = draft.rollout
    draft.decide(
        "stage_passed",
        f"stage {rollout.stage + 1} passed" + _waived(waived),
        evidence={
            "stage": rollout.stage,
            "promoted": rollout.promoted,
            "waived": waived,
            "gates": draft.gates(),
        },
    )
    draft.set(
        stage=rollout.stage + 1,
        stage_begun_ms=None,
        soak_begun_ms=None,
        promoted=False,
        code=None,
        reason=None,
    )


def _complete(draft: Draft, waived: list[str]) -> None:
    counts = Counter(one.state for one in draft.members.values())
    changed = counts[MemberState.CHANGED]
    reason = f"{changed:,} device{'s' * (changed != 1)} serve the new model" + _waived(waived)
    draft.set(state=RolloutState.COMPLETED, code=None, reason=reason, ended_ms=draft.now_ms)
    draft.decide(
        "completed",
        reason,
        evidence={
            "devices": {state.value: counts[state] for state in MemberState if counts[state]},
            "promoted": draft.rollout.promoted,
            "waived": waived,
            "gates": draft.gates(),
        },
    )


def _waived(waived: list[str]) -> str:
    return f", by a person's order without {', '.join(waived)}" if waived else ""


def _pause(draft: Draft, code: str, reason: str) -> None:
    draft.set(state=RolloutState.PAUSED, code=code, reason=reason)
    evidence = {"stage": draft.rollout.stage, "code": code, "gates": draft.gates()}
    draft.decide("paused", f"waits for a person: {reason}", evidence=evidence)


def _end_empty(draft: Draft) -> None:
    reason = "newer rollouts, or others' wishes, took all of its devices over"
    draft.set(state=RolloutState.ABORTED, code=_TAKEN_OVER, reason=reason, ended_ms=draft.now_ms)
    draft.decide("aborted", reason)
