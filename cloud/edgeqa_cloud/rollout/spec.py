"""What a person orders with a rollout: the body of `POST /api/v1/rollouts`, and of a spec file.

All of it has defaults but the package and the target. Stages are cumulative: `5 %, 25 %, 100 %`
means a twentieth of the devices, then a quarter, then all.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    field_validator,
    model_validator,
)

from edgeqa.messages import Name
from edgeqa.model_messages import Digest, Gates, Version

MAX_DEVICES = 100_000
MAX_STAGES = 50
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
ClockTime = Annotated[str, StringConstraints(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]
Text = Annotated[str, StringConstraints(max_length=1000)]


class Spec(BaseModel):
    """Base of all parts: a misspelt field is refused, not ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class Package(Spec):
    """What shall run; the repository must offer it."""

    name: Name
    version: Version
    digest: Digest | None = Field(default=None, description="Refuse any other of that version.")


class Target(Spec):
    """Which devices: those that one of the first three names, or all, of which `query` holds."""

    devices: list[Name] = Field(default_factory=list, max_length=MAX_DEVICES)
    groups: list[Name] = Field(default_factory=list, max_length=1000)
    tags: list[Name] = Field(default_factory=list, max_length=1000)
    all: bool = False
    query: str | None = Field(
        default=None,
        min_length=1,
        max_length=2000,
        description="Narrows them down: see docs/targets.md, such as `model=minilm-l6-squad "
        "memory>=4`. Alone, it is a query over all devices.",
    )

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not (self.devices or self.groups or self.tags or self.all or self.query):
            raise ValueError("name devices, groups, tags or a query, or say `all`")
        return self


class Stage(Spec):
    """A part of the devices, all earlier stages included; exactly one of the first three."""

    percent: float | None = Field(default=None, gt=0, le=100, allow_inf_nan=False)
    count: int | None = Field(default=None, ge=1, le=MAX_DEVICES)
    devices: list[Name] | None = Field(
        default=None, min_length=1, max_length=10_000, description="These, beside earlier stages."
    )
    soak_s: float = Field(
        default=600.0,
        ge=0,
        le=8_640_000,
        description="How long its devices serve the new model before the next stage, at least.",
    )

    @model_validator(mode="after")
    def _has_one_size(self) -> Self:
        if sum(one is not None for one in (self.percent, self.count, self.devices)) != 1:
            raise ValueError("say exactly one of percent, count and devices")
        return self


class AccuracyGate(Spec):
    """EM or F1 against the model before, on the same questions on the same devices.

    Breached where the 95 % interval of the difference lies below `-max_drop`; passed where it lies
    above.
    """

    max_drop: float = Field(default=3.0, ge=0, le=100, description="Points.")
    min_questions: int = Field(default=100, ge=1, le=1_000_000, description="Different ones.")
    required: bool = True


class LatencyGate(Spec):
    """95th percentile of live answers against the same devices' before."""

    max_ratio: float = Field(default=1.5, ge=0.01, le=1000)
    min_questions: int = Field(default=50, ge=1, le=1_000_000, description="Before, and after.")
    required: bool = False


class ErrorGate(Spec):
    """Share of questions that failed on the device's side, against the same devices' before."""

    max_rise: Share = Field(default=0.02, description="Of the share: 0.02 is two in a hundred.")
    min_questions: int = Field(default=50, ge=1, le=1_000_000)
    required: bool = False


class MemoryGate(Spec):
    """Resident memory of the agent's processes, mean over the devices."""

    max_ratio: float = Field(default=2.0, ge=0.01, le=1000)
    required: bool = False


class TemperatureGate(Spec):
    """Processor temperature."""

    max_rise_celsius: float | None = Field(default=15.0, ge=0, le=200)
    max_celsius: float | None = Field(
        default=85.0, ge=0, le=150, description="Raspberry Pi 5 throttles from 85 °C on."
    )
    required: bool = False


class ShareGate(Spec):
    """Of the stage's devices."""

    max_share: Share = 0.1


