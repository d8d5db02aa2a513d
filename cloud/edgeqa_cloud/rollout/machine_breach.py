"""A gate that is breached ends or halts a rollout, whatever it was about to do."""

from __future__ import annotations

from collections.abc import Sequence

from edgeqa_cloud.rollout.machine_back import begin_undo
from edgeqa_cloud.rollout.machine_draft import Draft
from edgeqa_cloud.rollout.machine_survey import Survey
from edgeqa_cloud.rollout.model import GateResult
from edgeqa_cloud.rollout.states import GateStatus, RolloutState

GATE_BREACHED = "gate_breached"


def breached(draft: Draft) -> list[GateResult]:
    """Gates that are breached."""
    return [one for one in draft.facts.gates if one.status is GateStatus.BREACHED]


def undecided(draft: Draft, seen: Survey) -> list[str]:
    """Gates that hold the stage up, by name: required ones that are not shown to hold.

    A gate that is not required stops a rollout when it is breached, and never holds it up. Where
    nobody needed a wish there is nothing to judge.
    """
    if not seen.wished:
        return []
    gates = draft.rollout.spec.gates
    judged = {one.gate: one for one in draft.facts.gates}
    found = []
    for name in type(gates).model_fields:
        if getattr(gates, name) is None:
            continue
        result = judged.get(name)
        if result is None or (result.required and result.status is not GateStatus.PASSED):
            found.append(name)
    return found


def breach(draft: Draft) -> bool:
    """Undo or pause because of a breached gate; whether anything was done."""
    found = breached(draft)
    if not found:
        return False
    rollout = draft.rollout
    undo = rollout.spec.on_breach == "undo"
    if not undo and rollout.state is RolloutState.PAUSED and rollout.code == GATE_BREACHED:
        return False
    reason = _said(found)
    evidence = {"stage": rollout.stage, "gates": draft.gates(), "on_breach": rollout.spec.on_breach}
    draft.decide(
        GATE_BREACHED,
        f"{', '.join(one.gate for one in found)}: {reason}",
        evidence=evidence,
    )
    if undo:
        begin_undo(draft, code=GATE_BREACHED, reason=reason)
    else:
        draft.set(state=RolloutState.PAUSED, code=GATE_BREACHED, reason=reason)
        draft.decide("paused", f"waits for a person: {reason}")
    return True


def _said(found: Sequence[GateResult]) -> str:
    return "; ".join(one.message for one in found)
