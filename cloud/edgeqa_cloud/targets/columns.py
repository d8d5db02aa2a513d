"""Parts of a device as expressions over `devices`, the same on SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    ColumnElement,
    String,
    case,
    cast,
    exists,
    false,
    func,
    literal,
    or_,
    select,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from edgeqa_cloud.rollout.tables import device_tags
from edgeqa_cloud.tables import devices

Test = Callable[[ColumnElement[str]], ColumnElement[bool]]
# A whole number with more digits does not fit into 64 bits; no board has so much memory.
_MAX_DIGITS = 18
# Firmware keeps some memory to itself: a board of 8 GiB tells 7.9.
_HALF_GIB = 1 << 29


class EachText(FunctionElement[Any]):
    """The texts of a JSON list as rows, column `value`; none where it is no list."""

    name = "each_text"
    inherit_cache = True


@compiles(EachText, "sqlite")
def _for_sqlite(element: EachText, compiler: SQLCompiler, **options: Any) -> str:
    return f"json_each({compiler.process(element.clauses, **options)})"


@compiles(EachText, "postgresql")
def _for_postgresql(element: EachText, compiler: SQLCompiler, **options: Any) -> str:
    inner = compiler.process(element.clauses, **options)
    # Of null or an object PostgreSQL would make an error, for all devices.
    return (
        f"json_array_elements_text(CASE WHEN json_typeof({inner}) = 'array' THEN {inner} "
        "ELSE '[]' END)"
    )


def each_text(of: ColumnElement[Any]) -> Any:
    """The texts of a JSON list as a table with the column `value`."""
    return EachText(of).table_valued(Column("value", String))


def in_group(test: Test) -> ColumnElement[bool]:
    """Whether a group that the device is in passes a test."""
    groups = each_text(devices.c.groups)
    return exists(select(1).select_from(groups).where(test(groups.c.value)))


def has_tag(test: Test) -> ColumnElement[bool]:
    """Whether a tag of the device passes a test."""
    # Not by EXISTS: PostgreSQL without statistics would compare each device with each tag.
    return devices.c.id.in_(select(device_tags.c.device_id).where(test(device_tags.c.tag)))


def tag_list() -> ColumnElement[str | None]:
    """Its tags with commas between them, which no tag holds, in no order; null where it has none.

    To be selected beside `devices`: one statement, however many devices.
    """
    return (
        select(func.aggregate_strings(device_tags.c.tag, ","))
        .where(device_tags.c.device_id == devices.c.id)
        .correlate(devices)
        .scalar_subquery()
    )


def board() -> ColumnElement[str]:
    """Of its last birth."""
    return _hardware("board")


def machine() -> ColumnElement[str]:
    """Of its last birth."""
    return _hardware("machine")


def memory_halves() -> ColumnElement[int]:
    """Memory of the board in halves of a GiB, rounded; null where it is not known."""
    text = _hardware("memory_bytes")
    size = case((func.length(text) <= _MAX_DIGITS, cast(text, BigInteger)))
    return (size + _HALF_GIB // 2) // _HALF_GIB


def _hardware(name: str) -> ColumnElement[str]:
    text: ColumnElement[str] = devices.c.hardware[name].as_string()
    return text


def holds_text(text: str) -> ColumnElement[bool]:
    """Whether id, board or model's name hold a text; capitals do not matter."""
    if not is_storable(text):
        return false()
    return or_(*(holds(one, text) for one in (devices.c.device, devices.c.model_name, board())))


def holds(column: ColumnElement[Any], text: str) -> ColumnElement[bool]:
    """Whether a text, which may be null, holds another; never null."""
    return func.coalesce(column, "").icontains(text, autoescape=True)


def is_storable(text: str) -> bool:
    """Whether a text could be in the database: PostgreSQL takes no NUL, nor half a character."""
    return not any(char == "\0" or "\ud800" <= char <= "\udfff" for char in text)


def json_list(names: list[str]) -> ColumnElement[Any]:
    """Names as one bound value, however many, for `each_text`."""
    return literal(names, JSON)
