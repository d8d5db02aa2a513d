"""Evidence of the audit log as text. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from edgeqa_cloud.words import said

# Of one entry on a page; the API has all of it.
MAX_LINES = 400
_LINE_CHARS = 500


def evidence_text(evidence: Mapping[str, Any]) -> str:
    """As JSON, indented; nothing in it that is not seen or that turns the line."""
    lines = json.dumps(evidence, indent=2, ensure_ascii=False).split("\n")
    shown = [_line(one) for one in lines[:MAX_LINES]]
    if len(lines) > MAX_LINES:
        shown.append(f"… {len(lines) - MAX_LINES:,} lines more: see the API")
    return "\n".join(shown)


def _line(line: str) -> str:
    text = line.lstrip(" ")
    return line[: len(line) - len(text)] + said(text, most=_LINE_CHARS)
