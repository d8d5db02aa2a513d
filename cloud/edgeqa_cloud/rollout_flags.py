"""From flags and a file of `edgeqa rollout create` to a `RolloutSpec`. Pure but for the file."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from edgeqa.errors import UsageError
from edgeqa.show import clean
from edgeqa_cloud.rollout.spec import Day, RolloutGates, RolloutSpec
from edgeqa_cloud.words import SENTENCE_CHARS, parse_span, said

# A target of 100,000 devices by name is 7 MB.
MAX_FILE_BYTES = 16 << 20
_SHOWN_CHARS = 60
_PERCENT = re.compile(r"(\d+(?:\.\d+)?)\s*%\Z", re.ASCII)
_COUNT = re.compile(r"\d+\Z", re.ASCII)
# More digits than any count that is taken has.
_MAX_DIGITS = 18
_WINDOW = re.compile(
    r"(?:(?P<days>[a-z,-]+)\s+)?(?P<begin>\d\d:\d\d)\s*-\s*(?P<end>\d\d:\d\d)"
    r"(?:\s+(?P<zone>[A-Za-z0-9_+/-]+))?\Z"
)
_OFF = frozenset({"off", "no", "none"})


@dataclass(frozen=True, slots=True)
class Flags:
    """What was said on the command line; empty and None where nothing was."""

    package: str | None = None
    digest: str | None = None
    everything: bool = False
    devices: Sequence[str] = ()
    groups: Sequence[str] = ()
    tags: Sequence[str] = ()
    query: str | None = None
    stages: str | None = None
    gates: Sequence[str] = ()
    no_gates: Sequence[str] = ()
    device_gates: Sequence[str] = ()
    windows: Sequence[str] = ()
    # Fields of the spec by their names.
    others: dict[str, Any] = field(default_factory=dict)


def spec_of(flags: Flags, file: Path | None = None) -> RolloutSpec:
    """The spec; what a flag says stands over what the file says.

    Raises:
        UsageError: a flag, or the whole, makes no sense; the message names the field.
    """
    fields = {} if file is None else read_spec_file(file)
    if flags.package is not None:
        fields["package"] = _package(flags.package)
    if flags.digest is not None:
        fields["package"] = {**_part(fields, "package"), "digest": flags.digest}
    target = _target(flags)
    if target:
        fields["target"] = target
    if flags.stages is not None:
        fields["stages"] = [_stage(part) for part in flags.stages.split(",")]
    if flags.gates or flags.no_gates:
        fields["gates"] = _gates(_part(fields, "gates"), flags.gates, flags.no_gates)
    if flags.device_gates:
        gates = _part(fields, "device_gates")
        fields["device_gates"] = gates | dict(_pair(one, "--device-gate")
                                              for one in flags.device_gates)  # fmt: skip
    if flags.windows:
        fields["windows"] = [_window(one) for one in flags.windows]
    fields |= {name: value for name, value in flags.others.items() if value is not None}
    if "package" not in fields:
        raise UsageError("say which model: NAME@VERSION, or a --spec file with it")
    if "target" not in fields:
        raise UsageError("say which devices: --all, --device, --group, --tag or --query")
    try:
        return RolloutSpec.model_validate(fields)
    except ValidationError as error:
        raise UsageError(_explained(error), code="invalid_spec") from error


def read_spec_file(file: Path) -> dict[str, Any]:
    """The fields of a spec file: TOML, or JSON where its name ends in .json.

    Raises:
        UsageError: it cannot be read, or is neither.
    """
    try:
        if file.stat().st_size > MAX_FILE_BYTES:
            raise UsageError(f"--spec: {file} is larger than {MAX_FILE_BYTES >> 20} MiB")
        text = file.read_text(encoding="utf-8")
        fields = json.loads(text) if file.suffix == ".json" else tomllib.loads(text)
    except OSError as error:
        raise UsageError(f"--spec: {file}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        kind = "JSON" if file.suffix == ".json" else "TOML"
        raise UsageError(f"--spec: {file} is no {kind}: {error}") from error
    if not isinstance(fields, dict):
        raise UsageError(f"--spec: {file} holds no JSON object")
    gates = fields.get("gates")
    if isinstance(gates, dict):  # TOML has no null
        fields["gates"] = {name: gate if gate is not False else None
                           for name, gate in gates.items()}  # fmt: skip
    return fields


def _package(text: str) -> dict[str, str]:
    name, at, version = text.rpartition("@")
    if not at or not name or not version:
        raise UsageError(f"{_shown(text)}: say NAME@VERSION, such as minilm-l6-squad@0.1.2")
    return {"name": name, "version": version}


def _target(flags: Flags) -> dict[str, Any]:
    parts: dict[str, Any] = {
        "all": flags.everything,
        "devices": list(flags.devices),
        "groups": list(flags.groups),
        "tags": list(flags.tags),
        "query": flags.query,
    }
    return {name: value for name, value in parts.items() if value}


def _stage(text: str) -> dict[str, Any]:
    size, _, soak = text.strip().partition(":")
    size = size.strip()
    stage: dict[str, Any] = {}
    if percent := _PERCENT.match(size):
        stage["percent"] = float(percent[1])
    elif _COUNT.match(size):
        stage["count"] = int(size[:_MAX_DIGITS])
    elif size:
        stage["devices"] = size.split("+")
    else:
        raise UsageError(
            f"--stages: {_shown(text)}: say SIZE or SIZE:SOAK, such as 5%:10m, 20:1h or "
            "kitchen+hall:10m, with commas between"
        )
    if soak:
        stage["soak_s"] = span_s(soak, "--stages")
    return stage


def span_s(text: str, option: str) -> float:
    """Seconds of `10m`, `1h`, … or `0`.

    Raises:
        UsageError: it is none.
    """
    return 0.0 if text.strip() in {"0", "0s"} else parse_span(text, option)


def _gates(
    before: dict[str, Any], set_to: Sequence[str], switched_off: Sequence[str]
) -> dict[str, Any]:
    gates: dict[str, Any] = dict(before)
    for one in set_to:
        path, value = _pair(one, "--gate")
        name, _, part = path.partition(".")
        _check_gate(name, "--gate")
        if not part:
            if str(value).lower() not in _OFF:
                raise UsageError(
                    f"--gate: {_shown(one)}: say {name}.FIELD=VALUE, or {name}=off; fields: "
                    + ", ".join(_gate_fields(name))
                )
            gates[name] = None
            continue
        if part not in _gate_fields(name):
            raise UsageError(
                f"--gate: {name} has no {_shown(part)}; it has {', '.join(_gate_fields(name))}"
            )
        gates[name] = {**(gates.get(name) or {}), part: value}
    for name in switched_off:
        _check_gate(name, "--no-gate")
        gates[name] = None
    return gates


def _check_gate(name: str, option: str) -> None:
    if name not in RolloutGates.model_fields:
        raise UsageError(
            f"{option}: there is no gate {_shown(name)}; they are "
            + ", ".join(RolloutGates.model_fields)
        )


def _gate_fields(name: str) -> list[str]:
    return list(type(getattr(RolloutGates(), name)).model_fields)


def _pair(text: str, option: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise UsageError(f"{option}: {_shown(text)}: say NAME=VALUE")
    try:
        return name.strip(), json.loads(value)
    except (ValueError, RecursionError):
        return name.strip(), value.strip()


def _window(text: str) -> dict[str, Any]:
    found = _WINDOW.match(text.strip())
    if found is None:
        raise UsageError(
            f"--window: {_shown(text)}: say DAYS BEGIN-END ZONE, such as 'mon-fri 22:00-06:00 "
            "Europe/Berlin'; days and zone may be left out"
        )
    window: dict[str, Any] = {"begin": found["begin"], "end": found["end"]}
    if found["days"] and found["days"] != "daily":
        window["days"] = _days(found["days"])
    if found["zone"]:
        window["timezone"] = found["zone"]
    return window


def _days(text: str) -> list[str]:
    week = [day.value for day in Day]
    days: list[str] = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        if first not in week or (dash and last not in week):
            raise UsageError(f"--window: {_shown(part)}: days are {', '.join(week)}, or mon-fri")
        begin, length = week.index(first), 1
        if dash:
            length = (week.index(last) - begin) % len(week) + 1
        days += [week[(begin + step) % len(week)] for step in range(length)]
    return sorted(set(days), key=week.index)


def _part(fields: dict[str, Any], name: str) -> dict[str, Any]:
    part = fields.get(name)
    return dict(part) if isinstance(part, dict) else {}


def _explained(error: ValidationError) -> str:
    parts = []
    for one in error.errors(include_url=False, include_context=False, include_input=False):
        where = ".".join(str(part) for part in one["loc"])
        message = str(one["msg"]).removeprefix("Value error, ")
        parts.append(f"{where}: {message}" if where else message)
    return said("; ".join(parts), most=SENTENCE_CHARS)


def _shown(text: str) -> str:
    return repr(clean(text)[:_SHOWN_CHARS])
