"""The gates of a rollout as fields of a form. Pure.

They are made from `RolloutGates`: a gate, or a limit, that is added there is in the form, too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from edgeqa_cloud.rollout.spec import RolloutGates
from edgeqa_cloud.web.gate_bars import gate_name

_PERCENT = 100
# Shares are typed as percent.
_SHARES = frozenset({"max_rise", "max_share"})
_LABELS: Mapping[str, tuple[str, str]] = {
    "max_drop": ("at most lower by", "points"),
    "min_questions": ("questions, at least", ""),
    "max_ratio": ("at most", "times as much"),
    "max_rise": ("at most higher by", "percent of the questions"),
    "max_rise_celsius": ("at most warmer by", "°C"),
    "max_celsius": ("never above", "°C"),
    "max_share": ("at most", "percent of the devices"),
}


@dataclass(frozen=True, slots=True)
class GateField:
    """A limit of a gate."""

    name: str
    label: str
    unit: str


@dataclass(frozen=True, slots=True)
class GateForm:
    """A gate in the form.

    Attributes:
        name: of the box that switches it on.
        required: of the box that makes it required; None where it always is.
    """

    name: str
    title: str
    fields: tuple[GateField, ...]
    required: str | None


def gate_forms() -> list[GateForm]:
    """All gates."""
    forms = []
    for gate, told in _usual().items():
        name = f"gate.{gate}"
        fields = tuple(
            GateField(f"{name}.{part}", *_LABELS.get(part, (part.replace("_", " "), "")))
            for part in told
            if part != "required"
        )
        required = f"{name}.required" if "required" in told else None
        forms.append(GateForm(name, gate_name(gate), fields, required))
    return forms


def gates_shown() -> dict[str, str]:
    """What the fields hold where nothing else was said."""
    shown = {}
    for gate, told in _usual().items():
        shown[f"gate.{gate}"] = "on"
        for part, value in told.items():
            shown[f"gate.{gate}.{part}"] = _text(part, value)
    return shown


def gates_of(said: Mapping[str, str], wrong: Callable[[str, str], None]) -> dict[str, Any]:
    """The spec's gates.

    Args:
        said: of the fields, by name.
        wrong: is told a field, and what is wrong with it.
    """
    gates: dict[str, Any] = {}
    for gate, told in _usual().items():
        if not said.get(f"gate.{gate}"):
            gates[gate] = None
            continue
        gates[gate] = {}
        for part in told:
            name = f"gate.{gate}.{part}"
            text = said.get(name, "").strip()
            if part == "required":
                gates[gate][part] = bool(text)
            elif not text and part in {"max_rise_celsius", "max_celsius"}:
                gates[gate][part] = None
            elif part in _SHARES:
                gates[gate][part] = _share(text, name, wrong)
            else:
                gates[gate][part] = text
        gates[gate] = {part: value for part, value in gates[gate].items() if value != ""}
    return gates


def _share(text: str, name: str, wrong: Callable[[str, str], None]) -> float | str:
    try:
        value = float(text.removesuffix("%")) / _PERCENT
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        wrong(name, "say a percentage, 0 to 100")
        return ""
    return value


def _text(part: str, value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else ""
    if value is None:
        return ""
    return f"{value * _PERCENT if part in _SHARES else value:g}"


def _usual() -> dict[str, dict[str, Any]]:
    gates = RolloutGates()
    return {name: getattr(gates, name).model_dump() for name in type(gates).model_fields}
