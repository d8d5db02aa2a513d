"""The form of a new rollout: what was filled in, as it was, and the spec that it makes. Pure.

A field that makes no sense keeps what was typed, and says why beside it: the spec's own rules are
the only ones, and each of their messages goes to the field that it is about.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from pydantic import ValidationError

from edgeqa.errors import UsageError
from edgeqa_cloud.rollout.spec import MAX_STAGES, RolloutSpec
from edgeqa_cloud.rollout_flags import span_s
from edgeqa_cloud.web.gate_fields import gates_of, gates_shown

MAX_WINDOWS = 50
_WEEK = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAYS: Mapping[str, tuple[str, ...]] = {
    "every day": _WEEK,
    "Monday to Friday": _WEEK[:5],
    "Saturday and Sunday": _WEEK[5:],
}
# Lengths of time, typed as `10m`, and the fields of the spec that they are.
SPANS = ("offline_expire", "stuck", "baseline", "evidence")
_PLAIN = ("on_breach", "joiners", "note", "max_per_minute", "max_under_way")
_NAMES = ("package", "all", "devices", "groups", "tags", "query", *_PLAIN, *SPANS)
Errors = dict[str, list[str]]


@dataclass(frozen=True, slots=True)
class StageRow:
    """A stage as typed."""

    kind: str = "percent"
    size: str = ""
    soak: str = "10m"


@dataclass(frozen=True, slots=True)
class WindowRow:
    """A time window as typed."""

    days: str = "every day"
    begin: str = "22:00"
    end: str = "06:00"
    zone: str = "UTC"


def _usual_stages() -> tuple[StageRow, ...]:
    return (StageRow(size="5"), StageRow(size="25"), StageRow(size="100"))


@dataclass(frozen=True, slots=True)
class Draft:
    """What is in the form.

    Attributes:
        values: of plain fields, by their names.
        gates: of fields of gates, by their names; as `gate_fields` has them.
    """

    values: Mapping[str, str] = field(default_factory=dict)
    stages: Sequence[StageRow] = field(default_factory=_usual_stages)
    windows: Sequence[WindowRow] = ()
    gates: Mapping[str, str] = field(default_factory=gates_shown)

    @classmethod
    def usual(cls, package: str = "") -> Self:
        """What a form begins with."""
        return cls(
            values={
                "package": package, "on_breach": "undo", "joiners": "include",
                "offline_expire": "7d", "stuck": "30m", "baseline": "24h", "evidence": "6h",
            }
        )  # fmt: skip

    @classmethod
    def of(cls, sent: Iterable[tuple[str, str]]) -> Self:
        """From what was sent: names and values, in their order in the form."""
        named: dict[str, list[str]] = {}
        for name, value in sent:
            named.setdefault(name, []).append(value)
        last = {name: values[-1] for name, values in named.items()}

        def rows(*names: str) -> list[tuple[str, ...]]:
            return list(zip(*(named.get(name, []) for name in names), strict=False))

        stages = rows("stage_kind", "stage_size", "stage_soak")
        windows = rows("window_days", "window_begin", "window_end", "window_zone")
        return cls(
            values={name: last.get(name, "") for name in _NAMES},
            stages=tuple(StageRow(*row) for row in stages[:MAX_STAGES]),
            windows=tuple(WindowRow(*row) for row in windows[:MAX_WINDOWS]),
            gates={name: last.get(name, "") for name in gates_shown()},
        )

    def value(self, name: str) -> str:
        """Of a plain field; empty where nothing is."""
        return self.values.get(name, "")

    def changed(self, what: str) -> Draft:
        """With a row more or less: `add-stage`, `remove-stage-1`, `add-window`, …"""
        stages, windows = list(self.stages), list(self.windows)
        match what.split("-"):
            case ["add", "stage"] if len(stages) < MAX_STAGES:
                stages.append(StageRow())
            case ["add", "window"] if len(windows) < MAX_WINDOWS:
                windows.append(WindowRow())
            case ["remove", "stage", number] if _is_row(number, stages) and len(stages) > 1:
                del stages[int(number)]
            case ["remove", "window", number] if _is_row(number, windows):
                del windows[int(number)]
        return Draft(self.values, tuple(stages), tuple(windows), self.gates)

    def target(self) -> dict[str, Any]:
        """The target's fields that say something."""
        said: dict[str, Any] = {
            "all": bool(self.value("all")),
            "devices": _names(self.value("devices")),
            "groups": _names(self.value("groups")),
            "tags": _names(self.value("tags")),
            "query": self.value("query").strip(),
        }
        return {name: value for name, value in said.items() if value}

    def spec(self) -> tuple[RolloutSpec | None, Errors]:
        """The spec; or None, and what is wrong by field."""
        errors: Errors = {}
        fields = self._fields(errors)
        try:
            spec = RolloutSpec.model_validate(fields)
        except ValidationError as error:
            for one in error.errors(include_url=False, include_context=False, include_input=False):
                message = str(one["msg"]).removeprefix("Value error, ")
                _note(errors, _field(one["loc"], message), message)
            return None, errors
        return (None, errors) if errors else (spec, {})

    def _fields(self, errors: Errors) -> dict[str, Any]:
        name, _, version = self.value("package").partition("@")
        if not version:
            _note(errors, "package", "choose a package")
        fields: dict[str, Any] = {
            "package": {"name": name or "none", "version": version or "0"},
            "target": self.target(),
            "stages": [_stage(row, number, errors) for number, row in enumerate(self.stages)],
            "gates": gates_of(self.gates, lambda name, said: _note(errors, name, said)),
            "windows": [_window(row) for row in self.windows],
        }
        fields |= {name: self.value(name).strip() for name in _PLAIN if self.value(name).strip()}
        for name in SPANS:
            if self.value(name).strip():
                fields[f"{name}_s"] = _span(self.value(name), name, errors)
        return {name: value for name, value in fields.items() if value is not None}


