"""Evaluate: EM, F1 and latency of a model, measured with the reader that serves on the device.

The report of an evaluation is what `package` takes as evidence: it names the data by its SHA-256
and the model by that of its graph.
"""

from __future__ import annotations

import hashlib
import math
import platform
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edgeqa.errors import DataError, PayloadError
from edgeqa.manifest import Baseline, Measured
from edgeqa.reader.engine import Engine
from edgeqa.squad import Example, best, exact, f1

Progress = Callable[["Tally"], None]


class Report(BaseModel):
    """The result of an evaluation, as its JSON file holds it.

    Attributes:
        complete: false where Ctrl-C stopped it; such a report is no evidence.
        refused: questions that the reader does not take (too long), scored as wrong.
        p50_ms: of the whole answer to a question: tokenising, all windows, decoding.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = Field(default=1, alias="schema")
    dataset: str
    fingerprint: str
    precision: str
    model_sha256: str
    complete: bool
    questions: int = Field(ge=0)
    refused: int = Field(ge=0)
    exact_match: float
    f1: float
    seconds: float
    p50_ms: float
    p95_ms: float
    machine: str
    threads: int

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


class Tally:
    """Running sums of an evaluation; complete when it has seen all questions."""

    def __init__(self, expected: int) -> None:
        self.expected = expected
        self.refused = 0
        self.times_ms: list[float] = []
        self._exact = 0.0
        self._f1 = 0.0

    def add(self, example: Example, answer: str, milliseconds: float) -> None:
        """Count one answered question."""
        self.times_ms.append(milliseconds)
        self._exact += best(exact, example.answers, answer)
        self._f1 += best(f1, example.answers, answer)

    @property
    def questions(self) -> int:
        """Questions seen."""
        return len(self.times_ms)

    @property
    def exact_match(self) -> float:
        """In percent of those seen."""
        return 100 * self._exact / max(1, self.questions)

    @property
    def f1(self) -> float:
        """In percent of those seen."""
        return 100 * self._f1 / max(1, self.questions)

    def percentile_ms(self, share: float) -> float:
        """Nearest-rank percentile of the times."""
        ordered = sorted(self.times_ms) or [0.0]
        return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def evaluate(engine: Engine, examples: Sequence[Example], on_progress: Progress) -> Tally:
    """Ask every question once; Ctrl-C ends it early with what is known so far."""
    tally = Tally(len(examples))
    try:
        for example in examples:
            begun = time.perf_counter()
            try:
                spans = engine.answer(example.question, example.context).spans
                answer = spans[0].text if spans else ""
            except PayloadError:
                tally.refused += 1
                answer = ""
            tally.add(example, answer, 1000 * (time.perf_counter() - begun))
            on_progress(tally)
    except KeyboardInterrupt:
        pass  # the tally says that it is not complete
    return tally


def draw(examples: Sequence[Example], limit: int, seed: int) -> list[Example]:
    """All of them, or a repeatable sample of `limit`."""
    if not limit or limit >= len(examples):
        return list(examples)
    return random.Random(seed).sample(examples, limit)  # noqa: S311  a sample, not a secret


def fingerprint(source: str, examples: Sequence[Example]) -> str:
    """SHA-256 of a data file; of the questions themselves where the source is no single file."""
    path = Path(source)
    if path.is_file():
        return hashlib.sha256(path.read_bytes()).hexdigest()
    digest = hashlib.sha256()
    for example in examples:
        digest.update(repr(example).encode())
    return digest.hexdigest()


def machine() -> str:
    """This machine, as a baseline names it: architecture and processor."""
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
        raise DataError(
            f"{path}: not a report of `edgeqa models evaluate`: {where}: {first['msg']}"
        ) from error
