"""The reference page of a settings class, generated so that it cannot lag behind the code."""

from __future__ import annotations

import json
from typing import Any

from annotated_types import Ge, Gt, Le, Lt
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from pydantic_settings import BaseSettings

from edgeqa.settings import flag_of, variable_of

_BOUNDS = {Ge: ("ge", "from"), Gt: ("gt", "above"), Le: ("le", "to"), Lt: ("lt", "below")}


def settings_page(cls: type[BaseSettings], *, title: str, intro: str) -> str:
    """Markdown: one row per setting, with flag, variable, default, bounds and meaning."""
    rows = [
        f"| `{name}` | `{flag_of(name)}` | `{variable_of(cls, name)}` | {_default(field)} "
        f"| {_bounds(field)} | {field.description} |"
        for name, field in cls.model_fields.items()
    ]
    return "\n".join(
        [
            f"# {title}",
            "",
            intro,
            "",
            "| setting | flag | environment variable | default | bounds | meaning |",
            "|---|---|---|---|---|---|",
            *rows,
            "",
        ]
    )


def _default(field: FieldInfo) -> str:
    if field.default is None or field.default is PydanticUndefined:
        return ""
    return f"`{json.dumps(field.default, default=str)}`"


def _bounds(field: FieldInfo) -> str:
    words = []
    for constraint in field.metadata:
        for kind, (attribute, word) in _BOUNDS.items():
            if isinstance(constraint, kind):
                value: Any = getattr(constraint, attribute)
                words.append(f"{word} {value}")
    return " ".join(words)
