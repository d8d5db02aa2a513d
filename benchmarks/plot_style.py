"""How the plots of benchmarks look."""

from __future__ import annotations

from typing import Any

GREY, LINE = "#666666", "#E4E4E4"
STYLE: dict[Any, Any] = {  # matplotlib lists every key that it knows as a type of its own
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "svg.hashsalt": "edgeqa",
    "axes.edgecolor": "#BBBBBB",
    "xtick.color": GREY,
    "ytick.color": GREY,
    "text.parse_math": False,
}
