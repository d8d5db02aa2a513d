"""People's orders: obeyed, or refused with a code and what would make sense instead."""

from __future__ import annotations

from typing import Any

from edgeqa_cloud.rollout.allowed import why_not
from edgeqa_cloud.rollout.machine_back import begin_abort, begin_undo, can_undo
from edgeqa_cloud.rollout.machine_breach import breached
from edgeqa_cloud.rollout.machine_draft import Draft
from edgeqa_cloud.rollout.machine_stage import NONE_CHANGED, none_changed, soak_ends_ms
from edgeqa_cloud.rollout.machine_survey import survey
from edgeqa_cloud.rollout.model import Order
from edgeqa_cloud.rollout.states import Action, RolloutState

ORDERED = "ordered"


def obey(draft: Draft) -> None:
    """Take the orders one after the other, oldest first."""
    for order in draft.facts.orders:
        why = why_not(draft.rollout.state, order.action)
        if why is not None:
            draft.refuse(order, "order_refused", why)
        else:
            _ORDERS[order.action](draft, order)


def _pause(draft: Draft, order: Order) -> None:
    reason = _by("paused", order)
    draft.set(state=RolloutState.PAUSED, code=ORDERED, reason=reason)
    draft.decide("paused", reason, evidence=_evidence(draft, order), actor=order.actor)


def _resume(draft: Draft, order: Order) -> None:
    if _stopped_by_gate(draft, order):
        return
    if draft.rollout.code == NONE_CHANGED and none_changed(survey(draft)):
        draft.refuse(
            order,
            NONE_CHANGED,
            "still no device of this stage took the new model; promote goes on with the next "
            "stage all the same, undo and abort end it",
        )
        return
    _run(draft)
    draft.decide("resumed", _by("resumed", order), evidence=_evidence(draft, order),
                 actor=order.actor)  # fmt: skip


def _promote(draft: Draft, order: Order) -> None:
    rollout = draft.rollout
    if _stopped_by_gate(draft, order):
        return
    if rollout.promoted and rollout.state is RolloutState.RUNNING:
        draft.refuse(
            order,
            "already_promoted",
            "this stage is promoted already: it ends as soon as its devices under way are settled",
        )
        return
    if rollout.state is RolloutState.PAUSED:
        _run(draft)
    draft.set(promoted=True)
    draft.decide(
        "promoted",
        _by(f"stage {rollout.stage + 1} promoted", order),
        evidence=_evidence(draft, order) | {"gates": draft.gates()},
        actor=order.actor,
    )


def _abort(draft: Draft, order: Order) -> None:
    begin_abort(draft, reason=_by("aborted", order), actor=order.actor,
                evidence=_evidence(draft, order))  # fmt: skip


def _undo(draft: Draft, order: Order) -> None:
    state = draft.rollout.state
    if state.final and not can_undo(draft):
        draft.refuse(
            order,
            "nothing_to_undo",
            "none of its devices got a wish from it, or others took them over since; for another "
            "model on them, create a rollout",
        )
        return
    begin_undo(draft, code=ORDERED, reason=_by("undone", order), actor=order.actor,
               evidence=_evidence(draft, order))  # fmt: skip


def _stopped_by_gate(draft: Draft, order: Order) -> bool:
    found = breached(draft)
    if not found:
        return False
    draft.refuse(
        order,
        "gate_breached",
        f"{', '.join(one.gate for one in found)}: breached, and no order goes over a breached "
        "gate; undo it, or abort it, which keeps the model on the devices that have it",
    )
    return True


def _run(draft: Draft) -> None:
    """Go on. Where the soak was over, evidence is waited for as long again."""
    draft.set(state=RolloutState.RUNNING, code=None, reason=None)
    end_ms = soak_ends_ms(draft)
    if end_ms is not None and end_ms < draft.now_ms:
        begun_ms = draft.rollout.soak_begun_ms or 0
        draft.set(soak_begun_ms=begun_ms + draft.now_ms - end_ms)


def _by(what: str, order: Order) -> str:
    return f"{what} by {order.actor}" + (f": {order.note}" if order.note else "")


def _evidence(draft: Draft, order: Order) -> dict[str, Any]:
    return {"order": order.key, "note": order.note, "stage": draft.rollout.stage}


_ORDERS = {
    Action.PAUSE: _pause,
    Action.RESUME: _resume,
    Action.PROMOTE: _promote,
    Action.ABORT: _abort,
    Action.UNDO: _undo,
}
