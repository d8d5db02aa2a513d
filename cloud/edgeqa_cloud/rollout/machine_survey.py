"""How the members of a rollout stand, in one pass over them."""

from __future__ import annotations

from dataclasses import dataclass

from edgeqa_cloud.rollout.machine_draft import Draft
from edgeqa_cloud.rollout.model import Member
from edgeqa_cloud.rollout.states import MemberState

_MINUTE_MS = 60_000


@dataclass(slots=True)
class Survey:
    """Of the current stage and those before it, where not said otherwise.

    Attributes:
        waiting: their turn has come, or comes.
        wished: got a wish, at any time; also those that were taken over since.
        awaited: the stage waits for them.
        changed: serve the new model.
        own: of this stage alone and not taken over.
        own_changed: of this stage alone.
        own_open: of this stage alone: have a wish and are not there.
        ours: of all stages: not taken over.
        unsettled: of all stages.
        recent: of all stages: got a wish in the last minute.
        busy: of all stages: online and changing.
    """

    waiting: int = 0
    wished: int = 0
    awaited: int = 0
    changed: int = 0
    own: int = 0
    own_changed: int = 0
    own_open: int = 0
    ours: int = 0
    unsettled: int = 0
    recent: int = 0
    busy: int = 0


def survey(draft: Draft) -> Survey:
    """Count."""
    seen = Survey()
    stage, now_ms = draft.rollout.stage, draft.now_ms
    for member in draft.members.values():
        state = member.state
        if member.wished_ms is not None:
            seen.recent += abs(now_ms - member.wished_ms) < _MINUTE_MS
        reached = member.stage <= stage
        seen.wished += reached and member.wish is not None
        if state is MemberState.SUPERSEDED:
            continue
        seen.ours += 1
        own = member.stage == stage
        seen.own += own
        if state is MemberState.WAITING:
            seen.unsettled += 1
            seen.waiting += reached
        elif state is MemberState.WISHED:
            seen.unsettled += 1
            seen.own_open += own
            _under_way(draft, member, seen)
        elif state is MemberState.CHANGED:
            seen.changed += reached
            seen.own_changed += own
    return seen


def _under_way(draft: Draft, member: Member, seen: Survey) -> None:
    now = draft.now(member)
    online = now is None or now.online
    seen.busy += online
    if not member.online_when_wished or member.stage > draft.rollout.stage:
        return
    # One that went away holds the stage up no longer than one that is stuck: whether too many
    # went is for the gate `silent_devices`.
    waited_ms = draft.now_ms - (member.wished_ms or 0)
    seen.awaited += online or waited_ms <= 1000 * draft.rollout.spec.stuck_s
