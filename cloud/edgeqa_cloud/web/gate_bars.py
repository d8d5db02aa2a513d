"""Gates as pages show them: names, figures with units, and the interval against the limit. Pure.

A bar is drawn in hundredths of its width. What it shows stands beside it in words.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from edgeqa_cloud.rollout.views import GateView
from edgeqa_cloud.web.shown import NOTHING, said

_WIDTH = 100.0
# Left free at both ends, of what is shown.
_MARGIN = 0.08
_THIN = "\u202f"
_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "exact_match": "EM",
        "f1": "F1",
        "p95_latency": "Latency p95",
        "error_rate": "Error rate",
        "memory": "Memory",
        "temperature": "Temperature",
        "failed_swaps": "Failed swaps",
        "silent_devices": "Silent devices",
    }
)
# What "no change" is, and what is shown at least beside the figures themselves.
_SHOWN: Mapping[str, tuple[float, ...]] = MappingProxyType(
    {"points": (0.0,), "ratio": (1.0,), "share": (0.0,), "celsius": ()}
)


@dataclass(frozen=True, slots=True)
class GateBar:
    """Where things are, 0 to 100.

    Attributes:
        low: of the interval; the value itself where there is none.
        bad: where the bad side of the limit begins.
        bad_width: how far it reaches.
        neutral: no change; None where that is no figure of this gate.
    """

    value: float
    low: float
    high: float
    limit: float
    bad: float
    bad_width: float
    neutral: float | None

    @property
    def width(self) -> float:
        """Of the interval."""
        return round(self.high - self.low, 2)


def gate_name(gate: str) -> str:
    """For people."""
    return _NAMES.get(gate, said(gate))


def gate_figure(value: float | None, unit: str) -> str:
    """A figure of a gate with its unit."""
    if value is None:
        return NOTHING
    match unit:
        case "points":
            text = f"{value:+.1f}{_THIN}points"
        case "ratio":
            text = f"{value:.2f}{_THIN}×"
        case "share":
            text = f"{100 * value:.1f}{_THIN}%"
        case "celsius":
            text = f"{value:.1f}{_THIN}°C"
        case _:
            text = f"{value:g}"
    return text.replace("-", "−")


def gate_bar(gate: GateView) -> GateBar | None:
    """The bar of a gate; None where nothing is known, or no limit is."""
    if gate.value is None or gate.limit is None:
        return None
    low = gate.value if gate.low is None else gate.low
    high = gate.value if gate.high is None else gate.high
    fixed = _SHOWN.get(gate.unit, ())
    shown = (low, high, gate.value, gate.limit, *fixed)
    least, most = min(shown), max(shown)
    room = (most - least or 1.0) * _MARGIN
    least, most = least - room, most + room

    def at(value: float) -> float:
        return round(_WIDTH * (value - least) / (most - least), 2)

    limit = at(gate.limit)
    # Points are a gain: too few is bad. All else is a cost.
    below = gate.unit == "points"
    return GateBar(
        value=at(gate.value),
        low=at(low),
        high=at(high),
        limit=limit,
        bad=0.0 if below else limit,
        bad_width=limit if below else round(_WIDTH - limit, 2),
        neutral=at(fixed[0]) if fixed else None,
    )


def gate_interval(gate: GateView) -> str:
    """The interval and the limit, short; the unit once."""
    limit = f"limit {gate_figure(gate.limit, gate.unit)}"
    if gate.low is None or gate.high is None:
        return limit
    low, _, _ = gate_figure(gate.low, gate.unit).partition(_THIN)
    high, _, _ = gate_figure(gate.high, gate.unit).partition(_THIN)
    return f"{low} to {high}; {limit}"


def gate_words(gate: GateView) -> str:
    """What a bar shows, for those who do not see it."""
    parts = [f"value {gate_figure(gate.value, gate.unit)}"]
    if gate.low is not None and gate.high is not None:
        low, high = gate_figure(gate.low, gate.unit), gate_figure(gate.high, gate.unit)
        parts.append(f"95 % interval {low} to {high}")
    parts.append(f"limit {gate_figure(gate.limit, gate.unit)}")
    return ", ".join(parts)
