"""What a rollout waits for, in words. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from edgeqa_cloud import words
from edgeqa_cloud.rollout.spec import RolloutSpec
from edgeqa_cloud.rollout.states import GateStatus, MemberState, RolloutState
from edgeqa_cloud.rollout.views import GateView
from edgeqa_cloud.rollout.windows import next_opening


@dataclass(frozen=True, slots=True)
class Waiting:
    """What says it; fields as of `rollouts`, members counted by stage and state.

    Attributes:
        away: members that something is awaited of and that are not online, by state.
    """

    state: RolloutState
    spec: RolloutSpec
    stage: int
    stage_begun_ms: int | None
    soak_ends_ms: int | None
    promoted: bool
    undo_begun_ms: int | None
    gates: Sequence[GateView]
    counts: Mapping[tuple[int, MemberState], int]
    away: Mapping[MemberState, int]
    now_ms: int


def waiting_for(seen: Waiting) -> str | None:
    """A phrase, such as `the soak, 4 min more`; None where it waits for nothing."""
    if seen.state.final:
        return None
    if seen.state is RolloutState.PAUSED:
        return "a person's order: resume, promote, abort or undo"
    if seen.state is RolloutState.UNDOING:
        return _on_the_way(seen, MemberState.REVERTING, "going back", "come back")
    if seen.state is RolloutState.ABORTING:
        return _on_the_way(seen, MemberState.REVERTING, "going back", "come back")
    return _of_a_stage(seen)


def _of_a_stage(seen: Waiting) -> str | None:
    if seen.soak_ends_ms is not None:
        left_s = (seen.soak_ends_ms - seen.now_ms) / 1000
        if left_s > 0 and not seen.promoted:
            return f"the soak, {words.span(left_s)} more"
        return _evidence(seen) or _on_the_way(seen, MemberState.WISHED, "changing", "follow")
    waiting = seen.counts.get((seen.stage, MemberState.WAITING), 0)
    under_way = _on_the_way(seen, MemberState.WISHED, "changing", "follow")
    if not waiting:
        return under_way
    opening_ms = next_opening(seen.spec.windows, seen.now_ms)
    if opening_ms is None or opening_ms > seen.now_ms:
        window = f"a time window, which opens {_when(opening_ms, seen.now_ms)}"
        return f"{under_way}; {window}" if under_way else window
    return under_way or f"the turn of {_devices(waiting)}"


def _evidence(seen: Waiting) -> str | None:
    judged = {gate.gate: gate for gate in seen.gates}
    undecided = [
        name
        for name in type(seen.spec.gates).model_fields
        if getattr(seen.spec.gates, name) is not None and _holds_up(judged.get(name))
    ]
    if not undecided or seen.promoted:
        return None
    latest_ms = (seen.soak_ends_ms or seen.now_ms) + round(seen.spec.evidence_s * 1000)
    left = words.span((latest_ms - seen.now_ms) / 1000)
    return f"evidence for {', '.join(undecided)}, {left} at most"


def _holds_up(gate: GateView | None) -> bool:
    """Whether the machine waits for it."""
    return gate is None or (gate.required and gate.status is not GateStatus.PASSED)


def _on_the_way(seen: Waiting, state: MemberState, doing: str, offline: str) -> str | None:
    """Devices under way, of all stages: those that are there, and those that are not."""
    total = sum(count for (_, one), count in seen.counts.items() if one is state)
    away = min(total, seen.away.get(state, 0))
    parts = []
    if total > away:
        parts.append(f"{_devices(total - away)} {doing}")
    if away:
        parts.append(f"{_devices(away)} not online to {offline}")
    return ", ".join(parts) or None


def _when(time_ms: int | None, now_ms: int) -> str:
    if time_ms is None:
        return "at no time"
    moment = datetime.fromtimestamp(time_ms / 1000, UTC)
    return f"{moment:%Y-%m-%d %H:%M} UTC, in {words.span((time_ms - now_ms) / 1000)}"


def _devices(count: int) -> str:
    return f"{count:,} device{'s' * (count != 1)}"
