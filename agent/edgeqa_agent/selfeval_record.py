"""From the answers of an evaluation to what its record says."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from edgeqa.squad_v2 import Verdict
from edgeqa.telemetry_messages import InferenceTimes, Model, Paired
from edgeqa_agent.selfeval_memory import Result
from edgeqa_agent.selfeval_run import MIN_QUESTIONS, Answers, Plan
from edgeqa_agent.selfeval_statistics import Rest, bootstrap_interval, percentile, wilson_interval

_DIGITS = 3  # of what is in percent or milliseconds
_F1_DIGITS = 6


def result_of(plan: Plan, verdicts: Sequence[Verdict]) -> Result:
    """What is kept of it."""
    return Result(
        model=Model.model_validate(plan.model.model_dump()),
        fingerprint=plan.dataset.fingerprint,
        slice=plan.slice.id,
        index=plan.slice.index,
        of=plan.slice.of,
        exact="".join("1" if one.exact_match else "0" for one in verdicts),
        f1=[round(one.f1, _F1_DIGITS) for one in verdicts],
    )


def fields_of(
    plan: Plan, answers: Answers, result: Result, *, before: Result | None, rest: Rest
) -> dict[str, object]:
    """The fields of an `Evaluation`.

    Args:
        plan: what was evaluated.
        answers: what came of it.
        result: the same, question by question.
        before: of another model on the same questions.
        rest: see `selfeval_statistics`.
    """
    hits = result.exact.count("1")
    duration_s = max(0.0, answers.ended_at - answers.begun_at)
    return {
        "model": result.model,
        "trigger": plan.trigger,
        "dataset": plan.dataset,
        "slice": plan.slice,
        "questions": result.questions,
        "exact_match": _percent(hits / result.questions),
        "exact_match_interval": _percents(wilson_interval(hits, result.questions)),
        "f1": _percent(statistics.fmean(result.f1)),
        "f1_interval": _percents(bootstrap_interval(result.f1, rest=rest)),
        "inference": _times(answers.times_ms),
        "duration_ms": round(1000 * duration_s, _DIGITS),
        "waited_ms": round(1000 * min(answers.waited_s, duration_s), _DIGITS),
        "paired": paired(result, before, rest=rest),
    }


def paired(result: Result, before: Result | None, *, rest: Rest) -> Paired | None:
    """The difference to another model, over the questions that both were asked."""
    if before is None:
        return None
    count = min(result.questions, before.questions)
    if count < MIN_QUESTIONS and result.questions != before.questions:
        return None
    exacts = [int(a) - int(b) for a, b in zip(result.exact, before.exact, strict=False)]
    f1s = [a - b for a, b in zip(result.f1, before.f1, strict=False)]
    return Paired(
        previous=before.model,
        questions=count,
        exact_match_difference=_percent(statistics.fmean(exacts)),
        exact_match_interval=_percents(bootstrap_interval(exacts, rest=rest)),
        f1_difference=_percent(statistics.fmean(f1s)),
        f1_interval=_percents(bootstrap_interval(f1s, rest=rest)),
        exact_match_gained=exacts.count(1),
        exact_match_lost=exacts.count(-1),
    )


def _times(times_ms: Sequence[float]) -> InferenceTimes:
    ordered = sorted(times_ms)
    return InferenceTimes(
        total_ms=round(sum(ordered), _DIGITS),
        mean_ms=round(statistics.fmean(ordered), _DIGITS),
        p50_ms=round(percentile(ordered, 0.50), _DIGITS),
        p95_ms=round(percentile(ordered, 0.95), _DIGITS),
        p99_ms=round(percentile(ordered, 0.99), _DIGITS),
    )


def _percent(share: float) -> float:
    return round(100 * share, _DIGITS)


def _percents(interval: tuple[float, float]) -> tuple[float, float]:
    return _percent(interval[0]), _percent(interval[1])
