"""Evaluate: EM, F1 and latency of a model, measured with the reader that serves on the device.

Every question is asked once, after one that is not counted: a model process too answers its check
questions before it serves. The result is a `Report`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from edgeqa.errors import PayloadError
from edgeqa.reader.engine import Engine
from edgeqa.squad import Example
from edgeqa.squad_v2 import Candidate, Verdict, best_threshold, judge, null_score
from edgeqa_models.draft import Measurable
from edgeqa_models.report import Report, Slice, machine
from edgeqa_models.sample import Sample
from edgeqa_models.significance import bootstrap_interval

Progress = Callable[["Tally"], None]


@dataclass(frozen=True, slots=True)
class Asked:
    """What the reader gave for one question, before any threshold.

    Attributes:
        span: its best span; empty where it refused the question.
        score: of the span, a probability but for spans of equal text, which add up.
        no_answer_score: probability that no window holds an answer.
        milliseconds: tokenising, all windows, decoding.
    """

    example: Example
    span: str
    score: float
    no_answer_score: float
    milliseconds: float
    refused: bool = False

    @property
    def null_score(self) -> float:
        """See `squad_v2.null_score`."""
        return null_score(self.score, self.no_answer_score)


class Tally:
    """Answers of an evaluation and their sums; complete when it has seen all questions.

    Args:
        expected: questions to come.
        null_threshold: of SQuAD v2.0; None scores as v1.1 does.
    """

    def __init__(self, expected: int, null_threshold: float | None = None) -> None:
        self.expected = expected
        self.null_threshold = null_threshold
        self.asked: list[Asked] = []
        self.verdicts: list[Verdict] = []
        self.times_ms: list[float] = []
        self.refused = 0
        self._exact = 0.0
        self._f1 = 0.0

    def add(self, asked: Asked) -> None:
        """Count one question."""
        verdict = judge(asked.example, asked.span, asked.null_score, self.null_threshold)
        self.asked.append(asked)
        self.verdicts.append(verdict)
        self.times_ms.append(asked.milliseconds)
        self.refused += asked.refused
        self._exact += verdict.exact_match
        self._f1 += verdict.f1

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

    def best_threshold(self, measure: Literal["exact_match", "f1"]) -> tuple[float, float]:
        """Best score in percent and its null threshold, see `squad_v2.best_threshold`."""
        candidates = []
        for asked in self.asked:
            plain = judge(asked.example, asked.span, asked.null_score, None)
            score: float = getattr(plain, measure)
            answerable = bool(asked.example.answers)
            candidates.append(Candidate(score, asked.null_score, answerable, not asked.span))
        return best_threshold(candidates)

    def part(self, *, answerable: bool) -> Slice | None:
        """Scores of the questions with, or without, an answer; None if there are none."""
        pairs = zip(self.asked, self.verdicts, strict=True)
        kept = [v for asked, v in pairs if bool(asked.example.answers) == answerable]
        if not kept:
            return None
        return Slice(
            questions=len(kept),
            exact_match=100 * sum(verdict.exact_match for verdict in kept) / len(kept),
            f1=100 * sum(verdict.f1 for verdict in kept) / len(kept),
        )


def ask(engine: Engine, example: Example) -> Asked:
    """Ask one question and take its time."""
    begun = time.perf_counter()
    try:
        reading = engine.answer(example.question, example.context)
    except PayloadError:
        return Asked(example, "", 0.0, 1.0, 1000 * (time.perf_counter() - begun), refused=True)
    milliseconds = 1000 * (time.perf_counter() - begun)
    if not reading.spans:
        return Asked(example, "", 0.0, reading.no_answer_score, milliseconds)
    span = reading.spans[0]
    return Asked(example, span.text, span.score, reading.no_answer_score, milliseconds)


def evaluate(
    engine: Engine,
    examples: Sequence[Example],
    on_progress: Progress,
    *,
    null_threshold: float | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Tally:
    """Ask every question once.

    Args:
        engine: the loaded model.
        examples: the questions.
        on_progress: called after each question.
        null_threshold: see `Tally`.
        stop: looked at before each question; where it is true, the tally stays incomplete.
    """
    tally = Tally(len(examples), null_threshold)
    for example in examples[:1]:
        ask(engine, example)
    for example in examples:
        if stop():
            break
        tally.add(ask(engine, example))
        on_progress(tally)
    return tally


def report_on(
    tally: Tally, model: Measurable, sample: Sample, *, threads: int, peak_memory_bytes: int
) -> Report:
    """The report of what was counted."""
    seconds = sum(tally.times_ms) / 1000
    v2 = tally.null_threshold is not None
    exact_low, exact_high = bootstrap_interval([v.exact_match for v in tally.verdicts])
    f1_low, f1_high = bootstrap_interval([v.f1 for v in tally.verdicts])
    return Report(
        schema=2,
        dataset=sample.dataset,
        fingerprint=sample.fingerprint,
        task="squad_v2" if v2 else "squad_v1",
        null_threshold=tally.null_threshold,
        precision=model.precision,
        model_sha256=model.model_sha256,
        model_bytes=model.model_bytes,
        complete=tally.questions == tally.expected,
        questions=tally.questions,
        refused=tally.refused,
        exact_match=tally.exact_match,
        f1=tally.f1,
        exact_match_interval=(100 * exact_low, 100 * exact_high),
        f1_interval=(100 * f1_low, 100 * f1_high),
        has_answer=tally.part(answerable=True) if v2 else None,
        no_answer=tally.part(answerable=False) if v2 else None,
        seconds=seconds,
        questions_per_s=tally.questions / seconds if seconds else 0.0,
        p50_ms=tally.percentile_ms(0.5),
        p95_ms=tally.percentile_ms(0.95),
        p99_ms=tally.percentile_ms(0.99),
        peak_memory_bytes=peak_memory_bytes,
        machine=machine(),
        threads=threads,
    )
