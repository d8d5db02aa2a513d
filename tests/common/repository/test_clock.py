"""The device's time for judging signatures: floor, restarts, impossible clocks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from edgeqa.repository.clock import CLOCK_FILE, MADE, Clock

DAY = timedelta(days=1)
SEEN = MADE + 10 * DAY


def at(moment: datetime, folder: Path) -> Clock:
    return Clock(folder, system=moment.timestamp)


def test_a_clock_that_is_right_is_believed(tmp_path: Path) -> None:
    assert at(SEEN, tmp_path).now() == SEEN


def test_a_device_without_a_clock_lives_when_its_version_was_made(tmp_path: Path) -> None:
    assert at(datetime(1970, 1, 1, tzinfo=UTC), tmp_path).now() == MADE
    assert Clock(tmp_path, system=lambda: -1e6).now() == MADE


def test_what_was_seen_is_remembered_by_the_next_start(tmp_path: Path) -> None:
    clock = at(SEEN, tmp_path)
    clock.trust(clock.now())
    assert at(MADE, tmp_path).now() == SEEN
    assert at(SEEN + DAY, tmp_path).now() == SEEN + DAY


def test_time_does_not_run_backwards_in_one_run_either(tmp_path: Path) -> None:
    times = iter([SEEN.timestamp(), MADE.timestamp()])
    clock = Clock(tmp_path, system=lambda: next(times))
    clock.trust(clock.now())
    assert clock.now() == SEEN


def test_a_clock_ahead_leaves_nothing_behind_unless_it_is_trusted(tmp_path: Path) -> None:
    assert at(SEEN + 4000 * DAY, tmp_path).now() == SEEN + 4000 * DAY
    assert not (tmp_path / CLOCK_FILE).exists()
    assert at(SEEN, tmp_path).now() == SEEN


def test_the_floor_never_sinks(tmp_path: Path) -> None:
    clock = at(MADE, tmp_path)
    clock.trust(SEEN)
    clock.trust(MADE)
    assert clock.now() == SEEN
    at(MADE, tmp_path).trust(MADE + DAY)
    assert at(MADE, tmp_path).now() == SEEN


def test_the_file_is_written_once_an_hour_at_most(tmp_path: Path) -> None:
    clock = at(MADE, tmp_path)
    clock.trust(SEEN)
    written = (tmp_path / CLOCK_FILE).read_bytes()
    clock.trust(SEEN + timedelta(minutes=59))
    assert (tmp_path / CLOCK_FILE).read_bytes() == written
    assert clock.now() == SEEN + timedelta(minutes=59)
    clock.trust(SEEN + timedelta(minutes=61))
    assert at(MADE, tmp_path).now() == SEEN + timedelta(minutes=61)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"null",
        b'{"floor": "yesterday"}',
        b'{"floor": "2027-01-01T00:00:00"}',
        b'{"floor": "0001-01-01T00:00:00+14:00"}',
        b"\xff" * 100,
        b"[" * 100_000,
    ],
)
def test_a_damaged_file_counts_as_none_and_is_replaced(content: bytes, tmp_path: Path) -> None:
    (tmp_path / CLOCK_FILE).write_bytes(content)
    clock = at(MADE, tmp_path)
    assert clock.now() == MADE
    clock.trust(SEEN)
    assert at(MADE, tmp_path).now() == SEEN


@pytest.mark.parametrize("seconds", [1e20, float("inf"), float("nan"), 253_402_300_800.0])
def test_a_time_that_is_no_date_is_the_far_future(seconds: float, tmp_path: Path) -> None:
    assert Clock(tmp_path, system=lambda: seconds).now().year == 9999


def test_a_folder_that_cannot_be_written_leaves_the_floor_in_memory(tmp_path: Path) -> None:
    clock = at(MADE, tmp_path / "missing")
    with pytest.raises(FileNotFoundError):
        clock.trust(SEEN)
    assert clock.now() == SEEN


def test_this_version_was_not_made_in_the_future() -> None:
    assert datetime.now(UTC) >= MADE
