"""What the cloud tells of rollouts: the JSON of the API, of `--json`, and what pages show.

Fields are added, never renamed. Times end in `_ms`, milliseconds since 1970 by the cloud's clock.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from edgeqa_cloud.fleet_views import ModelView, View
from edgeqa_cloud.rollout.spec import RolloutSpec
from edgeqa_cloud.rollout.states import GateStatus, MemberState, RolloutState


class GateView(View):
    """A gate as it was last judged."""

    gate: str = Field(description="A field of the spec's `gates`.")
    status: GateStatus
    message: str
    value: float | None = None
    low: float | None = Field(default=None, description="95 % interval of `value`.")
    high: float | None = None
    limit: float | None = None
    unit: str = Field(default="", description="points, ratio, share or celsius.")
    before: float | None = None
    after: float | None = None
    samples: int = 0
    of: str = Field(default="questions", description="What `samples` counts.")
    required: bool = True


class StageView(View):
    """A stage of a rollout."""

    stage: int = Field(description="0 is the first.")
    label: str = Field(description="As ordered: `5 %`, `20 devices`, `named devices`.")
    soak_s: float
    devices: int = Field(description="That it adds to the stages before.")
    states: dict[MemberState, int] = Field(description="Those by state; zeros absent.")
    state: Literal["waiting", "changing", "soaking", "passed", "stopped", "undone"]


class RolloutSummary(View):
    """A rollout in a list."""

    rollout: str
    created_ms: int
    created_by: str
    model: ModelView
    state: RolloutState
    code: str | None = Field(description="Why it is in that state, for programs.")
    reason: str | None = Field(description="The same for people.")
    stage: int
    stages: int
    devices: int
    states: dict[MemberState, int]
    ended_ms: int | None
    updated_ms: int
    revision: int
    note: str


class RolloutView(RolloutSummary):
    """A rollout whole."""

    spec: RolloutSpec
    stage_list: list[StageView]
    stage_begun_ms: int | None
    soak_begun_ms: int | None
    soak_ends_ms: int | None
    gates: list[GateView] = Field(description="Of the current stage, as last judged.")
    gates_ms: int | None
    waiting_for: str | None = Field(
        description="What it waits for now: a time window, the soak, evidence, devices offline."
    )
    orders: list[OrderView] = Field(description="Newest first, at most 20.")


class OrderView(View):
    """What a person ordered."""

    order: int
    action: str
    actor: str
    note: str
    ordered_ms: int
    state: Literal["waiting", "obeyed", "refused"]
    code: str | None
    message: str | None


class MemberView(View):
    """A device in a rollout."""

    device: str
    stage: int
    position: int
    state: MemberState
    before: ModelView | None
    wished_ms: int | None
    settled_ms: int | None
    code: str | None
    message: str | None


class MemberPage(View):
    """Some of a rollout's devices."""

    total: int
    members: list[MemberView]


class RolloutPage(View):
    """Some of the rollouts, newest first."""

    total: int
    rollouts: list[RolloutSummary]


class PlannedDevice(View):
    """A device in a plan."""

    device: str
    presence: str
    model: ModelView | None
    note: str | None = Field(description="Such as: runs it already; is in rollout r-… too.")


class PlannedStage(View):
    """A stage in a plan."""

    stage: int
    label: str
    soak_s: float
    devices: int
    online: int
    earliest_ms: int = Field(description="When it can begin at the earliest, all going well.")
    sample: list[PlannedDevice] = Field(description="The first of them, at most 1000.")


class Plan(View):
    """Who would get what, and when; nothing was done."""

    model: ModelView
    devices: int
    already: int = Field(description="Of those, run the model already.")
    overlaps: dict[str, int] = Field(description="Devices that an active rollout has too, by it.")
    stages: list[PlannedStage]
    earliest_end_ms: int
    warnings: list[str]


class AuditEntry(View):
    """A decision or an order, with its evidence."""

    entry: int
    time_ms: int
    actor: str
    action: str
    rollout: str | None
    device: str | None
    message: str
    evidence: dict[str, Any]


class AuditPage(View):
    """Some of the audit log, newest first."""

    total: int
    entries: list[AuditEntry]


class PackageView(View):
    """A package that the signed repository offers, or offered."""

    name: str
    version: str
    digest: str
    bytes: int
    precision: str | None
    architecture: dict[str, Any]
    licence: str | None
    scores: list[dict[str, Any]] = Field(description="As its manifest says.")
    cards: list[dict[str, Any]] = Field(description="Score cards of its variants.")
    baseline: dict[str, Any] | None
    forced: dict[str, Any] | None
    first_seen_ms: int
    last_seen_ms: int
    gone_ms: int | None
    devices: int = Field(description="That run it now.")


class CatalogueView(View):
    """The repository, as last read."""

    repository: str | None = Field(description="Null: none is configured.")
    tried_ms: int | None
    read_ms: int | None
    expires_ms: int | None
    code: str | None
    message: str | None
    total: int = Field(default=0, description="Packages that the filter lets through.")
    packages: list[PackageView]


RolloutView.model_rebuild()
