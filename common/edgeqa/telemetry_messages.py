"""Payloads with which a device tells how it does: records, and the heartbeat that guards them.

A *record* (`Telemetry`, `Evaluation`, `SwapReport`) is written to the device's outbox before it is
sent. All records of one start of the agent share one sequence: `seq` is 1, 2, 3 … within `boot_id`,
so a repeat is harmless and a gap visible. The heartbeat says up to which `seq` the broker has
acknowledged them: what the cloud lacks below it was lost on the way, and is asked for again by
`commands/resend`.

Counts and times of a record are of its interval, not totals, and times are histograms with the same
buckets everywhere: records can be added up in any order.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from edgeqa.histogram import Histogram
from edgeqa.messages import Fault, Id, Name, Wire
from edgeqa.model_messages import CheckScores, Command, Digest, Version

# 2**53 - 1 is the largest whole number that every JSON reader keeps.
MAX_INT = 2**53 - 1
MAX_OUTCOMES = 64
MAX_CHOICES = 64
MAX_RANGES = 64

Count = Annotated[int, Field(ge=0, le=MAX_INT)]
Seq = Annotated[int, Field(ge=1, le=MAX_INT)]
Milliseconds = Annotated[float, Field(ge=0, le=MAX_INT, allow_inf_nan=False)]
Percent = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]
Points = Annotated[float, Field(ge=-100, le=100, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Interval = tuple[Percent, Percent]
Slug = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
Label = Annotated[str, StringConstraints(min_length=1, max_length=256)]
Fingerprint = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class Model(_Part):
    """Which model a record is about."""

    name: Name
    version: Version
    digest: Digest


class BootRange(_Part):
    """The records of one start of the agent that its outbox still holds."""

    boot_id: Name
    first: Seq = Field(description="Oldest that is held; earlier ones cannot be sent again.")
    last: Count = Field(
        description="All up to here were acknowledged by the broker or given up; less than `first` "
        "where nothing is left."
    )


class Heartbeat(Wire):
    """The device is there. Sent at each connect and every `interval_s`; not kept in the outbox."""

    device: Name
    boot_id: Name
    time_ms: Count = Field(description="Device time when sent, milliseconds since 1970.")
    uptime_ms: Count = Field(description="Since the agent started; never set back.")
    interval_s: float = Field(gt=0, le=86_400, description="When to expect the next at the latest.")
    seq: Count = Field(
        description="All records up to here were acknowledged by the broker, or given up."
    )
    boots: list[BootRange] | None = Field(
        default=None,
        max_length=MAX_RANGES,
        description="What is held of this and earlier starts; after each connect, and hourly. "
        "One message does not unsay what another says of other starts.",
    )


class Record(Wire):
    """What all records say."""

    model_config = ConfigDict(allow_inf_nan=False)

    device: Name
    boot_id: Name = Field(description="New at every start of the agent.")
    seq: Seq = Field(description="1, 2, 3 … over all records of this start.")
    time_ms: Count = Field(description="Device time when written, milliseconds since 1970.")
    uptime_ms: Count = Field(description="Since the agent started; never set back.")


class Latency(_Part):
    """Times of answered questions, milliseconds, by part; absent where nothing was measured."""

    queue: Histogram | None = Field(default=None, description="From arrival to the model.")
    tokenise: Histogram | None = None
    inference: Histogram | None = Field(default=None, description="In onnxruntime.")
    decode: Histogram | None = Field(default=None, description="From logits to answers.")
    publish: Histogram | None = Field(default=None, description="Until the broker has the answer.")
    total: Histogram | None = Field(default=None, description="From arrival until it is handed on.")


class Process(_Part):
    """One process of the agent."""

    role: Slug = Field(description="`agent`, `model` or `evaluation`.")
    resident_bytes: Count


class Outboxed(_Part):
    """The state of the outbox."""

    waiting: Count = Field(description="Records that the broker has not acknowledged.")
    bytes: Count
    dropped: dict[Slug, Count] = Field(
        default_factory=dict, max_length=8, description="Records given up for room, ever, by kind."
    )


class Chosen(_Part):
    """Questions that one of a device's two models answered, for one reason."""

    model: Model
    reason: Slug = Field(description="As `choice` in an answer.")
    questions: Count


