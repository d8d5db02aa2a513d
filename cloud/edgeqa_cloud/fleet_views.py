"""What the cloud tells of a fleet: the answers of its queries, and the JSON that `--json` prints.

Fields are added, never renamed. Times end in `_ms`, milliseconds since 1970 by the cloud's clock;
EM and F1 are percent; what is not known is null.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from edgeqa_cloud.presence import Presence

# Flags of the board that say: now. Those that end in `_occurred` say: since it was powered.
THROTTLE_FLAGS = ("frequency_capped", "soft_temperature_limit", "throttled", "under_voltage")


class View(BaseModel):
    """Base of them."""

    model_config = ConfigDict(frozen=True, protected_namespaces=())


class ModelView(View):
    """A model by name, version and digest."""

    name: str
    version: str
    digest: str | None = None


class DeviceView(View):
    """A device as it is now."""

    device: str
    presence: Presence
    presence_reason: str | None = Field(description="Of `offline`: `stopped` or `lost`.")
    first_seen_ms: int
    last_seen_ms: int
    boot_id: str | None
    skew_ms: int | None = Field(description="The device's clock minus ours.")
    groups: list[str]
    tags: list[str] = Field(default_factory=list, description="That operators gave it.")
    board: str | None
    machine: str | None
    agent_version: str | None
    onnxruntime_version: str | None
    model: ModelView | None = Field(description="That it runs.")
    swap_state: str | None = Field(description="`state` of its last report on a model.")
    swap_code: str | None = Field(description="The reason of that report.")
    evaluated_ms: int | None
    evaluation_questions: int | None
    exact_match: float | None = Field(description="Of its last evaluation, percent.")
    f1: float | None
    telemetry_ms: int | None
    answered: int | None = Field(description="Questions of the last telemetry that had any.")
    p50_ms: float | None
    p95_ms: float | None
    temperature_celsius: float | None
    throttled: list[str]
    resident_bytes: int | None


class DevicePage(View):
    """Some of the devices that a filter lets through."""

    now_ms: int
    total: int = Field(description="That the filter lets through.")
    presence: dict[Presence, int] = Field(description="Those by presence.")
    devices: list[DeviceView]


class PairedView(View):
    """Against the previous model on the same questions; positive is better."""

    previous: ModelView
    questions: int
    exact_match_difference: float
    exact_match_interval: tuple[float, float]
    f1_difference: float
    f1_interval: tuple[float, float]


class EvaluationView(View):
    """One evaluation."""

    time_ms: int
    model: ModelView
    trigger: str
    dataset: str
    fingerprint: str
    slice_id: str
    questions: int
    exact_match: float
    exact_match_interval: tuple[float, float]
    f1: float
    f1_interval: tuple[float, float]
    total_ms: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    paired: PairedView | None


class SwapView(View):
    """One end of a swap."""

    time_ms: int
    state: str
    model: ModelView
    rollout: str | None
    code: str | None
    message: str | None
    duration_ms: float | None


class ServingPoint(View):
    """How a device served in a span of time."""

    start_ms: int
    covered_s: float = Field(description="Of the span, by its records.")
    answered: int
    refused: int
    p50_ms: float | None = Field(description="Of the whole answer.")
    p95_ms: float | None
    p99_ms: float | None
    inference_p95_ms: float | None
    temperature_max_celsius: float | None
    resident_bytes_max: int | None
    cpu_load_mean: float | None
    reconnects: int


class GapView(View):
    """Records that are missing."""

    boot_id: str
    first: int
    last: int
    state: Literal["open", "filled", "lost"]
    found_ms: int
    asked: int


class BootView(View):
    """One start of the agent."""

    boot_id: str
    first_seen_ms: int
    last_seen_ms: int
    settled: int = Field(description="Records up to here are stored or known to be lost.")
    announced: int = Field(description="Records up to here were sent.")


class DeviceHistory(View):
    """A device, and what happened to it."""

    now_ms: int
    since_ms: int
    step_ms: int = Field(description="Length of the spans in `serving`.")
    device: DeviceView
    serving: list[ServingPoint] = Field(description="Oldest first; spans without records absent.")
    total: ServingPoint | None = Field(description="All of `serving` added up.")
    evaluations: list[EvaluationView] = Field(description="Newest first.")
    swaps: list[SwapView] = Field(description="Newest first.")
    gaps: list[GapView] = Field(description="Open and lost ones, newest first.")
    boots: list[BootView] = Field(description="Newest first.")


class ModelSummary(View):
    """Devices with one model."""

    model: ModelView | None = Field(description="Null: devices that told none.")
    devices: int
    online: int
    evaluation_questions: int
    exact_match: float | None = Field(description="Weighted by questions, percent.")
    f1: float | None


class LatencySummary(View):
    """Time of answers of the whole fleet, from merged histograms."""

    since_ms: int
    until_ms: int
    questions: int
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None


class FleetSummary(View):
    """The fleet in figures."""

    now_ms: int
    devices: int
    presence: dict[Presence, int]
    models: list[ModelSummary] = Field(description="Most devices first.")
    evaluation_questions: int
    exact_match: float | None = Field(description="Weighted by questions, percent.")
    f1: float | None
    latency: LatencySummary | None
    temperature_max_celsius: float | None = Field(description="Of devices that are online.")
    throttled: int = Field(description="Devices online that are slowed down now.")
    gap_records: dict[str, int] = Field(description="Missing records, `open` and `lost`.")
    quarantine: dict[str, int] = Field(description="Messages in quarantine by code.")
