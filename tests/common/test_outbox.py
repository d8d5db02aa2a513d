"""The outbox: numbers, order, bounds, what is dropped and what is sent again."""

from __future__ import annotations

import json
import sqlite3
import threading
from pathlib import Path

import pytest
from support.outboxes import Box, numbers, rows, send_all, swap, telemetry

from edgeqa.errors import PayloadError
from edgeqa.outbox import Bounds, OutboxError
from edgeqa.outbox_rows import ROW_BYTES
from edgeqa.telemetry_messages import BootRange, SeqRange, SwapReport, Telemetry


def test_records_are_numbered_per_boot_over_all_kinds(tmp_path: Path) -> None:
    box = Box(tmp_path)
    with box.file() as file:
        outbox = box.open("boot-1", file=file)
        assert telemetry(outbox, 2) + swap(outbox) + telemetry(outbox) == [1, 2, 3, 4]
        later = box.open("boot-2", file=file)
        assert telemetry(later) == [1]
        assert numbers(rows(later)) == [1, 2, 3, 4, 1]


def test_a_record_says_whose_it_is_and_when(tmp_path: Path) -> None:
    box = Box(tmp_path)
    box.uptime_ms, box.wall_ms = 1234, 1_700_000_000_000
    with box.file() as file:
        outbox = box.open(file=file)
        record = outbox.append(Telemetry, interval_s=60, queue_depth=3)
        stored = json.loads(rows(outbox)[0].payload)
    assert (record.device, record.boot_id, record.seq) == ("pi-1", "boot-1", 1)
    assert (record.time_ms, record.uptime_ms) == (1_700_000_000_000, 1234)
    assert stored == json.loads(record.to_json())
    assert (stored["schema"], stored["queue_depth"]) == (1, 3)


def test_a_clock_before_1970_costs_no_record(tmp_path: Path) -> None:
    box = Box(tmp_path)
    box.wall_ms = -5_000
    with box.file() as file:
        assert box.open(file=file).append(Telemetry, interval_s=60).time_ms == 0


def test_the_next_start_finds_what_waits_and_goes_on_behind_it(tmp_path: Path) -> None:
    box = Box(tmp_path)
    with box.file() as file:
        outbox = box.open(file=file)
        telemetry(outbox, 5)
        outbox.mark_sent([row.id for row in rows(outbox)[:2]])
    with box.file() as file:
        again = box.open(file=file)
        assert numbers(rows(again)) == [3, 4, 5]
        assert telemetry(again) == [6]
        assert again.state().waiting == 4


def test_what_is_no_such_record_is_refused_and_takes_no_number(tmp_path: Path) -> None:
    box = Box(tmp_path)
    with box.file() as file:
        outbox = box.open(file=file)
        with pytest.raises(PayloadError, match="interval_s"):
            outbox.append(Telemetry, interval_s=-1)
        with pytest.raises(PayloadError, match="state"):
            outbox.append(SwapReport, state="loading", name="n", version="1.0.0")
        assert telemetry(outbox) == [1]
        assert outbox.state().dropped == {}


def test_a_record_that_is_too_large_is_refused_and_counted(tmp_path: Path) -> None:
    box = Box(tmp_path)
    with box.file() as file:
        outbox = box.open(file=file)
        reason = {"code": "x", "message": "y" * 300_000}
        with pytest.raises(OutboxError) as error:
            outbox.append(SwapReport, state="failed", name="n", version="1.0.0", reason=reason)
        assert error.value.code == "record_too_large"
        assert outbox.state().dropped == {"swap": 1}
        assert telemetry(outbox) == [1]
    with box.file() as file:
        again = box.open("boot-2", file=file)
        telemetry(again)
        assert again.state().dropped == {"swap": 1}


def test_acknowledged_is_the_end_of_what_the_broker_has_without_a_gap(tmp_path: Path) -> None:
    box = Box(tmp_path)
    with box.file() as file:
        outbox = box.open(file=file)
        assert outbox.acknowledged == 0
        telemetry(outbox, 5)
        ids = [row.id for row in rows(outbox)]
        outbox.mark_sent([ids[0], ids[2], ids[3]])
        assert outbox.acknowledged == 1
        outbox.mark_sent([ids[1]])
        assert outbox.acknowledged == 4
        outbox.mark_sent([ids[4], ids[0], 999])
        assert outbox.acknowledged == 5
        telemetry(outbox)
        assert outbox.acknowledged == 5