def field_of_code(code: str) -> str:
    """Which field an error is about that came later, from the devices or the repository."""
    return _BY_CODE.get(code, "")


_BY_CODE: Mapping[str, str] = {
    "unknown_package": "package",
    "wrong_digest": "package",
    "repository_unread": "package",
    "repository_expired": "package",
    "empty_target": "target",
    "unknown_devices": "devices",
    "bad_query": "query",
    "overlapping_stages": "stages",
}


def _stage(row: StageRow, number: int, errors: Errors) -> dict[str, Any]:
    size: Any = row.size.strip().removesuffix("%").strip()
    stage: dict[str, Any] = {}
    if row.kind == "devices":
        size = _names(row.size)
    if row.kind not in {"percent", "count", "devices"} or not size:
        _note(errors, f"stage-{number}-size", "say how many devices, or which")
        size, row = "100", StageRow()
    stage[row.kind] = size
    soak = _span(row.soak, f"stage-{number}-soak", errors)
    return stage if soak is None else {**stage, "soak_s": soak}


def _window(row: WindowRow) -> dict[str, Any]:
    return {
        "days": list(DAYS.get(row.days, _WEEK)),
        "begin": row.begin.strip(),
        "end": row.end.strip(),
        "timezone": row.zone.strip() or "UTC",
    }


def _span(text: str, name: str, errors: Errors) -> float | None:
    try:
        return span_s(text.replace(" ", ""), "")
    except UsageError as error:
        _note(errors, name, str(error).removeprefix(": "))
        return None


def _field(loc: tuple[int | str, ...], message: str) -> str:
    """The field of the form that a part of the spec stands in."""
    match loc:
        case ("target", str(part), *_):
            name = part
        case ("stages", int(number), "soak_s", *_):
            name = f"stage-{number}-soak"
        case ("stages", int(number), *_):
            name = f"stage-{number}-size"
        case ("gates", *parts):
            name = ".".join(["gate", *(str(part) for part in parts)])
        case ("windows", int(number), *_):
            name = f"window-{number}"
        case (str(part), *_):
            name = part.removesuffix("_s")
        case _:
            name = "stages" if message.startswith("stages") else ""
    return name


def _note(errors: Errors, name: str, message: str) -> None:
    known = errors.setdefault(name, [])
    if message not in known:
        known.append(message)


def _names(text: str) -> list[str]:
    return text.replace(",", " ").split()


def _is_row(number: str, rows: Sequence[object]) -> bool:
    return number.isascii() and number.isdigit() and int(number[:4]) < len(rows)
