"""Live questions before and after the change, on the same devices: latency and errors."""

from __future__ import annotations

import math
from collections.abc import Iterable

from edgeqa.histogram import Histogram
from edgeqa_cloud.rollout.model import DeviceServed, GateResult
from edgeqa_cloud.rollout.spec import ErrorGate, LatencyGate
from edgeqa_cloud.rollout.states import GateStatus
from edgeqa_cloud.rollout.statistics import (
    Interval,
    difference,
    newcombe,
    quantile_interval,
)
from edgeqa_cloud.words import milliseconds

_SHARE = 0.95


def judge_latency(limits: LatencyGate, served: Iterable[DeviceServed]) -> GateResult:
    """The 95th percentile of both times, from merged histograms, as a ratio.

    The interval of the ratio is that of the difference of the logarithms, from the order-statistic
    interval of each.
    """
    both = [
        (one.before.latency, one.after.latency)
        for one in served
        if one.before and one.after and one.before.latency and one.after.latency
    ]
    before = Histogram.merged(one for one, _ in both)
    after = Histogram.merged(one for _, one in both)
    then, now = before.quantile(_SHARE), after.quantile(_SHARE)
    samples = min(before.count, after.count)
    if then is None or now is None:
        return GateResult(
            "p95_latency",
            GateStatus.NO_DATA,
            "p95 latency: nobody asked these devices both before and after the change",
            limit=limits.max_ratio,
            unit="ratio",
            required=limits.required,
        )
    low, high = _ratio(then, before, now, after)
    text = (
        f"p95 latency went from {milliseconds(then)} to {milliseconds(now)}, "
        f"{now / then:.2f} times (95 %: {low:.2f} to "
        + ("any" if high is None else f"{high:.2f}")
        + f") on {samples:,} questions; at most {limits.max_ratio:g} times allowed"
    )
    status = _status(samples, limits.min_questions, low=low, high=high, most=limits.max_ratio)
    if samples < limits.min_questions:
        text += f", judged from {limits.min_questions:,} questions on, before and after"
    return GateResult(
        "p95_latency", status, text, value=now / then, low=low, high=high, limit=limits.max_ratio,
        unit="ratio", before=then, after=now, samples=samples, required=limits.required,
    )  # fmt: skip


def judge_errors(limits: ErrorGate, served: Iterable[DeviceServed]) -> GateResult:
    """The share of questions that failed, both times, as a difference."""
    failed = failed_before = total = total_before = 0
    for one in served:
        if one.before is None or one.after is None:
            continue
        failed += one.after.failed
        total += one.after.failed + one.after.answered
        failed_before += one.before.failed
        total_before += one.before.failed + one.before.answered
    samples = min(total, total_before)
    if not samples:
        return GateResult(
            "error_rate",
            GateStatus.NO_DATA,
            "error rate: nobody asked these devices both before and after the change",
            limit=limits.max_rise,
            unit="share",
            required=limits.required,
        )
    then, now = failed_before / total_before, failed / total
    low, high = newcombe(failed, total, failed_before, total_before)
    text = (
        f"error rate went from {then:.2%} to {now:.2%}, by {now - then:+.2%} (95 %: {low:+.2%} to "
        f"{high:+.2%}) on {samples:,} questions; at most {limits.max_rise:+.2%} allowed"
    )
    status = _status(samples, limits.min_questions, low=low, high=high, most=limits.max_rise)
    if samples < limits.min_questions:
        text += f", judged from {limits.min_questions:,} questions on, before and after"
    return GateResult(
        "error_rate", status, text, value=now - then, low=low, high=high, limit=limits.max_rise,
        unit="share", before=then, after=now, samples=samples, required=limits.required,
    )  # fmt: skip


def _status(samples: int, least: int, *, low: float, high: float | None, most: float) -> GateStatus:
    if samples < least:
        return GateStatus.UNDECIDED
    if low > most:
        return GateStatus.BREACHED
    return GateStatus.PASSED if high is not None and high <= most else GateStatus.UNDECIDED


def _ratio(
    then: float, before: Histogram, now: float, after: Histogram
) -> tuple[float, float | None]:
    """Interval of the ratio; None: without end, as the values of one side are too few."""
    low, high = difference(math.log(now), _logs(after), math.log(then), _logs(before))
    return math.exp(low), None if math.isinf(high) else math.exp(high)


def _logs(histogram: Histogram) -> Interval:
    found = quantile_interval(histogram, _SHARE)
    low, high = found if found is not None else (0.0, math.inf)
    return (math.log(low) if low > 0 else -math.inf, math.log(high))
