"""The payloads of contract v1.

JSON, UTF-8, `snake_case`. Readers ignore fields they do not know; every message says its `schema`.
Times in a name's suffix (`_ms`, `_s`), offsets in Unicode code points, end exclusive.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from edgeqa.errors import PayloadError
from edgeqa.topics import NAME_PATTERN

SCHEMA: Literal[1] = 1
MAX_TOP_K = 20
MAX_DEADLINE_MS = 3_600_000
MAX_BYTES = 16 << 20  # of any payload; each use has a limit of its own below this

Id = Annotated[str, StringConstraints(min_length=1, max_length=128)]
Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
_CACHED = (
    "True where the same model had answered the same question of the same text already, or was "
    "about to: nothing was inferred for this one. Absent elsewhere."
)
Quality = Literal["fast", "balanced", "best"]


class Wire(BaseModel):
    """Base of every payload: frozen, and silent about fields of a later minor version."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", populate_by_name=True, serialize_by_alias=True
    )

    schema_version: Literal[1] = Field(default=SCHEMA, alias="schema", description="Always 1.")

    def to_json(self) -> bytes:
        """UTF-8 bytes for the wire; absent optional fields are left out."""
        return self.model_dump_json(exclude_none=True).encode()


WireT = TypeVar("WireT", bound=Wire)


