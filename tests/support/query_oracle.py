"""Queries over devices in plain Python, to hold the database's answers against."""

from __future__ import annotations

import operator
import re
from dataclasses import dataclass, field
from typing import Any

from edgeqa_cloud import presence
from edgeqa_cloud.targets.query_fields import Comparison, Operator
from edgeqa_cloud.targets.query_parse import All, Node, Not, Words
from edgeqa_cloud.targets.query_parse import Any as AnyOf

_COMPARE = {
    Operator.EQUAL: operator.eq,
    Operator.LESS: operator.lt,
    Operator.AT_MOST: operator.le,
    Operator.MORE: operator.gt,
    Operator.AT_LEAST: operator.ge,
}
_COLUMNS = {
    "version": "model_version", "digest": "model_digest", "agent": "agent_version",
    "onnxruntime": "onnxruntime_version", "em": "exact_match", "p95": "p95_ms",
    "temperature": "temperature_celsius",
}  # fmt: skip


@dataclass
class Device:
    """A row of `devices`, and its tags."""

    row: dict[str, Any]
    tags: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return str(self.row["device"])

    def hardware(self, name: str) -> Any:
        return (self.row["hardware"] or {}).get(name)


def holds(node: Node, device: Device, now_ms: int) -> bool:
    """Whether a query holds of a device."""
    if isinstance(node, All):
        return all(holds(part, device, now_ms) for part in node.parts)
    if isinstance(node, AnyOf):
        return any(holds(part, device, now_ms) for part in node.parts)
    if isinstance(node, Not):
        return not holds(node.part, device, now_ms)
    if isinstance(node, Words):
        texts = (device.name, device.row["model_name"], device.hardware("board"))
        return any(node.text.lower() in (text or "").lower() for text in texts)
    return _compare(node, device, now_ms)


def _compare(one: Comparison, device: Device, now_ms: int) -> bool:
    name, value, row = one.field.name, one.value, device.row
    if one.operator is Operator.UNEQUAL:
        return not _compare(Comparison(one.field, Operator.EQUAL, value), device, now_ms)
    if name in {"group", "tag"}:
        items = device.tags if name == "tag" else row["groups"] or []
        return not items if value is None else any(_text(item, one) for item in items)
    if name == "presence":
        judged = presence.judge(
            told=row["presence"], last_seen_ms=row["last_seen_ms"],
            interval_s=row["heartbeat_interval_s"], now_ms=now_ms,
        )  # fmt: skip
        return judged.value == value
    actual = _value(name, device, value, now_ms)
    if value is None or actual is None:
        return actual is value
    if isinstance(value, float):
        return bool(_COMPARE[one.operator](actual, value))
    return _text(actual, one)


def _value(name: str, device: Device, value: Any, now_ms: int) -> Any:
    row = device.row
    if name in {"seen", "joined"}:
        return now_ms - row["last_seen_ms" if name == "seen" else "first_seen_ms"]
    if name == "model":
        known = row["model_name"]
        versioned = known and "@" in str(value or "")
        return f"{known}@{row['model_version'] or ''}" if versioned else known
    if name in {"board", "machine"}:
        return device.hardware(name)
    if name == "memory":
        size = device.hardware("memory_bytes")
        return None if size is None else (size + (1 << 28)) // (1 << 29) / 2
    return row[_COLUMNS.get(name, name)]


def _text(actual: str, one: Comparison) -> bool:
    value = str(one.value)
    if one.operator is Operator.EQUAL:
        return actual == value
    if "*" not in value:
        return value.lower() in actual.lower()
    pattern = ".*".join(re.escape(part) for part in value.lower().split("*"))
    return re.fullmatch(pattern, actual.lower(), re.DOTALL) is not None
