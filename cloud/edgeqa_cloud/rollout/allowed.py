"""Which orders can make sense in which state. Pure.

What no later moment can make right is refused before it is written; the rest is for the engine,
which knows more by then.
"""

from __future__ import annotations

from collections.abc import Sequence

from edgeqa_cloud.rollout.states import Action, GateStatus, RolloutState
from edgeqa_cloud.rollout.views import GateView

_UNDER_WAY = frozenset({RolloutState.RUNNING, RolloutState.PAUSED})
_IN = {
    Action.PAUSE: frozenset({RolloutState.RUNNING}),
    Action.RESUME: frozenset({RolloutState.PAUSED}),
    Action.PROMOTE: _UNDER_WAY,
    Action.ABORT: _UNDER_WAY,
    Action.UNDO: frozenset(RolloutState) - {RolloutState.UNDOING, RolloutState.UNDONE},
}


def allowed_now(state: RolloutState) -> list[Action]:
    """The orders that can make sense, in the order in which they are declared."""
    return [action for action in Action if state in _IN[action]]


def why_not(state: RolloutState, action: Action, gates: Sequence[GateView] = ()) -> str | None:
    """Why an order can make no sense, and what would; None where it can.

    Args:
        state: of the rollout.
        action: the order.
        gates: of the current stage, as last judged.
    """
    if state in _IN[action]:
        breached = [gate.gate for gate in gates if gate.status is GateStatus.BREACHED]
        if action is Action.PROMOTE and breached:
            return (
                f"{', '.join(breached)}: breached, and no order goes over a breached gate; "
                "undo it, or abort it, which keeps the model on the devices that have it"
            )
        return None
    possible = [action.value for action in allowed_now(state)]
    instead = f"possible now: {', '.join(possible)}" if possible else "nothing is left to order"
    return f"it is {state.value.replace('_', ' ')}, where {action.value} makes no sense; {instead}"
