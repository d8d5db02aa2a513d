"""The proof of a loaded model: it answers the check questions of its own package.

Before that it is warmed up with the largest window that it will ever get, so that the buffers of
onnxruntime have their final size: the first live question is then as quick as the others, and the
memory that is measured afterwards is what the model takes in service.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeqa.errors import GateError, PayloadError
from edgeqa.plain_package import PlainCheck, PlainPackage
from edgeqa.reader.engine import Engine, Reading
from edgeqa.reader.windows import Window
from edgeqa.squad import Gold, best, exact, f1

if TYPE_CHECKING:
    from edgeqa.manifest import Package

# Percent. A sound model answers every check of its own package; rounding on another processor may
# move a word boundary in one of them.
MIN_CHECKS_F1 = 90.0

# A context of one token, doubled so often, fills the largest window of `Sizes` (4096 tokens).
_MAX_DOUBLINGS = 13


@dataclass(frozen=True, slots=True)
class Proof:
    """How a model answered the check questions of its package.

    Attributes:
        exact_match, f1: means, in percent.
        p50_ms, p95_ms: nearest-rank percentiles of the inference time of a question, which are
            asked one at a time and get all cores.
    """

    questions: int
    exact_match: float
    f1: float
    p50_ms: float
    p95_ms: float


def prove(engine: Engine, package: Package | PlainPackage) -> Proof:
    """Warm the model up, then let it answer the check questions.

    Args:
        engine: the package, loaded.
        package: whose checks are asked.

    Raises:
        GateError: `checks_failed`, the mean F1 is below `MIN_CHECKS_F1`, or a check is not a
            question that the model takes.
        InferenceError: the model gave NaN or infinity, or onnxruntime failed.
        ModelLoadError: the package's checks cannot be read.
    """
    plain = package if isinstance(package, PlainPackage) else package.plain()
    checks, who = plain.checks(), plain.title
    try:
        _warm_up(engine, checks[0])
        readings = [engine.answer(check.question, check.context) for check in checks]
    except PayloadError as error:
        raise GateError(
            f"{who} does not take one of its own check questions: {error}", code="checks_failed"
        ) from error
    proof = _score(checks, readings)
    if proof.f1 < MIN_CHECKS_F1:
        raise GateError(
            f"{who} answers its own {proof.questions} check questions with F1 {proof.f1:.1f} %; "
            f"at least {MIN_CHECKS_F1:.0f} % is demanded",
            code="checks_failed",
        )
    return proof


def _warm_up(engine: Engine, check: PlainCheck) -> None:
    """Read the largest window with all cores, then as many of it at once as may come."""
    window = _full_window(engine, check)
    engine.logits(window, alone=True)
    if engine.threads == 1:
        return  # both sessions are one
    with ThreadPoolExecutor(engine.threads) as pool:
        runs = [pool.submit(engine.logits, window, alone=False) for _ in range(engine.threads)]
        for run in runs:
            run.result()


def _full_window(engine: Engine, check: PlainCheck) -> Window:
    """The first window of a text that needs two: the model's largest."""
    text = check.context
    for _ in range(_MAX_DOUBLINGS):
        windows = engine.prepare(check.question, text).windows
        if len(windows) > 1:
            break
        text = f"{text} {text}"
    return windows[0]


def _score(checks: list[PlainCheck], readings: list[Reading]) -> Proof:
    exacts, f1s = [], []
    for check, reading in zip(checks, readings, strict=True):
        golds = [Gold(text, 0) for text in check.answers]
        answer = reading.spans[0].text if reading.spans else ""
        exacts.append(best(exact, golds, answer))
        f1s.append(best(f1, golds, answer))
    times = sorted(reading.inference_ms for reading in readings)
    count = len(checks)
    return Proof(
        questions=count,
        exact_match=100 * sum(exacts) / count,
        f1=100 * sum(f1s) / count,
        p50_ms=times[math.ceil(0.50 * count) - 1],
        p95_ms=times[math.ceil(0.95 * count) - 1],
    )
