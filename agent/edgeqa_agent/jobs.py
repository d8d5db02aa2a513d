"""What the agent's main process and a model process say to each other.

One JSON object per message over a socket pair. JSON, not pickle: a model process that has been
taken over by a hostile model must not gain the main process with it.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgeqa.errors import EdgeqaError, ExitCode

if TYPE_CHECKING:
    # Its library of data models is for the main process: a model process has no use for it.
    from edgeqa.model_messages import CheckScores

# Of an outcome; they are added up, where a NaN would spoil all others.
_TIMES = ("inference_ms", "tokenise_ms", "decode_ms", "begun_at", "cpu_ms")


@dataclass(frozen=True, slots=True)
class Task:
    """One question, its text at hand."""

    question: str
    context: str
    top_k: int


@dataclass(frozen=True, slots=True)
class Job:
    """The questions of one request.

    Attributes:
        stop_at: `time.monotonic()`, which processes share.
        background: to be read with what others leave of the processor; one at a time.
    """

    number: int
    tasks: list[Task]
    stop_at: float | None
    background: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one question: spans as (text, start, end, score), or an error.

    Attributes:
        begun_at: `time.monotonic()` when its inference began, which processes share.
        cpu_ms: processor time that it took, known of one in the background.
        cached: the answer to an equal question; nothing was inferred for this one.
    """

    spans: list[tuple[str, int, int, float]]
    no_answer_score: float
    windows: int
    inference_ms: float
    error: tuple[str, str] | None = None
    tokenise_ms: float = 0.0
    decode_ms: float = 0.0
    begun_at: float = 0.0
    cpu_ms: float = 0.0
    cached: bool = False


@dataclass(frozen=True, slots=True)
class Done:
    """A job's outcomes, in the order of its tasks, and when its first inference began."""

    number: int
    begun_at: float
    outcomes: list[Outcome]


@dataclass(frozen=True, slots=True)
class Proven:
    """What a model process says to be `Ready`: the fields of `CheckScores` as plain data."""

    scores: dict[str, float]
    onnxruntime_version: str


@dataclass(frozen=True, slots=True)
class Ready:
    """The model is loaded and has answered its check questions."""

    scores: CheckScores
    onnxruntime_version: str


@dataclass(frozen=True, slots=True)
class Failed:
    """The model cannot be served."""

    code: str
    message: str
    exit_code: int

    def error(self) -> EdgeqaError:
        """The same as an exception of this process."""
        error = EdgeqaError(self.message, code=self.code)
        error.exit_code = ExitCode(self.exit_code)
        return error


Report = Ready | Failed | Done


def refused(code: str, message: str) -> Outcome:
    """The outcome of a question that has no answer."""
    return Outcome([], 0.0, 0, 0.0, (code, message))


def encode(message: Job | Proven | Failed | Done) -> bytes:
    """To bytes."""
    return json.dumps([type(message).__name__, message], default=_fields).encode()


def decode_job(raw: bytes) -> Job:
    """From bytes of the main process."""
    fields: dict[str, Any] = json.loads(raw)[1]
    fields["tasks"] = [Task(**task) for task in fields["tasks"]]
    return Job(**fields)


def decode_report(raw: bytes) -> Report:
    """From bytes of a model process.

    Raises:
        ValueError, TypeError, KeyError, OverflowError: not a report.
    """
    kind, fields = json.loads(raw)
    if kind == "Done":
        fields["outcomes"] = [_outcome(outcome) for outcome in fields["outcomes"]]
        return Done(**fields)
    if kind == "Proven":
        from edgeqa.model_messages import CheckScores  # noqa: PLC0415  as above

        fields["scores"] = CheckScores.model_validate(fields["scores"])
        return Ready(**fields)
    return Failed(**fields)


def _fields(message: Any) -> dict[str, Any]:
    # Of a dataclass with slots. `asdict` copies what is in them and takes twice as long.
    return {name: getattr(message, name) for name in message.__slots__}


def _outcome(fields: dict[str, Any]) -> Outcome:
    spans = [(str(t), int(s), int(e), float(p)) for t, s, e, p in fields.pop("spans")]
    error = fields.pop("error")
    fields |= {name: _finite(fields[name]) for name in _TIMES}
    fields["cached"] = False  # a model process has inferred what it answers
    named = (str(error[0]), str(error[1])) if error else None
    return Outcome(spans=spans, error=named, **fields)


def _finite(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{number} is no time")
    return number