class RolloutGates(Spec):
    """What must hold; null switches one off."""

    exact_match: AccuracyGate | None = AccuracyGate()
    f1: AccuracyGate | None = AccuracyGate()
    p95_latency: LatencyGate | None = LatencyGate()
    error_rate: ErrorGate | None = ErrorGate()
    memory: MemoryGate | None = MemoryGate()
    temperature: TemperatureGate | None = TemperatureGate()
    failed_swaps: ShareGate | None = ShareGate()
    silent_devices: ShareGate | None = ShareGate()


class Day(StrEnum):
    """Of the week."""

    MONDAY = "mon"
    TUESDAY = "tue"
    WEDNESDAY = "wed"
    THURSDAY = "thu"
    FRIDAY = "fri"
    SATURDAY = "sat"
    SUNDAY = "sun"


class Window(Spec):
    """A time at which devices may get new wishes; one that ends before it begins goes past
    midnight, and belongs to the day on which it began."""

    days: list[Day] = Field(default_factory=lambda: list(Day), min_length=1, max_length=7)
    begin: ClockTime
    end: ClockTime
    timezone: str = Field(default="UTC", max_length=64, description="IANA, as Europe/Berlin.")

    @field_validator("timezone")
    @classmethod
    def _is_known(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ValueError("is no time zone of the IANA database, as Europe/Berlin") from error
        return name

    @model_validator(mode="after")
    def _is_some_time(self) -> Self:
        if self.begin == self.end:
            raise ValueError("the window ends when it begins")
        return self


def _default_stages() -> list[Stage]:
    return [Stage(percent=5), Stage(percent=25), Stage(percent=100)]


class RolloutSpec(Spec):
    """A rollout as it is ordered."""

    package: Package
    target: Target
    stages: list[Stage] = Field(
        default_factory=_default_stages, min_length=1, max_length=MAX_STAGES
    )
    gates: RolloutGates = RolloutGates()
    device_gates: Gates | None = Field(
        default=None, description="What each device checks itself before the model serves."
    )
    on_breach: Literal["undo", "pause"] = Field(
        default="undo", description="Go back on all devices, or wait for a person."
    )
    windows: list[Window] = Field(
        default_factory=list, max_length=50, description="None: at any time. Undoing ignores them."
    )
    max_per_minute: int | None = Field(
        default=None, ge=1, le=1_000_000, description="New wishes. Undoing ignores it."
    )
    max_under_way: int | None = Field(
        default=None, ge=1, le=1_000_000, description="Devices online that are changing at once."
    )
    joiners: Literal["include", "ignore"] = Field(
        default="include",
        description="Devices that come to match the target while this runs join the last stage.",
    )
    offline_expire_s: float = Field(
        default=604_800.0,
        gt=0,
        le=31_536_000,
        description="A device that does not follow its wish in this time is left out.",
    )
    stuck_s: float = Field(
        default=1800.0,
        gt=0,
        le=8_640_000,
        description="A device that is online and neither takes nor refuses the model in this time "
        "counts as failed.",
    )
    baseline_s: float = Field(
        default=86_400.0, gt=0, le=2_592_000, description="How much of a device's past counts."
    )
    evidence_s: float = Field(
        default=21_600.0,
        ge=0,
        le=8_640_000,
        description="After the soak, wait so long for gates that are undecided; then pause.",
    )
    note: Text = Field(default="", description="Why; for people.")

    @model_validator(mode="after")
    def _stages_grow(self) -> Self:
        last: dict[str, float] = {}
        named: set[str] = set()
        for number, stage in enumerate(self.stages, 1):
            for kind in ("percent", "count"):
                size = getattr(stage, kind)
                if size is not None:
                    if size <= last.get(kind, 0):
                        raise ValueError(
                            f"stages overlap: stage {number} ends at {size:g} {kind}, where an "
                            "earlier one ended already; sizes are cumulative"
                        )
                    last[kind] = size
            for device in stage.devices or ():
                if device in named:
                    raise ValueError(f"stages overlap: {device} is named in two of them")
                named.add(device)
        return self
