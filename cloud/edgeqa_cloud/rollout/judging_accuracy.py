"""EM and F1 of the new model against the one before, by paired differences.

The same slice is the same questions wherever it is asked. So what several devices measured on one
slice is averaged first, interval and all: ten devices with one slice know no more of the model than
one. Different slices are different questions, and pooled with the number of questions as weights,
which gives the mean over all questions asked. Weights by inverse variance would be wrong here: a
slice on which the models never differ has an interval of no width, and would outweigh all others.

However little the answers differed, no interval is narrower than the rule of three allows: where
none of 100 questions was answered differently, 3 in 100 still may be.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from edgeqa_cloud.rollout.model import GateResult, PairedScore
from edgeqa_cloud.rollout.spec import AccuracyGate
from edgeqa_cloud.rollout.states import GateStatus
from edgeqa_cloud.rollout.statistics import Interval, pooled, rule_of_three

_NAMES = {"exact_match": "EM", "f1": "F1"}
_POINTS = 100.0
# What one slice may weigh: no device asks itself more (`EvaluateCommand.questions`).
_MAX_QUESTIONS = 100_000
# `min_questions` guards what passes. A disaster shows with fewer, if with so many that a mean is
# about normal.
_TO_BREACH = 30


@dataclass(frozen=True, slots=True)
class _Measured:
    questions: int
    difference: float
    interval: Interval


def judge_accuracy(gate: str, limits: AccuracyGate, paired: Iterable[PairedScore]) -> GateResult:
    """One of the two gates.

    Args:
        gate: `exact_match` or `f1`.
        limits: of the spec.
        paired: of a device and slice only the first counts: the newest.
    """
    slices = _by_slice(gate, paired)
    name = _NAMES[gate]
    if not slices:
        return GateResult(
            gate,
            GateStatus.NO_DATA,
            f"{name}: no device has compared the two models on questions so far",
            limit=-limits.max_drop,
            unit="points",
            required=limits.required,
        )
    questions = sum(one.questions for one in slices)
    value, (low, high) = pooled([(one.questions, one.difference, one.interval) for one in slices])
    least = _POINTS * rule_of_three(questions)
    low, high = max(-_POINTS, min(low, value - least)), min(_POINTS, max(high, value + least))
    status = _status(limits, questions, low, high)
    return GateResult(
        gate,
        status,
        _message(name, limits, questions, value, (low, high)),
        value=value,
        low=low,
        high=high,
        limit=-limits.max_drop,
        unit="points",
        samples=questions,
        required=limits.required,
    )


def _status(limits: AccuracyGate, questions: int, low: float, high: float) -> GateStatus:
    if high < -limits.max_drop and questions >= min(_TO_BREACH, limits.min_questions):
        return GateStatus.BREACHED
    if questions >= limits.min_questions and low >= -limits.max_drop:
        return GateStatus.PASSED
    return GateStatus.UNDECIDED


def _message(
    name: str, limits: AccuracyGate, questions: int, value: float, interval: Interval
) -> str:
    low, high = interval
    count = f"{questions:,} question{'s' * (questions != 1)}"
    if value < 0:
        change = f"fell by {-value:.1f} points (95 %: {-high:.1f} to {-low:.1f})"
    else:
        change = f"rose by {value:.1f} points (95 %: {low:.1f} to {high:.1f})"
    text = f"{name} {change} on {count}; it may fall by {limits.max_drop:g} at most"
    if questions < limits.min_questions:
        text += f"; to hold, it takes {limits.min_questions:,} questions"
    return text


def _by_slice(gate: str, paired: Iterable[PairedScore]) -> list[_Measured]:
    """One of each slice, averaged over the devices that asked it."""
    of_device: dict[tuple[int, str, str], _Measured] = {}
    for score in paired:
        key = score.device_id, score.fingerprint, score.slice_id
        if key not in of_device and (one := _measured(gate, score)) is not None:
            of_device[key] = one
    slices: dict[tuple[str, str], list[_Measured]] = {}
    for (_, fingerprint, slice_id), one in of_device.items():
        slices.setdefault((fingerprint, slice_id), []).append(one)
    return [_averaged(parts) for parts in slices.values()]


def _averaged(parts: Sequence[_Measured]) -> _Measured:
    """The same questions on several devices: no more certain than on one."""
    count = len(parts)
    return _Measured(
        questions=min(one.questions for one in parts),
        difference=math.fsum(one.difference for one in parts) / count,
        interval=(
            math.fsum(one.interval[0] for one in parts) / count,
            math.fsum(one.interval[1] for one in parts) / count,
        ),
    )


def _measured(gate: str, score: PairedScore) -> _Measured | None:
    """What a device says, if it makes sense: a forged record may say anything."""
    difference: float = getattr(score, f"{gate}_difference")
    low, high = getattr(score, f"{gate}_interval")
    if not all(math.isfinite(one) and abs(one) <= _POINTS for one in (difference, low, high)):
        return None
    if score.questions < 1 or low > high:
        return None
    # A bootstrap interval of few questions may just miss the mean.
    return _Measured(
        min(score.questions, _MAX_QUESTIONS),
        difference,
        (min(low, difference), max(high, difference)),
    )
