"""Figures and times as pages show them: filters of the templates. Pure.

The same everywhere: a point before decimals, a narrow space between thousands, units behind
figures, days as 2026-11-25 and times in UTC. What is not known is a dash.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from markupsafe import Markup, escape

from edgeqa_cloud import words
from edgeqa_cloud.fleet_views import ModelView

NOTHING = "–"
_THIN = "\u202f"  # narrow, and no line ends there
_PERCENT = 100.0
_LEAST_SHARE = 0.01
_DIGEST_CHARS = 12
_KIBI = 1024.0
# The last milliseconds that `datetime` can say: the end of the year 9999.
_LAST_MS = 253_402_300_799_999


def number(value: float | None, digits: int = 0) -> str:
    """With so many decimals."""
    return NOTHING if value is None else f"{value:,.{digits}f}".replace(",", _THIN)


def points(value: float | None) -> str:
    """EM or F1: percent of the questions."""
    return NOTHING if value is None else f"{value:.1f}{_THIN}%"


def share(value: float | None, digits: int = 0) -> str:
    """A part of one as percent."""
    return NOTHING if value is None else f"{value * _PERCENT:.{digits}f}{_THIN}%"


def part(count: float, of: float) -> str:
    """A part of a whole as percent; a small one is not nothing."""
    if not of or not count:
        return share(0.0)
    if count / of < _LEAST_SHARE:
        return f"<{_THIN}1{_THIN}%"
    # Not 100 % while something is missing.
    return share(min(count / of, 0.99) if count < of else 1.0)


def milliseconds(value: float | None) -> str:
    """Three digits and a unit."""
    return NOTHING if value is None else words.milliseconds(value).replace(" ", _THIN)


def celsius(value: float | None) -> str:
    """A temperature."""
    return NOTHING if value is None else f"{value:.1f}{_THIN}°C"


def size(value: float | None) -> str:
    """Bytes in the unit that suits them."""
    if value is None:
        return NOTHING
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(value) < _KIBI or unit == "GiB":
            break
        value /= _KIBI
    return f"{number(value, 0 if unit in {'B', 'KiB', 'MiB'} else 1)}{_THIN}{unit}"


def duration(seconds: float | None) -> str:
    """A length of time in one unit."""
    return NOTHING if seconds is None else words.span(seconds).replace(" ", _THIN)


def interval(low_high: tuple[float, float] | None, *, sign: bool = False, digits: int = 1) -> str:
    """A 95 % interval."""
    if low_high is None:
        return NOTHING
    low, high = (f"{one:{'+' if sign else ''}.{digits}f}".replace("-", "−") for one in low_high)
    return f"{low} to {high}"


def signed(value: float | None, digits: int = 1) -> str:
    """A difference."""
    return NOTHING if value is None else f"{value:+.{digits}f}".replace("-", "−")


def said(text: str | None) -> str:
    """What a device or a person wrote, without characters that are not seen or turn the line."""
    return words.said(text) if text else NOTHING


def sentence(text: str | None) -> str:
    """As `said`, for what is worth its room: reasons, notes, what a decision says."""
    return words.said(text, most=words.SENTENCE_CHARS) if text else NOTHING


def model(view: ModelView | Mapping[str, Any] | None) -> str:
    """Name and version."""
    if view is None:
        return NOTHING
    one = view if isinstance(view, ModelView) else ModelView.model_validate(view)
    return f"{said(one.name)} {said(one.version)}"


def digest(text: str | None) -> str:
    """The beginning of a digest."""
    return NOTHING if not text else said(text.removeprefix("sha256:")[:_DIGEST_CHARS])


def stamp(time_ms: int | None) -> str:
    """A time, to the second."""
    made = _datetime(time_ms)
    return NOTHING if made is None else made.strftime("%Y-%m-%d %H:%M:%S UTC")


def iso(time_ms: int | None) -> str:
    """A time as programs read it."""
    made = _datetime(time_ms)
    return "" if made is None else made.isoformat(timespec="seconds").replace("+00:00", "Z")


def moment(time_ms: int | None, now_ms: int) -> Markup:
    """A time as `<time>`: how long it is past or ahead; `app.js` keeps that fresh."""
    if _datetime(time_ms) is None or time_ms is None:
        return Markup(escape(NOTHING))  # noqa: S704  escaped
    ahead = time_ms > now_ms
    text = f"in {duration((time_ms - now_ms) / 1000)}" if ahead else words.ago(time_ms, now_ms)
    return Markup('<time datetime="{}" data-ms="{}" title="{}">{}</time>').format(
        iso(time_ms), time_ms, stamp(time_ms), text
    )


def plural(count: int, one: str, many: str | None = None) -> str:
    """`1 device`, `2 devices`."""
    return f"{number(count)} {one if count == 1 else many or one + 's'}"


FILTERS: Mapping[str, Callable[..., object]] = {
    one.__name__: one
    for one in (
        number, points, share, part, milliseconds, celsius, size, duration, interval, signed,
        said, sentence, model, digest, stamp, iso, moment, plural,
    )
}  # fmt: skip


def _datetime(time_ms: int | None) -> datetime | None:
    if time_ms is None or not 0 <= time_ms <= _LAST_MS:
        return None
    return datetime.fromtimestamp(time_ms / 1000, tz=UTC)
