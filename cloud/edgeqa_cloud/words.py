"""Figures and times in words, as tables of the fleet show them. Pure.

What came from devices goes through `edgeqa.show.clean` first: here, in `said`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from edgeqa.errors import UsageError
from edgeqa.show import clean
from edgeqa_cloud.fleet_views import ModelView

NOTHING = "-"
# Ten years: more is a mistake.
MAX_SPAN_S = 3650 * 86_400
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
_SPAN = re.compile(r"(\d+(?:\.\d+)?)([smhdw])\Z", re.ASCII)
_STEPS = (("s", 90), ("min", 90 * 60), ("h", 48 * 3600), ("d", float("inf")))
_SECONDS = {"s": 1, "min": 60, "h": 3600, "d": 86_400}
_BLOCKS = "▁▂▃▄▅▆▇█"
_MAX_CHARS = 200
# Of a sentence with figures, which is worth its room.
SENTENCE_CHARS = 1000
_DIGEST_CHARS = len("sha256:") + 12


def said(text: str | None, *, most: int = _MAX_CHARS) -> str:
    """What a device said, fit for a terminal: nothing that drives it, and not without end.

    Beside control characters, those that turn the direction of writing or are not seen at all
    (`Cf`), and halves of characters (`Cs`), which no terminal takes.
    """
    if not text:
        return NOTHING
    short = text if len(text) <= most else text[: most - 1] + "…"
    if short.isascii() and short.isprintable():
        return short
    return "".join(
        "\ufffd" if unicodedata.category(ch) in {"Cf", "Cs"} else ch for ch in clean(short)
    )


def span(seconds: float) -> str:
    """A length of time in one unit: `12 s`, `5 min`, `3 h`, `9 d`."""
    seconds = max(0.0, seconds)
    unit = next(unit for unit, below in _STEPS if seconds < below)
    return f"{seconds / _SECONDS[unit]:.0f} {unit}"


def ago(then_ms: int | None, now_ms: int) -> str:
    """How long something is past. A clock that was set back makes no future."""
    return NOTHING if then_ms is None else f"{span((now_ms - then_ms) / 1000)} ago"


def parse_span(text: str, option: str) -> float:
    """Seconds of `90s`, `30m`, `24h`, `7d` or `2w`.

    Raises:
        UsageError: it is none of these, or longer than ten years.
    """
    found = _SPAN.match(text.strip())
    seconds = float(found[1]) * _UNITS[found[2]] if found else 0.0
    if not 0 < seconds <= MAX_SPAN_S:
        raise UsageError(f"{option}: {clean(text)[:40]!r} is no span; say 90s, 30m, 24h, 7d or 2w")
    return seconds


def points(value: float | None) -> str:
    """EM or F1, percent."""
    return NOTHING if value is None else f"{value:.1f}"


def interval(low_high: tuple[float, float], *, sign: bool = False) -> str:
    """A 95 % interval, in whole points: it is wider than that."""
    low, high = low_high
    return f"[{low:+.0f},{high:+.0f}]" if sign else f"[{low:.0f},{high:.0f}]"


def milliseconds(value: float | None) -> str:
    """Three digits and a unit."""
    if value is None:
        return NOTHING
    if value >= 10_000:  # noqa: PLR2004  from ten seconds on
        return f"{value / 1000:.1f} s"
    return f"{value:.0f} ms" if value >= 100 else f"{value:.3g} ms"  # noqa: PLR2004  three digits


def celsius(value: float | None) -> str:
    """A temperature, without its unit."""
    return NOTHING if value is None else f"{value:.1f}"


def mebibytes(value: int | None) -> str:
    """A size."""
    return NOTHING if value is None else f"{value / 2**20:,.0f} MiB"


def model(view: ModelView | None, *, digest: bool = False) -> str:
    """Name and version, and the beginning of the digest."""
    if view is None:
        return NOTHING
    short = f" ({said(view.digest)[:_DIGEST_CHARS]})" if digest and view.digest else ""
    return f"{said(view.name)} {said(view.version)}{short}"


def counted(counts: Sequence[tuple[str, int]]) -> str:
    """`3 online, 1 silent`, those that are 0 left out."""
    return ", ".join(f"{count:,} {name}" for name, count in counts if count) or "none"


def sparkline(values: Sequence[float | None]) -> str:
    """A block a value, lowest to highest; a space where there is none."""
    known = [value for value in values if value is not None]
    if not known:
        return ""
    low, width = min(known), max(known) - min(known)
    top = len(_BLOCKS) - 1
    return "".join(
        " " if value is None else _BLOCKS[round((value - low) / width * top) if width else top // 2]
        for value in values
    )
