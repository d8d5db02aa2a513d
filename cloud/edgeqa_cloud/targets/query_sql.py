"""Queries as expressions for the database, by bound parameters alone.

Each of them is true or false, never null: what is not known is neither more nor less than a value,
and `not` turns around exactly what the query without it finds.
"""

from __future__ import annotations

import operator as operators
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any as AnyType

from sqlalchemy import ColumnElement, and_, func, not_, or_

from edgeqa_cloud.presence_column import presence_column
from edgeqa_cloud.tables import devices
from edgeqa_cloud.targets.columns import (
    Test,
    board,
    has_tag,
    holds,
    holds_text,
    in_group,
    machine,
    memory_halves,
)
from edgeqa_cloud.targets.query_fields import Comparison, Operator, Type
from edgeqa_cloud.targets.query_parse import All, Any, Node, Not, Words

_ESCAPE = "/"
_COLUMNS: Mapping[str, Callable[[], ColumnElement[AnyType]]] = MappingProxyType(
    {
        "device": lambda: devices.c.device,
        "version": lambda: devices.c.model_version,
        "digest": lambda: devices.c.model_digest,
        "board": board,
        "machine": machine,
        "agent": lambda: devices.c.agent_version,
        "onnxruntime": lambda: devices.c.onnxruntime_version,
        "em": lambda: devices.c.exact_match,
        "f1": lambda: devices.c.f1,
        "p95": lambda: devices.c.p95_ms,
        "temperature": lambda: devices.c.temperature_celsius,
        "memory": memory_halves,
    }
)
_MANY: Mapping[str, Callable[[Test], ColumnElement[bool]]] = MappingProxyType(
    {"group": in_group, "tag": has_tag}
)
_COMPARE: Mapping[Operator, Callable[[AnyType, AnyType], AnyType]] = MappingProxyType(
    {
        Operator.EQUAL: operators.eq,
        Operator.LESS: operators.lt,
        Operator.AT_MOST: operators.le,
        Operator.MORE: operators.gt,
        Operator.AT_LEAST: operators.ge,
    }
)
# As `memory_halves` counts.
_SCALES = {"memory": 2}


def node_condition(node: Node, now_ms: int) -> ColumnElement[bool]:
    """A part of a query."""
    match node:
        case All(parts):
            return and_(*(node_condition(part, now_ms) for part in parts))
        case Any(parts):
            return or_(*(node_condition(part, now_ms) for part in parts))
        case Not(part):
            return not_(node_condition(part, now_ms))
        case Words(text):
            return holds_text(text)
        case Comparison():
            return _comparison(node, now_ms)


def _comparison(one: Comparison, now_ms: int) -> ColumnElement[bool]:
    if one.operator is Operator.UNEQUAL:
        return not_(_comparison(Comparison(one.field, Operator.EQUAL, one.value), now_ms))
    name, value = one.field.name, one.value
    if one.field.type is Type.PRESENCE:
        return presence_column(now_ms) == value
    if one.field.type is Type.SPAN:
        since = devices.c.last_seen_ms if name == "seen" else devices.c.first_seen_ms
        return _ordered(now_ms - since, one.operator, value)
    if name in _MANY:
        return _of_many(_MANY[name], one)
    return _of_one(_model(value) if name == "model" else _COLUMNS[name](), one)


def _of_many(passes: Callable[[Test], ColumnElement[bool]], one: Comparison) -> ColumnElement[bool]:
    if one.value is None:
        return not_(passes(lambda item: item.is_not(None)))
    return passes(lambda item: _text(item, one.operator, str(one.value)))


def _of_one(column: ColumnElement[AnyType], one: Comparison) -> ColumnElement[bool]:
    if one.value is None:
        return column.is_(None)
    if isinstance(one.value, str):
        return _text(column, one.operator, one.value)
    value = one.value * _SCALES.get(one.field.name, 1)
    return and_(column.is_not(None), _ordered(column, one.operator, value))


def _model(value: str | float | None) -> ColumnElement[str]:
    """What a value is compared with: the name, or the name and the version where it has one."""
    if "@" in str(value or ""):
        return devices.c.model_name + "@" + func.coalesce(devices.c.model_version, "")
    return devices.c.model_name


def _text(column: ColumnElement[AnyType], operator: Operator, value: str) -> ColumnElement[bool]:
    if operator is Operator.EQUAL:
        found = column == value
    elif "*" in value:
        found = func.lower(column).like(func.lower(_pattern(value)), escape=_ESCAPE)
    else:
        found = holds(column, value)
    return and_(column.is_not(None), found)


def _pattern(value: str) -> str:
    for special in (_ESCAPE, "%", "_"):
        value = value.replace(special, _ESCAPE + special)
    return value.replace("*", "%")


def _ordered(
    column: ColumnElement[AnyType], operator: Operator, value: AnyType
) -> ColumnElement[bool]:
    found: ColumnElement[bool] = _COMPARE[operator](column, value)
    return found