class Item(BaseModel):
    """One question of a request."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    question: str = Field(description="The question, in the model's language.")
    context: str | None = Field(default=None, description="The text that holds the answer.")
    context_id: Name | None = Field(
        default=None, description="A text stored on the device, instead of `context`."
    )
    top_k: int | None = Field(
        default=None, ge=1, le=MAX_TOP_K, description="Answers wanted, best first; 1 unless said."
    )
    id: Id | None = Field(default=None, description="Echoed in the answer.")

    def check(self) -> None:
        """Refuse what no model could answer.

        Raises:
            PayloadError: the question or the context is empty, or there is not one of `context`
                and `context_id`.
        """
        if not self.question.strip():
            raise PayloadError("the question is empty", code="empty_question")
        if (self.context is None) == (self.context_id is None):
            raise PayloadError("say either `context` or `context_id`")
        if self.context is not None and not self.context.strip():
            raise PayloadError("the context is empty", code="empty_context")


class Ask(Wire):
    """A question, or a batch of them that is answered in one message.

    In a batch, `context`, `context_id` and `top_k` stand for the items that do not say their own.
    """

    model_config = ConfigDict(strict=True)

    id: Id | None = Field(
        default=None,
        description="Echoed in the answer, and what makes a repeat harmless: the same id with "
        "the same content is inferred once.",
    )
    question: str | None = Field(default=None, description="The question; or `questions`.")
    questions: list[Item] | None = Field(default=None, description="A batch.")
    context: str | None = Field(default=None, description="The text that holds the answer.")
    context_id: Name | None = Field(
        default=None, description="A text stored on the device, instead of `context`."
    )
    top_k: int | None = Field(
        default=None, ge=1, le=MAX_TOP_K, description="Answers wanted, best first; 1 unless said."
    )
    deadline_ms: int | None = Field(
        default=None,
        ge=1,
        le=MAX_DEADLINE_MS,
        description="Refuse with `expired` rather than begin later than this after arrival. A "
        "device with two models asks the quicker one where the better one would be late.",
    )
    quality: Quality | None = Field(
        default=None,
        description="Which model of a device that has two: the quicker one, the better one, or, "
        "unless said, whichever the device's load and temperature, and the deadline, speak for.",
    )

    def items(self) -> list[Item]:
        """The questions, each with the request's defaults filled in; each is yet to be checked.

        Raises:
            PayloadError: neither or both of `question` and `questions`, or an empty batch.
        """
        if (self.question is None) == (self.questions is None):
            raise PayloadError("say either `question` or `questions`")
        if self.questions == []:
            raise PayloadError("`questions` is empty")
        own = self.questions or [Item(question=self.question or "")]
        return [self._filled(item) for item in own]

    def _filled(self, item: Item) -> Item:
        context, context_id = item.context, item.context_id
        if context is None and context_id is None:
            context, context_id = self.context, self.context_id
        return Item(
            question=item.question,
            context=context,
            context_id=context_id,
            top_k=item.top_k or self.top_k or 1,
            id=item.id,
        )


class Span(BaseModel):
    """One answer: a part of the context."""

    model_config = ConfigDict(frozen=True)

    text: str = Field(description="`context[start:end]`, to the letter.")
    start: int = Field(ge=0, description="First code point.")
    end: int = Field(ge=0, description="Behind the last code point.")
    score: float = Field(ge=0, description="Probability that the model gives the span.")


class ModelRef(BaseModel):
    """Which model answered."""

    model_config = ConfigDict(frozen=True)

    name: str
    version: str
    digest: str = Field(description="`sha256:…` of the package's manifest.")


class Fault(BaseModel):
    """Why there is no answer."""

    model_config = ConfigDict(frozen=True)

    code: str = Field(description="Stable slug; the list is in docs/errors.md.")
    message: str = Field(description="For people; may change.")


class Result(BaseModel):
    """The outcome of one question: answers, or an error."""

    model_config = ConfigDict(frozen=True)

    id: Id | None = None
    answers: list[Span] | None = Field(default=None, description="Best first.")
    no_answer_score: float | None = Field(
        default=None, description="Probability that the text does not hold an answer."
    )
    windows: int | None = Field(default=None, description="Windows that the text was cut into.")
    inference_ms: float | None = Field(default=None, description="Time in the model alone.")
    cached: bool | None = Field(default=None, description=_CACHED)
    error: Fault | None = None


class Answer(Wire):
    """The reply to an `Ask`: of one question in `answers`, of a batch in `results`."""

    status: Literal["ok", "error"] = Field(
        description="`error` if the request, or its one question, was refused."
    )
    id: Id | None = None
    device: str
    model: ModelRef | None = None
    answers: list[Span] | None = Field(default=None, description="Best first.")
    no_answer_score: float | None = Field(
        default=None, description="Probability that the text does not hold an answer."
    )
    windows: int | None = Field(default=None, description="Windows that the text was cut into.")
    cached: bool | None = Field(default=None, description=_CACHED)
    results: list[Result] | None = Field(default=None, description="Of a batch, in its order.")
    choice: str | None = Field(
        default=None,
        description="Why this model of the device's two: `asked` for by `quality`; the other is "
        "slower, and `deadline`, `load` or `heat` spoke against it; nothing did: `calm`; or it was "
        "`alone` at that time. Absent where the device has one model.",
    )
    inference_ms: float | None = Field(default=None, description="Time in the model alone.")
    queue_ms: float | None = Field(default=None, description="From arrival to the model.")
    total_ms: float | None = Field(default=None, description="From arrival to this reply.")
    error: Fault | None = None


class Hardware(BaseModel):
    """What the agent runs on."""

    model_config = ConfigDict(frozen=True)

    machine: str = Field(description="As `uname -m`.")
    board: str | None = Field(default=None, description="From the device tree, where there is one.")
    cpus: int = Field(description="That the agent may use.")
    memory_bytes: int


class Status(Wire):
    """Retained presence: published by the agent as birth, by the broker as will."""

    status: Literal["online", "offline"]
    device: str
    boot_id: str | None = Field(default=None, description="New at every start of the agent.")
    reason: str | None = Field(default=None, description="Of `offline`: `stopped` or `lost`.")
    agent_version: str | None = None
    python_version: str | None = None
    onnxruntime_version: str | None = None
    model: ModelRef | None = None
    groups: list[str] | None = None
    hardware: Hardware | None = None


def parse_payload(kind: type[WireT], payload: bytes, *, most_bytes: int = MAX_BYTES) -> WireT:
    """Validate a payload.

    Raises:
        PayloadError: `payload_too_large`, `not_utf8`, `not_json`, `unsupported_schema`, or
            `invalid_payload` with the field at fault.
    """
    if len(payload) > most_bytes:
        raise PayloadError(
            f"{len(payload)} bytes; at most {most_bytes} are taken", code="payload_too_large"
        )
    try:
        payload.decode("utf-8")
    except UnicodeDecodeError as error:
        raise PayloadError(f"not UTF-8 at byte {error.start}", code="not_utf8") from error
    try:
        return kind.model_validate_json(payload)
    except ValidationError as error:
        raise _payload_error(error.errors(include_url=False, include_context=False)[0]) from error


def _payload_error(first: Mapping[str, Any]) -> PayloadError:
    if first["type"] == "json_invalid":
        return PayloadError(str(first["msg"]), code="not_json")
    field = ".".join(str(part) for part in first["loc"])
    if field == "schema":
        return PayloadError(
            f"schema {first['input']!r:.40} is not spoken here, only {SCHEMA} is",
            code="unsupported_schema",
        )
    return PayloadError(f"{field or 'payload'}: {first['msg']}")
