"""The report of an evaluation: the score card of one model on one data set and one machine.

It names the data by their fingerprint and the model by the SHA-256 of its graph, so that `package`
can take it as evidence and `compare` can set it beside others.
"""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edgeqa.data.identity import Task
from edgeqa.errors import DataError
from edgeqa.manifest import Baseline, Measured

Percent = Annotated[float, Field(ge=0, le=100)]
Interval = tuple[Percent, Percent]


class Slice(BaseModel):
    """Scores, in percent, of a part of the questions."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    questions: int = Field(ge=0)
    exact_match: Percent
    f1: Percent


class Report(BaseModel):
    """The result of an evaluation, as its JSON file holds it. Scores are in percent.

    Attributes:
        fingerprint: SHA-256 of the data file, see `edgeqa.data.identity`.
        task: `squad_v2` where the empty answer is one; `null_threshold` says when it is given.
        model_bytes: of the graph file.
        complete: false where Ctrl-C stopped it; such a report is no evidence.
        refused: questions that the reader does not take (too long), scored as the empty answer.
        exact_match_interval, f1_interval: 95 % bootstrap, see `significance`.
        has_answer, no_answer: the two kinds of question, SQuAD v2.0 only.
        seconds: of inference, all questions together.
        p50_ms: of the whole answer to a question: tokenising, all windows, decoding.
        peak_memory_bytes: largest resident memory of a process that only answers questions, see
            `peak_memory`.
        threads: of one inference.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[2] = Field(default=2, alias="schema")
    dataset: str
    fingerprint: str
    task: Task
    null_threshold: float | None = None
    precision: str
    model_sha256: str
    model_bytes: int = Field(gt=0)
    complete: bool
    questions: int = Field(ge=0)
    refused: int = Field(ge=0)
    exact_match: Percent
    f1: Percent
    exact_match_interval: Interval
    f1_interval: Interval
    has_answer: Slice | None = None
    no_answer: Slice | None = None
    seconds: float = Field(ge=0)
    questions_per_s: float = Field(ge=0)
    p50_ms: float = Field(ge=0)
    p95_ms: float = Field(ge=0)
    p99_ms: float = Field(ge=0)
    peak_memory_bytes: int = Field(gt=0)
    machine: str
    threads: int = Field(gt=0)

    def measured(self) -> Measured:
        """The scores, for a manifest."""
        return Measured(
            dataset=self.dataset,
            fingerprint=self.fingerprint,
            precision=self.precision,
            questions=self.questions,
            exact_match=round(self.exact_match, 2),
            f1=round(self.f1, 2),
        )

    def baseline(self) -> Baseline:
        """The latency, for a manifest."""
        return Baseline(
            machine=self.machine,
            threads=self.threads,
            questions=self.questions,
            p50_ms=round(self.p50_ms, 2),
            p95_ms=round(self.p95_ms, 2),
        )


def machine() -> str:
    """This machine, as a report names it: architecture and processor."""
    model = ""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith(("model name", "Model")):
                model = line.partition(":")[2].strip()
                break
    except OSError:
        pass  # not Linux: the architecture alone
    return f"{platform.machine()} {model}".strip()


def read_report(path: Path) -> Report:
    """Read a report file.

    Raises:
        DataError: it cannot be read or is not a report.
    """
    try:
        return Report.model_validate_json(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "report"
        advice = "; evaluate the model again" if where == "schema" else ""
        raise DataError(
            f"{path}: not a report of `edgeqa models evaluate`: {where}: {first['msg']}{advice}"
        ) from error
