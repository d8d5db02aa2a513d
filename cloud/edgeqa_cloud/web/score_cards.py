"""Score cards of a package as its page shows them. Pure.

They are what a signed manifest says. What is missing or is no figure in it is not known, and no
reason to show nothing of the rest.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from edgeqa_cloud.rollout.views import PackageView

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class ScoreCard:
    """How a variant of a model did.

    Attributes:
        variant: such as `fp32` or `int8`.
        packaged: whether it is the one in the package.
    """

    variant: str
    packaged: bool
    dataset: str
    questions: int | None
    exact_match: float | None
    exact_match_interval: Interval | None
    f1: float | None
    f1_interval: Interval | None
    p50_ms: float | None
    p95_ms: float | None
    model_bytes: int | None
    peak_memory_bytes: int | None
    machine: str
    threads: int | None


def score_cards(package: PackageView) -> list[ScoreCard]:
    """The packaged variant first; of a manifest without cards, its scores."""
    told = package.cards or [
        {
            **one,
            "variant": one.get("precision"),
            "packaged": one.get("precision") == package.precision,
        }
        for one in package.scores
    ]
    cards = [_card(one) for one in told]
    return sorted(cards, key=lambda one: not one.packaged)


def architecture_words(architecture: Mapping[str, Any]) -> str:
    """Such as `distilbert, 3 layers of 384, 17.2 M parameters`."""
    parts = []
    if kind := _text(architecture.get("type")):
        parts.append(kind)
    layers, hidden = _number(architecture.get("layers")), _number(architecture.get("hidden"))
    if layers is not None and hidden is not None:
        parts.append(f"{layers:.0f} layers of {hidden:.0f}")
    parameters = _number(architecture.get("parameters"))
    if parameters is not None:
        parts.append(f"{parameters / 1e6:.1f} M parameters")
    return ", ".join(parts)


def _card(told: Mapping[str, Any]) -> ScoreCard:
    return ScoreCard(
        variant=_text(told.get("variant")),
        packaged=told.get("packaged") is True,
        dataset=_text(told.get("dataset")),
        questions=_count(told.get("questions")),
        exact_match=_number(told.get("exact_match")),
        exact_match_interval=_interval(told.get("exact_match_interval")),
        f1=_number(told.get("f1")),
        f1_interval=_interval(told.get("f1_interval")),
        p50_ms=_number(told.get("p50_ms")),
        p95_ms=_number(told.get("p95_ms")),
        model_bytes=_count(told.get("model_bytes")),
        peak_memory_bytes=_count(told.get("peak_memory_bytes")),
        machine=_text(told.get("machine")),
        threads=_count(told.get("threads")),
    )


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def _count(value: object) -> int | None:
    number = _number(value)
    return None if number is None else round(number)


def _interval(value: object) -> Interval | None:
    if not isinstance(value, Iterable) or isinstance(value, str | bytes):
        return None
    match [_number(one) for one in value]:
        case [float(low), float(high)]:
            return low, high
        case _:
            return None
