"""Where a rollout stands, and where each of its devices does. `docs/rollout-states.md` draws both.

A rollout is `running` from its creation on, also while it waits for a time window. Only the engine
changes these states, one engine at a time; people give orders (`Action`), which the engine obeys or
refuses.
"""

from __future__ import annotations

from enum import StrEnum


class RolloutState(StrEnum):
    """Of a rollout; the last four are final."""

    RUNNING = "running"
    # No new wishes; devices under way finish, and gates go on being judged.
    PAUSED = "paused"
    # Nobody new; what is under way is taken back. Changed devices keep the new model.
    ABORTING = "aborting"
    # All devices that got a wish go back to the model they had before it.
    UNDOING = "undoing"
    COMPLETED = "completed"
    ABORTED = "aborted"
    UNDONE = "undone"
    # Undone, but for devices that did not come back in time or could not load their old model.
    UNDO_INCOMPLETE = "undo_incomplete"

    @property
    def final(self) -> bool:
        """Whether it is over; an order to undo still begins it again."""
        return self in _FINAL_ROLLOUT


class MemberState(StrEnum):
    """Of a device in a rollout."""

    # Its turn has not come.
    WAITING = "waiting"
    # It has the wish, or will have it when it is back.
    WISHED = "wished"
    # It reported the new model active: proven, by the digest.
    CHANGED = "changed"
    # It reported that it did not take the new model, or left it again; the old one serves.
    FAILED = "failed"
    # It was not there in time; its wish was replaced by one for its old model.
    EXPIRED = "expired"
    # A newer rollout, or somebody's wish, took it over: it is none of this rollout's any more.
    SUPERSEDED = "superseded"
    # The rollout ended before its turn, or was undone and never had to wish it anything.
    UNTOUCHED = "untouched"
    # It is wished the model that it had before.
    REVERTING = "reverting"
    # It reported that model active.
    REVERTED = "reverted"
    # It reported that it could not.
    REVERT_FAILED = "revert_failed"
    # It was not there in time; the wish for its old model stays for when it is back.
    REVERT_EXPIRED = "revert_expired"


class Action(StrEnum):
    """What a person orders."""

    PAUSE = "pause"
    RESUME = "resume"
    # Go on to the next stage without waiting for the rest of the soak or for more evidence. Never
    # over a gate that is breached.
    PROMOTE = "promote"
    ABORT = "abort"
    UNDO = "undo"


class GateStatus(StrEnum):
    """What the evidence says of a gate."""

    PASSED = "passed"
    BREACHED = "breached"
    # Too little is known yet.
    UNDECIDED = "undecided"
    # There is nothing to judge, such as latency where nobody asked; counts as passed unless the
    # gate is `required`.
    NO_DATA = "no_data"


_FINAL_ROLLOUT = frozenset(
    {
        RolloutState.COMPLETED,
        RolloutState.ABORTED,
        RolloutState.UNDONE,
        RolloutState.UNDO_INCOMPLETE,
    }
)
# A member in one of these is settled: nothing is awaited of it.
SETTLED = frozenset(MemberState) - {
    MemberState.WAITING,
    MemberState.WISHED,
    MemberState.REVERTING,
}