def test_telemetry_goes_before_swaps_and_the_sent_before_both(tmp_path: Path) -> None:
    box = Box(tmp_path, bounds=Bounds(max_rows=6))
    with box.file() as file:
        outbox = box.open(file=file)
        telemetry(outbox, 2)  # 1 2
        send_all(outbox)
        swap(outbox, 2)  # 3 4
        telemetry(outbox, 2)  # 5 6
        assert outbox.state().dropped == {}
        telemetry(outbox, 2)  # 7 8: the sent ones go
        assert (numbers(rows(outbox)), outbox.state().dropped) == ([3, 4, 5, 6, 7, 8], {})
        telemetry(outbox, 3)  # 9 10 11: the oldest telemetry goes
        assert numbers(rows(outbox)) == [3, 4, 8, 9, 10, 11]
        assert outbox.state().dropped == {"telemetry": 3}
        swap(outbox, 5)  # 12 … 16: all telemetry goes, then the oldest swap
        assert numbers(rows(outbox)) == [4, 12, 13, 14, 15, 16]
        assert outbox.state().dropped == {"telemetry": 7, "swap": 1}
        assert telemetry(outbox) == [17]  # nothing gives way to it, so it goes itself
        assert numbers(rows(outbox)) == [4, 12, 13, 14, 15, 16]
        assert outbox.state().dropped == {"telemetry": 8, "swap": 1}
    assert box.events.count("outbox_full") == 1


def test_bytes_have_a_bound_too(tmp_path: Path) -> None:
    box = Box(tmp_path, bounds=Bounds(max_bytes=10_000))
    with box.file() as file:
        outbox = box.open(file=file)
        for _ in range(60):
            telemetry(outbox)
            assert outbox.state().bytes <= 10_000
        kept = rows(outbox)
        assert numbers(kept) == list(range(61 - len(kept), 61))
        assert outbox.state().dropped == {"telemetry": 60 - len(kept)}
        size = len(kept[-1].payload) + ROW_BYTES
        assert 10_000 - size < outbox.state().bytes


def test_the_counter_of_what_was_dropped_outlives_a_restart(tmp_path: Path) -> None:
    box = Box(tmp_path, bounds=Bounds(max_rows=2))
    with box.file() as file:
        telemetry(box.open(file=file), 5)
    with box.file() as file:
        outbox = box.open("boot-2", file=file)
        telemetry(outbox)
        assert outbox.state().dropped == {"telemetry": 4}


def test_a_boot_whose_records_are_all_dropped_is_remembered(tmp_path: Path) -> None:
    box = Box(tmp_path, bounds=Bounds(max_rows=3))
    with box.file() as file:
        telemetry(box.open("boot-1", file=file), 3)
        later = box.open("boot-2", file=file)
        telemetry(later, 3)
        # What was dropped counts as settled: the cloud learns that it need not wait for it.
        assert later.held() == [
            BootRange(boot_id="boot-2", first=1, last=0),
            BootRange(boot_id="boot-1", first=4, last=3),
        ]
    with box.file() as file:  # the same boot again, as a simulated device has it
        assert telemetry(box.open("boot-1", file=file)) == [4]


def test_sent_records_are_kept_for_a_while_of_running_time(tmp_path: Path) -> None:
    box = Box(tmp_path, bounds=Bounds(keep_sent_s=100))
    with box.file() as file:
        outbox = box.open("boot-1", file=file)
        telemetry(outbox)
        send_all(outbox)
        box.wall_ms += 10**12  # a clock that is set is no reason
        telemetry(outbox)
        assert outbox.held()[0].first == 1
        box.uptime_ms = 60_000
        telemetry(outbox)
    with box.file() as file:
        later = box.open("boot-2", file=file)
        box.uptime_ms = 39_000  # 99 s of running time
        telemetry(later)
        assert later.held()[1] == BootRange(boot_id="boot-1", first=1, last=1)
        box.uptime_ms = 41_000
        telemetry(later)
        assert later.held()[1].first == 2
        assert numbers(rows(later)) == [2, 3, 1, 2]  # what waits has no age
        assert later.state().dropped == {}


def test_what_is_asked_for_again_waits_in_its_old_place(tmp_path: Path) -> None:
    box = Box(tmp_path)
    with box.file() as file:
        outbox = box.open(file=file)
        telemetry(outbox, 6)
        send_all(outbox)
        telemetry(outbox)
        assert outbox.resend([SeqRange(boot_id="boot-1", first=2, last=4)]) == (3, 0)
        assert numbers(rows(outbox)) == [2, 3, 4, 7]
        assert outbox.acknowledged == 6  # the broker did have them
        assert outbox.state().waiting == 4
        outbox.mark_sent([rows(outbox)[0].id])
        assert (numbers(rows(outbox)), outbox.acknowledged) == ([3, 4, 7], 6)
        send_all(outbox)
        assert outbox.acknowledged == 7


