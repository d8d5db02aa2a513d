"""What each model answers when it is asked here, without agent and broker.

The reader holds a graph for one question alone and one for several at once. They should give the
same (docs/adr/0005); both are read, and an answer may be either.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from edgeqa.errors import DataError
from edgeqa.manifest import Package, open_package
from edgeqa.reader.engine import Engine
from edgeqa.squad import read_squad
from edgeqa_models.sample import draw

SCORE_TOLERANCE = 1e-4
# Two spans whose scores are this near, relative to the better, are a tie: rounding decides.
_TIE = 1e-3
# Text, first character, end, score.
Span = tuple[str, int, int, float]


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked."""

    question: str
    context: str


@dataclass(frozen=True, slots=True)
class Expected:
    """What one model may answer to one question; `tie` if rounding would decide."""

    spans: tuple[Span, ...]
    tie: bool

    def allows(self, given: Span) -> bool:
        """Whether an answer is one of these: the same span, its score within the tolerance."""
        return any(
            given[:3] == span[:3] and abs(given[3] - span[3]) <= SCORE_TOLERANCE
            for span in self.spans
        )


@dataclass(frozen=True, slots=True)
class Truth:
    """The questions that are asked, and for each digest what it answers to each of them."""

    questions: list[Question]
    expected: dict[str, list[Expected]]
    ties: int = 0
    data: str = field(default="")


def choose(
    data: Path | None, packages: Sequence[Package], *, sample: int, most_chars: int, seed: int
) -> list[Question]:
    """Questions about texts of at most so many characters; without data, the packages' own checks.

    Raises:
        DataError: the data cannot be read, or have no text that short.
    """
    if data is None:
        checks = [check for package in packages for check in package.checks()]
        return list(dict.fromkeys(Question(check.question, check.context) for check in checks))
    short = [example for example in read_squad(data) if len(example.context) <= most_chars]
    if not short:
        raise DataError(f"{data}: no text has at most {most_chars} characters")
    return [Question(e.question, e.context) for e in draw(short, sample, seed)]


def read_offline(
    package: Package, questions: Sequence[Question], *, threads: int
) -> Iterator[Expected]:
    """What a package answers, question by question, from a process of its own."""
    pool = ProcessPoolExecutor(
        1,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_load,
        initargs=(package.path, threads),
    )
    try:
        yield from pool.map(_read, questions)
    finally:
        pool.shutdown(cancel_futures=True)


def without_ties(
    questions: Sequence[Question], expected: dict[str, list[Expected]], data: str
) -> Truth:
    """The questions that have one best answer for every model.

    Raises:
        DataError: none has.
    """
    rows = list(zip(*expected.values(), strict=True))
    clear = [number for number, row in enumerate(rows) if not any(one.tie for one in row)]
    if not clear:
        raise DataError("no question has one best answer; are these models trained?")
    return Truth(
        questions=[questions[number] for number in clear],
        expected={d: [answers[number] for number in clear] for d, answers in expected.items()},
        ties=len(questions) - len(clear),
        data=data,
    )


_engine: list[Engine] = []  # of the process that `_load` began


def _load(path: Path, threads: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is for the parent, which ends us
    _engine.append(Engine.load(open_package(path), threads=threads))


def _read(question: Question) -> Expected:
    [engine] = _engine
    prepared = engine.prepare(question.question, question.context)
    spans = []
    for alone in (True,) if engine.threads == 1 else (True, False):
        best = engine.read(prepared, alone=alone).spans[0]
        spans.append((best.text, best.start, best.end, best.score))
    # Apart: with more answers wanted, more candidates of equal text are added up in a score.
    first, *others = engine.read(prepared, top_k=2).spans
    tie = any(first.score - other.score <= _TIE * first.score for other in others)
    return Expected(tuple(spans), tie or len({span[:3] for span in spans}) > 1)
