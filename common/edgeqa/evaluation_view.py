"""Showing a person what a device's model scored.

Everything shown came over the network: control characters are replaced and lengths cut.
"""

from __future__ import annotations

from edgeqa.messages import ModelRef
from edgeqa.show import clean
from edgeqa.swap_view import model_in_words
from edgeqa.telemetry_messages import Evaluation, Model, Paired

_MAX_CHARS = 60


def evaluation_lines(evaluation: Evaluation) -> list[str]:
    """A record, line by line."""
    part = evaluation.slice
    data = evaluation.dataset
    times = evaluation.inference
    low, high = evaluation.exact_match_interval
    f1_low, f1_high = evaluation.f1_interval
    lines = [
        f"model      {_model(evaluation.model)}",
        (
            f"data       {clean(data.name)[:_MAX_CHARS]} ({data.questions} questions, "
            f"{data.fingerprint[:12]})"
        ),
        f"slice      {part.index} of {part.of} ({part.id}), {evaluation.questions} questions",
        f"EM         {evaluation.exact_match:.2f} (95 % interval {low:.2f} to {high:.2f})",
        f"F1         {evaluation.f1:.2f} (95 % interval {f1_low:.2f} to {f1_high:.2f})",
        (
            f"inference  p50 {times.p50_ms:.1f} ms, p95 {times.p95_ms:.1f} ms, "
            f"p99 {times.p99_ms:.1f} ms, total {times.total_ms / 1000:.2f} s, on one core"
        ),
        (
            f"duration   {evaluation.duration_ms / 1000:.1f} s, of which "
            f"{evaluation.waited_ms / 1000:.1f} s waited"
        ),
    ]
    if evaluation.paired is not None:
        lines += _paired_lines(evaluation.paired)
    return lines


def _paired_lines(paired: Paired) -> list[str]:
    low, high = paired.exact_match_interval
    f1_low, f1_high = paired.f1_interval
    return [
        f"against    {_model(paired.previous)}, the same {paired.questions} questions",
        (
            f"  EM       {paired.exact_match_difference:+.2f} (95 % interval {low:+.2f} to "
            f"{high:+.2f}); {paired.exact_match_gained} gained, {paired.exact_match_lost} lost"
        ),
        f"  F1       {paired.f1_difference:+.2f} (95 % interval {f1_low:+.2f} to {f1_high:+.2f})",
    ]


def _model(model: Model) -> str:
    return model_in_words(ModelRef.model_validate(model.model_dump()))
