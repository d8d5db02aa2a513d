"""Time windows: past midnight, in other time zones, and on days on which the clock is changed."""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeqa_cloud.rollout.spec import Day, Window
from edgeqa_cloud.rollout.windows import is_open, next_closing, next_opening

BERLIN = "Europe/Berlin"
MINUTE_MS, HOUR_MS, DAY_MS = 60_000, 3_600_000, 86_400_000


def window(begin: str, end: str, zone: str = "UTC", days: str = "") -> Window:
    values = {"begin": begin, "end": end, "timezone": zone}
    return Window.model_validate(values | ({"days": days.split()} if days else {}))


def ms(text: str) -> int:
    """Of an ISO time with its offset."""
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def test_without_windows_it_is_always_open_and_never_closes() -> None:
    assert is_open([], 0)
    assert next_opening([], 5) == 5
    assert next_closing([], 5) is None


def test_end_is_not_part_of_a_window() -> None:
    night = [window("02:00", "04:00")]
    begin, end = ms("2026-11-25T02:00+00:00"), ms("2026-11-25T04:00+00:00")
    assert [is_open(night, one) for one in (begin - 1, begin, end - 1, end)] == [
        False, True, True, False,
    ]  # fmt: skip
    assert next_opening(night, begin - 1) == begin
    assert next_opening(night, begin + 7) == begin + 7
    assert next_closing(night, begin) == end
    assert next_opening(night, end) == begin + DAY_MS


def test_a_window_past_midnight_belongs_to_the_day_on_which_it_began() -> None:
    # 2026-11-27 is a Friday.
    friday = [window("22:00", "03:00", days="fri")]
    assert not is_open(friday, ms("2026-11-27T02:00+00:00"))
    assert is_open(friday, ms("2026-11-27T22:00+00:00"))
    assert is_open(friday, ms("2026-11-28T02:59+00:00"))
    assert not is_open(friday, ms("2026-11-28T03:00+00:00"))
    assert not is_open(friday, ms("2026-11-28T22:00+00:00"))
    assert next_opening(friday, ms("2026-11-28T03:00+00:00")) == ms("2026-12-04T22:00+00:00")


def test_sunday_night_reaches_into_monday() -> None:
    sunday = [window("23:00", "01:00", days="sun")]
    assert is_open(sunday, ms("2026-11-30T00:30+00:00"))
    assert not is_open(sunday, ms("2026-11-29T00:30+00:00"))


def test_a_window_until_midnight_ends_there() -> None:
    evening = [window("20:00", "00:00")]
    assert next_closing(evening, ms("2026-11-25T21:00+00:00")) == ms("2026-11-26T00:00+00:00")


def test_the_clock_is_that_of_the_place() -> None:
    night = [window("02:00", "04:00", BERLIN)]
    assert next_opening(night, ms("2026-07-01T12:00+00:00")) == ms("2026-07-02T02:00+02:00")
    assert next_opening(night, ms("2026-12-01T12:00+00:00")) == ms("2026-12-02T02:00+01:00")
    nepal = [window("00:15", "00:30", "Asia/Kathmandu")]
    assert next_opening(nepal, ms("2026-07-01T12:00+00:00")) == ms("2026-07-02T00:15+05:45")


# In Berlin the clock goes from 02:00 to 03:00 on 2026-03-29, at 01:00 UTC.
GAP_MS = ms("2026-03-29T01:00+00:00")


def test_a_window_that_begins_in_the_gap_opens_when_the_gap_ends() -> None:
    night = [window("02:30", "05:00", BERLIN)]
    assert next_opening(night, GAP_MS - 3 * HOUR_MS) == GAP_MS
    assert next_closing(night, GAP_MS) == ms("2026-03-29T05:00+02:00")


def test_a_window_that_ends_in_the_gap_closes_when_the_gap_begins() -> None:
    night = [window("01:00", "02:30", BERLIN)]
    assert next_closing(night, GAP_MS - HOUR_MS) == GAP_MS
    assert not is_open(night, GAP_MS)


def test_a_window_within_the_gap_does_not_open_that_day() -> None:
    night = [window("02:10", "02:40", BERLIN)]
    assert next_opening(night, GAP_MS - 3 * HOUR_MS) == ms("2026-03-30T02:10+02:00")
    sundays = [window("02:10", "02:40", BERLIN, "sun")]
    assert next_opening(sundays, GAP_MS - HOUR_MS) == ms("2026-04-05T02:10+02:00")


