"""From the turns to the figures of the report."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from bench.state import Record
from bench.stats import Spread, quantile, ratios, spread


@dataclass(frozen=True)
class Row:
    """One side of a comparison. Scores and agreement are in percent.

    Attributes:
        per_s: questions a second.
        than: its rate by that of another side, in the same turns; by that side's key.
        same: answers that are those of the first side that gives any.
        out: why it took no part, or ended early.
    """

    key: str
    title: str
    at_once: int
    per_s: Spread | None
    than: dict[str, Spread]
    same: float | None = None
    exact_match: float | None = None
    f1: float | None = None
    versions: dict[str, str] | None = None
    settings: str = ""
    out: str | None = None


@dataclass(frozen=True)
class Latency:
    """Milliseconds; `load` for what came at its own times, `alone` for a single client.

    Attributes:
        worse: p99 by p50 of a turn.
        added: round trip less the time in the model that the answer states.
    """

    capacity_per_s: float
    asked_per_s: float
    questions: int
    refused: int
    cached: int
    load: dict[str, float]
    worse: Spread | None
    alone: dict[str, float]
    added: dict[str, float]


@dataclass(frozen=True)
class Started:
    """Seconds to the first answer; MiB of all of the agent's processes."""

    first_answer_s: Spread | None
    resident_mib: Spread | None
    proportional_mib: Spread | None
    idle_resident_mib: Spread | None


def rows(record: Record) -> list[Row]:
    """Of a comparison, in the order of its sides."""
    seconds = [turn["seconds"] for turn in record.turns]
    keys = [key for key, _, _ in record.about["sides"]]
    said, out = record.about.get("said", {}), record.about.get("out", {})
    found = []
    for key, title, at_once in record.about["sides"]:
        rates = [t["questions"] / t["seconds"][key] for t in record.turns if t["seconds"].get(key)]
        # Seconds of the other by its own: how many times as fast it is.
        than = {other: spread(ratios(seconds, other, key)) for other in keys if other != key}
        found.append(
            Row(
                key=key,
                title=title,
                at_once=at_once,
                per_s=spread(rates),
                than={other: value for other, value in than.items() if value},
                same=_share(record.turns, "same", key, "questions"),
                exact_match=_share(record.turns, "em", key, "scored"),
                f1=_share(record.turns, "f1", key, "scored"),
                versions=said.get(key, {}).get("versions"),
                settings=said.get(key, {}).get("settings", ""),
                out=out.get(key),
            )
        )
    return found


def latency(record: Record, share: float) -> Latency:
    """Of a load."""
    turns = record.turns
    return Latency(
        capacity_per_s=record.about["capacity_per_s"],
        asked_per_s=round(share * record.about["capacity_per_s"], 3),
        questions=sum(len(turn["trips_ms"]) for turn in turns),
        refused=sum(turn["refused"] for turn in turns),
        cached=sum(turn["cached"] for turn in turns),
        load=_percentiles(turns, "trips_ms"),
        worse=spread(_worse(turn["trips_ms"]) for turn in turns if turn["trips_ms"]),
        alone=_percentiles(turns, "alone_ms"),
        added=_percentiles(turns, "added_ms"),
    )


def started(record: Record) -> Started:
    """Of starts."""
    return Started(
        spread(turn["first_answer_s"] for turn in record.turns),
        spread(turn["worked"]["resident_mib"] for turn in record.turns),
        spread(turn["worked"]["proportional_mib"] for turn in record.turns),
        spread(turn["idle"]["resident_mib"] for turn in record.turns),
    )


def _share(turns: Iterable[dict[str, Any]], name: str, key: str, of: str) -> float | None:
    pairs = [(turn[name][key], turn[of]) for turn in turns if key in turn.get(name, {})]
    whole = sum(total for _, total in pairs)
    return 100 * sum(part for part, _ in pairs) / whole if whole else None


def _percentiles(turns: Sequence[dict[str, Any]], name: str) -> dict[str, float]:
    ordered = sorted(value for turn in turns for value in turn[name])
    if not ordered:
        return {}
    found = {f"p{share}": quantile(ordered, share / 100) for share in (50, 95, 99)}
    return {name: round(value, 2) for name, value in {**found, "longest": ordered[-1]}.items()}


def _worse(trips_ms: Sequence[float]) -> float:
    ordered = sorted(trips_ms)
    return quantile(ordered, 0.99) / quantile(ordered, 0.5)
