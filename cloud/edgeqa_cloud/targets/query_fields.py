"""What a query can ask of a device, and with which operators and values.

Pure; `query_sql` says what each of them is in the database.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from edgeqa_cloud.presence import Presence
from edgeqa_cloud.targets.query_text import Token, wrong

# Digits, a point, more digits: no exponents, so that every number is finite and of ordinary size.
_NUMBER = re.compile(r"(-?\d{1,12}(?:\.\d{1,6})?)([^\d.]*)\Z", re.ASCII)
_SPAN = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)([smhdw])\Z", re.ASCII)
_SPAN_MS = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 7 * 86_400_000}
# Each star lets the database try once more for every character.
_MAX_STARS = 5


class Operator(StrEnum):
    """Between a field and a value."""

    EQUAL = "="
    UNEQUAL = "!="
    LIKE = "~"
    LESS = "<"
    AT_MOST = "<="
    MORE = ">"
    AT_LEAST = ">="


class Type(StrEnum):
    """Of a field's values, in words for messages."""

    TEXT = "a text"
    PRESENCE = "one of " + ", ".join(Presence)
    NUMBER = "a number"
    SPAN = "a span of time, as 90s, 10m, 24h, 7d or 2w"


_ORDER = frozenset({Operator.LESS, Operator.AT_MOST, Operator.MORE, Operator.AT_LEAST})
_SAME = frozenset({Operator.EQUAL, Operator.UNEQUAL})
_OPERATORS = {
    Type.TEXT: _SAME | {Operator.LIKE},
    Type.PRESENCE: _SAME,
    Type.NUMBER: _SAME | _ORDER,
    Type.SPAN: _ORDER,
}


@dataclass(frozen=True, slots=True)
class Field:
    """One of them.

    Attributes:
        meaning: for people.
        units: that may stand behind a number.
    """

    name: str
    type: Type
    meaning: str
    units: tuple[str, ...] = ()


_ALL = (
    Field("device", Type.TEXT, "its id"),
    Field("group", Type.TEXT, "a group that it is in"),
    Field("tag", Type.TEXT, "a tag that it has"),
    Field("model", Type.TEXT, "the model that it runs: NAME or NAME@VERSION"),
    Field("version", Type.TEXT, "that model's version"),
    Field("digest", Type.TEXT, "that model's digest"),
    Field("presence", Type.PRESENCE, "whether it is there"),
    Field("board", Type.TEXT, "such as Raspberry Pi 5 Model B Rev 1.0"),
    Field("machine", Type.TEXT, "such as aarch64"),
    Field("agent", Type.TEXT, "the agent's version"),
    Field("onnxruntime", Type.TEXT, "its version"),
    Field("em", Type.NUMBER, "EM of its last evaluation, percent", ("%",)),
    Field("f1", Type.NUMBER, "F1 of its last evaluation, percent", ("%",)),
    Field("p95", Type.NUMBER, "95th percentile of its last answers, milliseconds", ("ms",)),
    Field("temperature", Type.NUMBER, "of its processor, °C", ("°C", "C")),
    Field("memory", Type.NUMBER, "of the board, GiB, rounded to halves", ("GiB", "GB")),
    Field("seen", Type.SPAN, "how long ago it was last heard"),
    Field("joined", Type.SPAN, "how long ago it was first heard"),
)
FIELDS: Mapping[str, Field] = MappingProxyType({one.name: one for one in _ALL})


@dataclass(frozen=True, slots=True)
class Comparison:
    """`field operator value`.

    Attributes:
        value: of a text its text; of a number the number; of a span milliseconds; None: `""`, that
            is, what is not known.
    """

    field: Field
    operator: Operator
    value: str | float | None


def comparison(field: Token, operator: Token, value: Token) -> Comparison:
    """Of three tokens.

    Raises:
        QueryError: no such field, or the operator or the value is none of its.
    """
    known = FIELDS.get(field.text.lower())
    if known is None:
        raise wrong(
            field.place,
            f"no field {field.shown}; there are {', '.join(FIELDS)}; to search for a text that "
            'holds an operator, put it in "quotes"',
        )
    found = Operator(operator.text)
    if found not in _OPERATORS[known.type]:
        allowed = " ".join(one for one in Operator if one in _OPERATORS[known.type])
        raise wrong(operator.place, f"{known.name} is compared with {allowed}, not {found}")
    if not value.text:
        return Comparison(known, _of_nothing(known, found, value), None)
    return Comparison(known, found, _value(known, found, value))


def _of_nothing(field: Field, operator: Operator, value: Token) -> Operator:
    if operator not in _SAME or field.type is Type.PRESENCE:
        raise wrong(value.place, f'expected {field.type}; "" goes with = and != of other fields')
    return operator


def _value(field: Field, operator: Operator, value: Token) -> str | float:
    if field.type is Type.TEXT:
        if operator is Operator.LIKE and value.text.count("*") > _MAX_STARS:
            raise wrong(value.place, f"at most {_MAX_STARS} stars are taken")
        return value.text
    if field.type is Type.PRESENCE:
        if value.text.lower() not in set(Presence):
            raise wrong(value.place, f"{field.name} is {field.type}, not {value.shown}")
        return value.text.lower()
    pattern = _SPAN if field.type is Type.SPAN else _NUMBER
    match = pattern.match(value.text)
    if match is None or (field.type is Type.NUMBER and match[2] not in {"", *field.units}):
        unit = f", in {field.units[0]}" if field.units else ""
        raise wrong(value.place, f"{field.name} takes {field.type}{unit}, not {value.shown}")
    return float(match[1]) * (_SPAN_MS[match[2]] if field.type is Type.SPAN else 1)