# In Berlin the clock goes from 03:00 back to 02:00 on 2026-10-25, at 01:00 UTC.
FOLD_MS = ms("2026-10-25T01:00+00:00")


def test_a_window_in_the_repeated_hour_is_open_both_times() -> None:
    night = [window("02:15", "02:45", BERLIN)]
    first, second = ms("2026-10-25T02:15+02:00"), ms("2026-10-25T02:15+01:00")
    assert second - first == HOUR_MS
    assert next_opening(night, first - 1) == first
    assert next_closing(night, first) == first + 30 * MINUTE_MS
    assert next_opening(night, first + 30 * MINUTE_MS) == second
    assert next_closing(night, second) == second + 30 * MINUTE_MS


def test_a_window_that_ends_in_the_repeated_hour_opens_again_when_the_clock_is_put_back() -> None:
    night = [window("01:00", "02:30", BERLIN)]
    first_end = ms("2026-10-25T02:30+02:00")
    assert next_closing(night, first_end - HOUR_MS) == first_end
    assert next_opening(night, first_end) == FOLD_MS
    assert next_closing(night, FOLD_MS) == ms("2026-10-25T02:30+01:00")


def test_windows_that_touch_are_one() -> None:
    both = [window("01:00", "02:00"), window("02:00", "03:00")]
    assert next_closing(both, ms("2026-11-25T01:30+00:00")) == ms("2026-11-25T03:00+00:00")


def test_windows_that_cover_the_week_never_close() -> None:
    always = [window("00:00", "12:00"), window("12:00", "00:00")]
    assert next_closing(always, ms("2026-11-25T01:30+00:00")) is None


def test_lord_howe_puts_its_clock_forward_by_half_an_hour() -> None:
    gap_ms = ms("2026-10-03T15:30+00:00")  # 02:00 becomes 02:30 on Sunday the 4th
    inside = [window("02:10", "02:20", "Australia/Lord_Howe", "sun")]
    assert next_opening(inside, gap_ms - HOUR_MS) == ms("2026-10-11T02:10+11:00")
    begins = [window("02:10", "04:00", "Australia/Lord_Howe", "sun")]
    assert next_opening(begins, gap_ms - HOUR_MS) == gap_ms


@pytest.mark.parametrize("zone", ["UTC", BERLIN, "America/St_Johns", "Pacific/Apia"])
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_openings_and_closings_are_those_that_a_clock_shows_minute_by_minute(
    zone: str, data: st.DataObject
) -> None:
    clock = st.builds("{:02}:{:02}".format, st.integers(0, 23), st.sampled_from([0, 15, 30]))
    begin = data.draw(clock)
    end = data.draw(clock.filter(lambda one: one != begin))
    days = data.draw(st.lists(st.sampled_from(Day), min_size=1, max_size=7, unique=True))
    some = [Window(begin=begin, end=end, timezone=zone, days=days)]
    day = data.draw(st.sampled_from(["2026-03-28", "2026-10-24", "2026-11-25", "2027-03-13"]))
    now = datetime.fromisoformat(f"{day}T12:00").replace(tzinfo=ZoneInfo(zone))
    now_ms = round(now.timestamp() * 1000) + data.draw(st.integers(0, 24 * 60)) * MINUTE_MS

    def shows(moment_ms: int) -> bool:
        shown = datetime.fromtimestamp(moment_ms / 1000, ZoneInfo(zone))
        minute, weekday = f"{shown:%H:%M}", list(Day)[shown.weekday()]
        before = list(Day)[(shown - timedelta(days=1)).weekday()]
        if begin < end:
            return begin <= minute < end and weekday in days
        return (minute >= begin and weekday in days) or (minute < end and before in days)

    step = 15 * MINUTE_MS
    first_quarter = now_ms - now_ms % step + step
    moments = [now_ms, *range(first_quarter, first_quarter + 9 * DAY_MS, step)]
    assert is_open(some, now_ms) == shows(now_ms)
    opens = next((one for one in moments if shows(one)), None)
    closes = next((one for one in moments if not shows(one)), None)
    if opens is not None:  # else a day was skipped, and it is more than nine days away
        assert next_opening(some, now_ms) == opens
    assert next_closing(some, now_ms) == closes
