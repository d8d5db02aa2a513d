"""How a rollout is shown: from its row and what was counted to the views. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Row

from edgeqa_cloud.fleet_views import ModelView
from edgeqa_cloud.rollout.spec import RolloutSpec, Stage
from edgeqa_cloud.rollout.states import MemberState, RolloutState
from edgeqa_cloud.rollout.views import GateView, OrderView, RolloutSummary, RolloutView, StageView
from edgeqa_cloud.rollout.waiting import Waiting, waiting_for

# Members by stage and state.
Counts = Mapping[tuple[int, MemberState], int]
StageState = Literal["waiting", "changing", "soaking", "passed", "stopped", "undone"]


@dataclass(frozen=True, slots=True)
class Standing:
    """What is shown of a rollout beside its row.

    Attributes:
        counts: members by stage and state.
        away: of those that something is awaited of, how many are not online, by state.
        orders: newest first.
        now_ms: by our clock.
    """

    counts: Counts
    away: Mapping[MemberState, int]
    orders: Sequence[OrderView]
    now_ms: int


def summary_view(row: Row[Any], states: Mapping[MemberState, int]) -> RolloutSummary:
    """A rollout in a list, from its row of `rollouts`, and its members by state."""
    return RolloutSummary.model_validate(_summary(row, states))


def rollout_view(row: Row[Any], standing: Standing) -> RolloutView:
    """A rollout whole, from its row of `rollouts`."""
    spec = RolloutSpec.model_validate(row.spec)
    states: dict[MemberState, int] = {}
    for (_, state), count in standing.counts.items():
        states[state] = states.get(state, 0) + count
    soak_ends_ms = None
    if row.soak_begun_ms is not None:
        soak_ends_ms = row.soak_begun_ms + round(spec.stages[row.stage].soak_s * 1000)
    gates = current_gates(row)
    waiting = Waiting(
        state=RolloutState(row.state),
        spec=spec,
        stage=row.stage,
        stage_begun_ms=row.stage_begun_ms,
        soak_ends_ms=soak_ends_ms,
        promoted=row.promoted,
        undo_begun_ms=row.undo_begun_ms,
        gates=gates,
        counts=standing.counts,
        away=standing.away,
        now_ms=standing.now_ms,
    )
    return RolloutView.model_validate(
        _summary(row, states)
        | {
            "spec": spec,
            "stage_list": [
                _stage_view(number, stage, row, standing.counts)
                for number, stage in enumerate(spec.stages)
            ],
            "stage_begun_ms": row.stage_begun_ms,
            "soak_begun_ms": row.soak_begun_ms,
            "soak_ends_ms": soak_ends_ms,
            "gates": gates,
            "gates_ms": row.gates_ms if gates else None,
            "waiting_for": waiting_for(waiting),
            "orders": list(standing.orders),
        }
    )


def stage_label(stage: Stage) -> str:
    """A stage as it was ordered, in words."""
    if stage.percent is not None:
        return f"{stage.percent:g} %"
    if stage.count is not None:
        return f"{stage.count:,} device{'s' * (stage.count != 1)}"
    return "named devices"


def current_gates(row: Row[Any]) -> list[GateView]:
    """The gates as last judged, from a row of `rollouts`."""
    # Those of an earlier stage say nothing of this one's devices.
    stored = (row.gates or ()) if row.gates_stage == row.stage else ()
    return [GateView.model_validate(one) for one in stored]


def order_view(row: Row[Any]) -> OrderView:
    """From a row of `rollout_orders`."""
    return OrderView(
        order=row.id,
        action=row.action,
        actor=row.actor,
        note=row.note,
        ordered_ms=row.ordered_ms,
        state=row.state,
        code=row.code,
        message=row.message,
    )


def _summary(row: Row[Any], states: Mapping[MemberState, int]) -> dict[str, Any]:
    return {
        "rollout": row.rollout,
        "created_ms": row.created_ms,
        "created_by": row.created_by,
        "model": ModelView(name=row.model_name, version=row.model_version, digest=row.model_digest),
        "state": RolloutState(row.state),
        "code": row.code,
        "reason": row.reason,
        "stage": row.stage,
        "stages": len(row.spec["stages"]),
        "devices": sum(states.values()),
        "states": dict(states),
        "ended_ms": row.ended_ms,
        "updated_ms": row.updated_ms,
        "revision": row.revision,
        "note": row.spec.get("note", ""),
    }


def _stage_view(number: int, stage: Stage, row: Row[Any], counts: Counts) -> StageView:
    states = {state: count for (one, state), count in counts.items() if one == number and count}
    return StageView(
        stage=number,
        label=stage_label(stage),
        soak_s=stage.soak_s,
        devices=sum(states.values()),
        states=states,
        state=_stage_state(number, row),
    )


def _stage_state(number: int, row: Row[Any]) -> StageState:
    state = RolloutState(row.state)
    if state is RolloutState.COMPLETED:
        return "passed"
    if state in {RolloutState.UNDONE, RolloutState.UNDO_INCOMPLETE}:
        return "undone" if number <= row.stage else "stopped"
    if state in {RolloutState.ABORTING, RolloutState.ABORTED, RolloutState.UNDOING}:
        return "passed" if number < row.stage else "stopped"
    if number != row.stage:
        return "passed" if number < row.stage else "waiting"
    if row.soak_begun_ms is not None:
        return "soaking"
    return "waiting" if row.stage_begun_ms is None else "changing"
