"""Time windows: whether one is open, when the next opens, when the open ones close. Pure.

A window is what a clock on the wall of its place shows, so nothing is special about days on which
that clock is changed. Where it is put forward, times in the gap never come: a window that begins in
it opens when the gap ends, one that lies within it does not open that day. Where it is put back,
a window in the repeated hour is open both times.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from edgeqa_cloud.rollout.spec import Day, Window

# A window opens at least once a week. On one day it may fall into the gap of a clock that is put
# forward, which happens once a year: then the same day of the week after has it.
_HORIZON_DAYS = 15
_DAY_MS = 86_400_000
_DAYS = tuple(Day)


def is_open(windows: Sequence[Window], now_ms: int) -> bool:
    """Whether any window is open; where there are none, it always is."""
    return not windows or any(_is_open(window, now_ms) for window in windows)


def next_opening(windows: Sequence[Window], now_ms: int) -> int | None:
    """The first moment from now on at which a window is open: now, if one is.

    None only where no window opens in the next two weeks, which no time zone has shown so far.
    """
    if is_open(windows, now_ms):
        return now_ms
    moments = (
        moment for window in windows for moment in _moments(window, window.begin, after_ms=now_ms)
    )
    return min((moment for moment in moments if is_open(windows, moment)), default=None)


def next_closing(windows: Sequence[Window], now_ms: int) -> int | None:
    """When none is open any more: now, if none is; None where one always is."""
    if not is_open(windows, now_ms):
        return now_ms
    moments = (
        moment for window in windows for moment in _moments(window, window.end, after_ms=now_ms)
    )
    return min((moment for moment in moments if not is_open(windows, moment)), default=None)


def _is_open(window: Window, now_ms: int) -> bool:
    shown = _moment(now_ms).astimezone(ZoneInfo(window.timezone))
    clock = shown.strftime("%H:%M")
    today = _DAYS[shown.weekday()]
    if window.begin < window.end:
        return window.begin <= clock < window.end and today in window.days
    # Past midnight: the morning belongs to the day before.
    yesterday = _DAYS[shown.weekday() - 1]
    return (clock >= window.begin and today in window.days) or (
        clock < window.end and yesterday in window.days
    )


def _moments(window: Window, clock: str, *, after_ms: int) -> Iterator[int]:
    """When a window may open or close: each time the clock shows that, and when it is changed."""
    zone = ZoneInfo(window.timezone)
    shown = time.fromisoformat(clock)
    first = _moment(after_ms).astimezone(zone).date() - timedelta(days=1)
    for number in range(_HORIZON_DAYS + 2):
        day = first + timedelta(days=number)
        found = {
            _milliseconds(datetime.combine(day, shown.replace(fold=fold), zone)) for fold in (0, 1)
        }
        found.update(_change(zone, day))
        yield from (moment for moment in found if moment > after_ms)


def _change(zone: ZoneInfo, day: date) -> Iterator[int]:
    """When the clock of a place is changed in the 24 hours from a midnight (UTC) on."""
    low = _milliseconds(datetime.combine(day, time(), UTC))
    high = low + _DAY_MS
    before = _offset(zone, low)
    if _offset(zone, high) == before:
        return
    while high - low > 1:
        middle = (low + high) // 2
        if _offset(zone, middle) == before:
            low = middle
        else:
            high = middle
    yield high


def _offset(zone: ZoneInfo, moment_ms: int) -> timedelta | None:
    return _moment(moment_ms).astimezone(zone).utcoffset()


def _moment(moment_ms: int) -> datetime:
    return datetime.fromtimestamp(moment_ms / 1000, UTC)


def _milliseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)
