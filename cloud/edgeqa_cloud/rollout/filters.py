"""Which rollouts, which of their devices and which entries of the audit log a list shows."""

from __future__ import annotations

from dataclasses import dataclass

from edgeqa_cloud.rollout.states import MemberState, RolloutState

# Of one page at the API. A member is some 300 bytes of JSON: 300 kB at most.
MAX_PAGE = 1000
DEFAULT_PAGE = 50


@dataclass(frozen=True, slots=True)
class RolloutFilter:
    """Which rollouts; None lets all through.

    Attributes:
        states: one of these.
        model: its name, or `NAME@VERSION`.
        text: is part of the id, of the model's name, of the note or of who made it; capitals do
            not matter.
        device: has it as a member.
    """

    states: frozenset[RolloutState] | None = None
    model: str | None = None
    text: str | None = None
    device: str | None = None


@dataclass(frozen=True, slots=True)
class MemberFilter:
    """Which devices of a rollout; None lets all through.

    Attributes:
        states: one of these.
        stage: 0 is the first.
        text: is part of the device's id, or of the code or the message of its state.
    """

    states: frozenset[MemberState] | None = None
    stage: int | None = None
    text: str | None = None


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which entries of the audit log; None lets all through.

    Attributes:
        rollout: are of it.
        device: are about it.
        actor: `engine`, or who ordered, whole.
        action: such as `gate_breached`.
        text: is part of the message.
        since_ms: not older.
        until_ms: older.
    """

    rollout: str | None = None
    device: str | None = None
    actor: str | None = None
    action: str | None = None
    text: str | None = None
    since_ms: int | None = None
    until_ms: int | None = None


ALL_ROLLOUTS = RolloutFilter()
ALL_MEMBERS = MemberFilter()
ALL_AUDIT = AuditFilter()