def test_what_is_not_held_is_said_to_be_missing(tmp_path: Path) -> None:
    box = Box(tmp_path, bounds=Bounds(keep_sent_s=0))
    with box.file() as file:
        outbox = box.open(file=file)
        telemetry(outbox, 4)
        send_all(outbox)
        box.uptime_ms = 1000
        telemetry(outbox, 2)  # 5 6; the others are over
        wanted = [
            SeqRange(boot_id="boot-1", first=4, last=5),
            SeqRange(boot_id="boot-1", first=5, last=9),  # each is counted once
            SeqRange(boot_id="another", first=1, last=10),
            SeqRange(boot_id="boot-1", first=3, last=2),
        ]
        assert outbox.resend(wanted) == (2, 4 + 10)
        assert outbox.resend([SeqRange(boot_id="boot-1", first=1, last=2**53 - 1)])[0] == 2


def test_a_key_lets_one_record_through(tmp_path: Path) -> None:
    box = Box(tmp_path)
    fields = {"state": "active", "name": "n", "version": "1.0.0"}
    with box.file() as file:
        outbox = box.open(file=file)
        assert outbox.append_once("a", SwapReport, **fields) is not None
        assert outbox.append_once("a", SwapReport, **fields) is None
        with pytest.raises(PayloadError):
            outbox.append_once("b", SwapReport, state="no")
        assert outbox.append_once("b", SwapReport, **fields) is not None
    with box.file() as file:
        outbox = box.open("boot-2", file=file)
        assert outbox.append_once("a", SwapReport, **fields) is None
        for n in range(64):
            assert outbox.append_once(f"key {n}", SwapReport, **fields) is not None
        assert outbox.append_once("a", SwapReport, **fields) is not None  # forgotten by now


def test_devices_that_share_a_file_do_not_see_each_other(tmp_path: Path) -> None:
    box = Box(tmp_path, bounds=Bounds(max_rows=3))
    with box.file(durable=False) as file:
        one = box.open(file=file, device="one")
        two = box.open(file=file, device="two")
        telemetry(one, 2)
        telemetry(two, 5)
        assert (numbers(rows(one)), numbers(rows(two))) == ([1, 2], [3, 4, 5])
        two.mark_sent([row.id for row in rows(one)])  # not its own
        assert one.state().waiting == 2
        assert (one.state().dropped, two.state().dropped) == ({}, {"telemetry": 2})
        assert [b.last for b in one.held()] == [0]


def test_many_threads_append_without_a_gap(tmp_path: Path) -> None:
    box = Box(tmp_path)
    with box.file(durable=False) as file:
        outbox = box.open(file=file)
        threads = [threading.Thread(target=telemetry, args=(outbox, 50)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert numbers(rows(outbox)) == list(range(1, 201))


def test_old_boots_without_records_are_forgotten(tmp_path: Path) -> None:
    box = Box(tmp_path, bounds=Bounds(keep_sent_s=0))
    with box.file(durable=False) as file:
        for n in range(80):
            outbox = box.open(f"boot-{n}", file=file)
            telemetry(outbox)
            send_all(outbox)
            box.uptime_ms += 1
        assert len(outbox.held()) <= 66
        assert outbox.held()[0].boot_id == "boot-79"


def test_memory_serves_as_well() -> None:
    box = Box(None)
    with box.file(durable=False) as file:
        outbox = box.open(file=file)
        telemetry(outbox, 3)
        assert numbers(rows(outbox)) == [1, 2, 3]


def test_a_day_offline_fits_into_the_default_bounds(tmp_path: Path) -> None:
    """1,440 records with as many outcomes as one can have, and two swaps an hour."""
    box = Box(tmp_path)
    full = {f"outcome_{n}": n for n in range(64)}
    with box.file(durable=False) as file:
        outbox = box.open(file=file)
        for _ in range(48):
            telemetry(outbox, 30, outcomes=full)
            swap(outbox)
        assert outbox.state().dropped == {}
        assert numbers(rows(outbox)) == list(range(1, 48 * 31 + 1))


def test_a_look_with_another_program_stops_nothing(tmp_path: Path) -> None:
    box = Box(tmp_path)
    with box.file() as file:
        outbox = box.open(file=file)
        telemetry(outbox)
        other = sqlite3.connect(box.path)
        try:
            other.execute("BEGIN")
            assert other.execute("SELECT count(*) FROM records").fetchone() == (1,)
            assert telemetry(outbox) == [2]
        finally:
            other.close()
