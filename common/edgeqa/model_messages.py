"""Payloads about the model of a device: the wish for one, the report on it, and commands.

A wish is retained and may be repeated: it says what the device shall run, not what to do. A device
follows each wish once, by its `id`; the newest wish wins, also over one under way.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from edgeqa.messages import Fault, Id, ModelRef, Name, Wire

Version = Annotated[str, StringConstraints(pattern=r"^[0-9]+\.[0-9]+\.[0-9]+$", max_length=64)]
Digest = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Gates(_Part):
    """What a model must reach on its package's check questions before it serves."""

    min_exact_match: float | None = Field(default=None, ge=0, le=100, description="Percent.")
    min_f1: float | None = Field(default=None, ge=0, le=100, description="Percent.")
    max_p95_ms: float | None = Field(
        default=None, gt=0, description="95th percentile of inference time, one question at a time."
    )
    max_memory_mb: float | None = Field(
        default=None, gt=0, description="Resident memory of the loaded model, MiB."
    )


class Shadow(_Part):
    """The new model answers live questions beside the active one, unseen, before it serves."""

    fraction: float = Field(gt=0, le=1, description="Share of live questions that it answers too.")
    questions: int = Field(ge=1, le=100_000, description="Questions to compare.")
    min_agreement: float = Field(
        default=0.0, ge=0, le=1, description="Least mean F1 between the two models' best answers."
    )
    max_latency_ratio: float | None = Field(
        default=None, gt=0, description="Most that its median inference time may be of the other's."
    )
    timeout_s: float = Field(
        default=3600, gt=0, le=604_800, description="Fail if too few questions came until then."
    )


class Desired(Wire):
    """The model that a device shall run; retained. An empty payload takes the wish back."""

    id: Id = Field(description="New for each wish; a device follows each wish once.")
    name: Name = Field(description="Of the package.")
    version: Version
    digest: Digest | None = Field(default=None, description="Refuse any other package.")
    rollout: Id | None = Field(default=None, description="Echoed in reports.")
    gates: Gates | None = Field(
        default=None, description="Beside the device's own; the stricter holds."
    )
    shadow: Shadow | None = None


class ModelState(StrEnum):
    """Where a device stands with a wish, in this order; the last three are final."""

    FETCHING = "fetching"
    VERIFYING = "verifying"
    LOADING = "loading"
    TESTING = "testing"
    ACTIVE = "active"
    FAILED = "failed"
    ROLLED_BACK = "rolled_back"


class CheckScores(_Part):
    """How a loaded model answered its package's check questions on this device."""

    questions: int = Field(ge=1)
    exact_match: float = Field(ge=0, le=100, description="Percent.")
    f1: float = Field(ge=0, le=100, description="Percent.")
    p50_ms: float = Field(ge=0, description="Inference time of a question, all cores.")
    p95_ms: float = Field(ge=0)
    memory_bytes: int = Field(ge=0, description="Resident, after its largest window.")
    load_ms: float = Field(ge=0, description="From the start of its process to here.")


class ShadowScores(_Part):
    """How the shadow compares with the active model so far."""

    questions: int = Field(ge=0, description="Compared.")
    wanted: int = Field(ge=1)
    exact_agreement: float = Field(ge=0, le=1, description="Share of equal best spans.")
    f1_agreement: float = Field(ge=0, le=1, description="Mean F1 of the best spans.")
    latency_ratio: float | None = Field(
        default=None, description="Median inference time, new over active."
    )


class Reported(Wire):
    """What a device says of its model; retained, and published at each change."""

    device: str
    boot_id: str = Field(description="New at every start of the agent.")
    time_ms: int = Field(description="Device time, milliseconds since 1970.")
    state: ModelState
    name: str = Field(description="Of the package that `state` is about.")
    version: str
    digest: Digest | None = Field(default=None, description="Once it is known.")
    wish: Id | None = Field(default=None, description="Id of the wish; none for the first model.")
    rollout: Id | None = None
    progress: int | None = Field(default=None, ge=0, le=100, description="Percent, of `fetching`.")
    reason: Fault | None = Field(
        default=None, description="Why it failed or was rolled back, or what is waited for."
    )
    active: ModelRef | None = Field(default=None, description="The model that answers now.")
    previous: ModelRef | None = Field(default=None, description="What a rollback would go to.")
    checks: CheckScores | None = None
    shadow: ShadowScores | None = None


class Verb(StrEnum):
    """What a device can be told to do; the last level of the command's topic."""

    ROLLBACK = "rollback"
    PRUNE = "prune"
    PACKAGES = "packages"
    PING = "ping"
    EVALUATE = "evaluate"
    RESEND = "resend"


class Command(Wire):
    """An order that is never obeyed twice, late or from the past; never retained."""

    id: Id | None = Field(default=None, description="Echoed in the reply.")
    number: int = Field(
        ge=1, le=2**53, description="Higher than that of all earlier commands to the device; "
        "milliseconds since 1970 will do."
    )  # fmt: skip
    expires_ms: int = Field(ge=1, description="Not obeyed later; milliseconds since 1970.")


class StoredPackage(_Part):
    """A package on a device."""

    model: ModelRef
    role: Literal["active", "previous", "stored"]
    embedded: bool = Field(description="Part of the installation: never pruned.")
    bytes: int = Field(ge=0)


class CommandReply(Wire):
    """The answer to a command."""

    status: Literal["ok", "error"]
    verb: str
    device: str
    boot_id: str
    id: Id | None = None
    number: int | None = None
    error: Fault | None = None
    active: ModelRef | None = Field(default=None, description="The model that answers now.")
    packages: list[StoredPackage] | None = Field(default=None, description="Of the device.")
    freed_bytes: int | None = Field(default=None, description="By `prune`.")
    queued: int | None = Field(
        default=None, description="By `evaluate`: questions. By `resend`: records."
    )
    missing: int | None = Field(
        default=None, description="By `resend`: records that the device does not hold any more."
    )