class Telemetry(Record):
    """How the device served since the record before."""

    interval_s: float = Field(ge=0, le=8_640_000, description="That this record covers.")
    model: Model | None = Field(default=None, description="That answers now.")
    companion: Model | None = Field(default=None, description="The quicker one beside it.")
    choices: list[Chosen] | None = Field(default=None, max_length=MAX_CHOICES)
    outcomes: dict[Slug, Count] = Field(
        default_factory=dict,
        max_length=MAX_OUTCOMES,
        description="Questions by what became of them: `answered`, or the code of the refusal.",
    )
    cached: Count = Field(
        default=0,
        description="Answered without an inference; of `latency`, in `publish` only.",
    )
    latency: Latency | None = None
    batch: Histogram | None = Field(default=None, description="Questions in a message.")
    queue_depth: Count = Field(default=0, description="Requests waiting and running, now.")
    queue_depth_max: Count = Field(default=0, description="Most of the interval.")
    processes: list[Process] = Field(default_factory=list, max_length=16)
    memory_available_bytes: Count | None = None
    memory_total_bytes: Count | None = None
    cpu_load: Share | None = Field(default=None, description="Share of all cores, of the interval.")
    temperature_celsius: float | None = Field(default=None, ge=-100, le=250)
    temperature_max_celsius: float | None = Field(default=None, ge=-100, le=250)
    throttled: list[Slug] | None = Field(
        default=None,
        max_length=16,
        description="Flags of the board: `under_voltage`, `frequency_capped`, `throttled`, "
        "`soft_temperature_limit`, and each with `_occurred` since it was powered.",
    )
    disk_free_bytes: Count | None = None
    disk_total_bytes: Count | None = None
    host_uptime_s: float | None = Field(default=None, ge=0, le=MAX_INT)
    reconnects: Count = Field(default=0, description="To the broker, of the interval.")
    outbox: Outboxed | None = None


class Trigger(StrEnum):
    """Why an evaluation was begun."""

    SCHEDULE = "schedule"
    COMMAND = "command"
    SWAP = "swap"


class Dataset(_Part):
    """What was asked."""

    name: Label
    fingerprint: Fingerprint = Field(description="SHA-256 of all its questions and answers.")
    task: Literal["squad_v1", "squad_v2"] = Field(
        description="`squad_v2` where some texts do not answer."
    )
    questions: int = Field(ge=1, le=MAX_INT, description="Of the whole set.")


class Slice(_Part):
    """The part of a data set that was asked; the same id is the same questions everywhere."""

    id: Slug = Field(description="`s` and 16 hexadecimal digits of the questions' digest.")
    index: Count
    of: int = Field(ge=1, le=MAX_INT)


class InferenceTimes(_Part):
    """Inference time of the questions of an evaluation, milliseconds."""

    total_ms: Milliseconds
    mean_ms: Milliseconds
    p50_ms: Milliseconds
    p95_ms: Milliseconds
    p99_ms: Milliseconds


class Paired(_Part):
    """Against another model's answers to the same questions on this device; positive is better."""

    previous: Model
    questions: int = Field(ge=1, le=MAX_INT)
    exact_match_difference: Points
    exact_match_interval: tuple[Points, Points] = Field(description="95 %.")
    f1_difference: Points
    f1_interval: tuple[Points, Points] = Field(description="95 %, by paired bootstrap.")
    exact_match_gained: Count = Field(description="Questions that only this model got right.")
    exact_match_lost: Count = Field(description="Questions that only the previous one got right.")


class Evaluation(Record):
    """What the device's model scored on a slice of an evaluation set."""

    model: Model
    trigger: Trigger
    dataset: Dataset
    slice: Slice
    questions: int = Field(ge=1, le=MAX_INT, description="That were asked.")
    exact_match: Percent
    exact_match_interval: Interval = Field(description="95 %, Wilson.")
    f1: Percent
    f1_interval: Interval = Field(description="95 %, bootstrap over the questions.")
    inference: InferenceTimes
    duration_ms: Milliseconds = Field(description="From the first question to the last answer.")
    waited_ms: Milliseconds = Field(
        default=0, description="Of that, given to live questions, the CPU budget and cooling."
    )
    paired: Paired | None = None

    @model_validator(mode="after")
    def _intervals_are_in_order(self) -> Evaluation:
        for name in ("exact_match_interval", "f1_interval"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name} ends before it begins")
        return self


class SwapReport(Record):
    """How a wish ended, or that a model was left; what `reported` said, kept for the history."""

    state: Literal["active", "failed", "rolled_back"]
    name: Name
    version: Version
    digest: Digest | None = None
    wish: Id | None = None
    rollout: Id | None = None
    reason: Fault | None = None
    active: Model | None = None
    previous: Model | None = None
    checks: CheckScores | None = None
    duration_ms: Milliseconds | None = Field(default=None, description="Since the wish was taken.")


class RecordKind(StrEnum):
    """What a record is; also its topic under the device's root."""

    TELEMETRY = "telemetry"
    EVALUATION = "evaluation"
    SWAP = "swap"


RECORDS: dict[RecordKind, type[Record]] = {
    RecordKind.TELEMETRY: Telemetry,
    RecordKind.EVALUATION: Evaluation,
    RecordKind.SWAP: SwapReport,
}


class SeqRange(_Part):
    """Records of one start, both ends included."""

    boot_id: Name
    first: Seq
    last: Seq


class ResendCommand(Command):
    """`commands/resend`: send records again that did not arrive."""

    ranges: list[SeqRange] = Field(min_length=1, max_length=MAX_RANGES)


class EvaluateCommand(Command):
    """`commands/evaluate`: evaluate the model now; the result comes as an `Evaluation`."""

    questions: int | None = Field(
        default=None, ge=1, le=100_000, description="Of the slice; the device's setting if absent."
    )
    slice: int | None = Field(default=None, ge=0, description="Its index; the next one if absent.")
