"""A rollout in memory, what the engine sees of the world, and what it decides: plain values.

`rollout.machine.step` maps the first two to the third and does nothing else; the engine reads,
writes and publishes. Times are milliseconds since 1970 by the cloud's clock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from edgeqa.histogram import Histogram
from edgeqa.messages import ModelRef
from edgeqa.model_messages import ModelState
from edgeqa_cloud.rollout.spec import RolloutSpec
from edgeqa_cloud.rollout.states import Action, GateStatus, MemberState, RolloutState


@dataclass(frozen=True, slots=True)
class Member:
    """A device in a rollout.

    Attributes:
        device_id: its key in the database.
        stage: 0 is the first.
        position: its turn among all members; earlier stages have the smaller ones.
        before: the model that it ran when its turn came; None where it had told none.
        wish: id of the wish for the new model.
        online_when_wished: whether it could follow at once.
        settled_ms: when it came into a state of `SETTLED`.
        revert_wish: id of the wish for `before`; None too where the wish was only taken back.
        code: why it failed, as the device or the engine says.
    """

    device_id: int
    device: str
    stage: int
    position: int
    state: MemberState = MemberState.WAITING
    before: ModelRef | None = None
    wish: str | None = None
    wished_ms: int | None = None
    online_when_wished: bool | None = None
    settled_ms: int | None = None
    revert_wish: str | None = None
    reverting_ms: int | None = None
    code: str | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True)
class Rollout:
    """A rollout whole.

    Attributes:
        key: in the database; the higher one is the newer.
        rollout: its public id.
        target: name, version and digest, resolved at the creation.
        reason: why it is in its state, for people; with `code` for programs.
        soak_begun_ms: when all of the stage's devices that are there were settled.
        promoted: an order to promote holds for this stage: soak and undecided gates are waived.
        members: by device_id.
    """

    key: int
    rollout: str
    spec: RolloutSpec
    target: ModelRef
    created_ms: int
    state: RolloutState = RolloutState.RUNNING
    code: str | None = None
    reason: str | None = None
    stage: int = 0
    stage_begun_ms: int | None = None
    soak_begun_ms: int | None = None
    promoted: bool = False
    undo_begun_ms: int | None = None
    ended_ms: int | None = None
    members: Mapping[int, Member] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Report:
    """What a device last reported of its model: the parts that matter here."""

    state: ModelState
    wish: str | None
    active: ModelRef | None
    previous: ModelRef | None
    code: str | None
    message: str | None
    received_ms: int


@dataclass(frozen=True, slots=True)
class DeviceNow:
    """A device as the engine sees it; of members under way, or whose report is new."""

    online: bool
    model: ModelRef | None
    report: Report | None
    # Another rollout, newer than this one, reached it; or a wish that no rollout made was followed.
    taken_by: str | None = None


@dataclass(frozen=True, slots=True)
class GateResult:
    """A gate, judged: the JSON of the API, of the audit log and of the page."""

    gate: str  # field of `RolloutGates`
    status: GateStatus
    message: str  # a sentence with the figures
    value: float | None = None
    low: float | None = None  # 95 % interval of `value`
    high: float | None = None
    limit: float | None = None
    unit: str = ""  # points, ratio, share, celsius
    before: float | None = None
    after: float | None = None
    samples: int = 0  # questions or devices, as `of` says
    of: str = "questions"
    required: bool = True


@dataclass(frozen=True, slots=True)
class PairedScore:
    """One paired evaluation of a changed device: new model minus the one before, points."""

    device_id: int
    fingerprint: str
    slice_id: str
    questions: int
    exact_match_difference: float
    exact_match_interval: tuple[float, float]
    f1_difference: float
    f1_interval: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Served:
    """How a device served over some time, by its telemetry."""

    answered: int
    failed: int  # questions lost by the device's fault: not those that were malformed or expired
    latency: Histogram | None  # of the whole answer, milliseconds
    resident_bytes: float | None  # mean over its records
    temperature_celsius: float | None  # highest
    temperature_mean_celsius: float | None = None


@dataclass(frozen=True, slots=True)
class DeviceServed:
    """A changed device before its wish and since its change."""

    device_id: int
    before: Served | None
    after: Served | None


@dataclass(frozen=True, slots=True)
class Tally:
    """Devices of a stage, or of all stages so far, but for those that need no wish."""

    size: int
    wished: int  # of these, got a wish
    changed: int
    failed: int
    silent: int  # online when wished, and not heard of since for longer than it may be


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the devices of the current stage measured."""

    stage: int
    gathered_ms: int
    stage_tally: Tally
    rollout_tally: Tally
    paired: Sequence[PairedScore] = ()
    served: Sequence[DeviceServed] = ()


@dataclass(frozen=True, slots=True)
class Order:
    """A person's order."""

    key: int
    action: Action
    actor: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Joiner:
    """A device that has come to match the target."""

    device_id: int
    device: str


@dataclass(frozen=True, slots=True)
class Facts:
    """What the engine saw.

    Attributes:
        devices: by device_id; at least all members in `wished` and `reverting`, the next of those
            in `waiting` (as many as may get a wish now), and all whose report is new.
        gates: of the current stage, judged just now or a few seconds ago; empty where nothing of
            the stage is known yet.
        orders: oldest first.
    """

    now_ms: int
    devices: Mapping[int, DeviceNow]
    gates: Sequence[GateResult] = ()
    orders: Sequence[Order] = ()
    joiners: Sequence[Joiner] = ()


@dataclass(frozen=True, slots=True)
class Wish:
    """To be retained for a device; `model` None takes the wish back (an empty payload)."""

    device_id: int
    device: str
    wish: str | None
    model: ModelRef | None
    # Of the first: the rollout's `device_gates` go with it. A way back has none.
    forward: bool


@dataclass(frozen=True, slots=True)
class Decision:
    """An entry of the audit log."""

    action: str  # snake_case: stage_begun, device_failed, gate_breached, undo_begun, completed …
    message: str
    evidence: Mapping[str, Any] = field(default_factory=dict)
    device: str | None = None
    actor: str = "engine"


@dataclass(frozen=True, slots=True)
class Refusal:
    """An order that was not obeyed."""

    order: Order
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What follows; written in one transaction before anything is published.

    Attributes:
        rollout: as it is now; `changed` names the members that differ.
        wishes: to publish, in this order.
    """

    rollout: Rollout
    changed: frozenset[int] = frozenset()
    wishes: Sequence[Wish] = ()
    decisions: Sequence[Decision] = ()
    refusals: Sequence[Refusal] = ()
