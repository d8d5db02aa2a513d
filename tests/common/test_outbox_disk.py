"""The outbox's file where things go wrong: killed, cut off, damaged, full, read-only."""

from __future__ import annotations

import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.outboxes import Box, numbers, rows, send_all, telemetry

from edgeqa.outbox import OutboxError

SUPPORT = Path(__file__).parents[1]
ALONE = ["unshare", "--user", "--map-root-user", "--mount"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(SUPPORT)}


def may_mount() -> bool:
    """Whether this system lets a process have mounts of its own."""
    try:
        done = subprocess.run([*ALONE, sys.executable, "-c", ""], capture_output=True, check=False)
    except OSError:
        return False
    return done.returncode == 0


def test_killed_at_any_moment_it_keeps_what_it_said_it_has(tmp_path: Path) -> None:
    """Six starts, each killed in the middle of its work: no number is lost, none is given twice."""
    box, seed = Box(tmp_path), random.Random(5)
    appended: dict[str, int] = {}
    marked: set[tuple[str, int]] = set()
    for boot in range(6):
        boot_id = f"boot-{boot}"
        with subprocess.Popen(
            [sys.executable, "-m", "support.kill_outbox", str(box.path), boot_id],
            stdout=subprocess.PIPE,
            env=ENVIRONMENT,
        ) as process:
            assert process.stdout is not None
            first = process.stdout.readline()  # it is at work
            time.sleep(seed.uniform(0.0, 0.1))
            process.kill()
            said = (first + process.stdout.read()).decode().splitlines(keepends=True)
        for line in said:
            if line.endswith("\n"):
                what, *of = line.split()
                if what == "a":
                    appended[boot_id] = int(of[0])
                else:
                    marked.add((of[0], int(of[1])))
    assert len(appended) == 6
    with box.file() as file:
        outbox = box.open("a-look", file=file)
        with file.reading() as db:
            stored = db.execute(
                "SELECT boot_id, seq, sent_ms IS NOT NULL, payload FROM records "
                "JOIN boots ON boots.id = boot ORDER BY records.id"
            ).fetchall()
        assert outbox.state().dropped == {}
        for boot_id, last in appended.items():
            seqs = [seq for boot, seq, _, _ in stored if boot == boot_id]
            # One more may be on disk than could be said.
            assert seqs == list(range(1, len(seqs) + 1))
            assert len(seqs) in {last, last + 1}
        assert marked <= {(boot, seq) for boot, seq, sent, _ in stored if sent}
        assert all(json.loads(payload)["seq"] == seq for _, seq, _, payload in stored)
        assert len(rows(outbox)) == sum(not sent for _, _, sent, _ in stored)


def test_a_log_that_is_cut_off_anywhere_leaves_all_before_the_cut(tmp_path: Path) -> None:
    """As a power cut leaves it whose disk wrote a part: never half a record, never a hole."""
    box = Box(tmp_path)
    file = box.file()
    outbox = box.open(file=file)
    telemetry(outbox, 12)
    send_all(outbox)
    telemetry(outbox, 8)
    wal = Path(f"{box.path}-wal").read_bytes()
    seed = random.Random(3)
    counts = set()
    for at in sorted({0, len(wal), *(seed.randrange(len(wal)) for _ in range(40))}):
        cut = tmp_path / f"cut-{at}"
        cut.mkdir()
        shutil.copy(box.path, cut / "outbox.sqlite")
        (cut / "outbox.sqlite-wal").write_bytes(wal[:at])
        there = Box(cut)
        with there.file() as found:
            again = there.open(file=found)
            last = telemetry(again)[0] - 1
            held = again.held()[0]
            assert (held.first, last in range(21)) == (1, True)
            assert again.resend([]) == (0, 0)
            with found.reading() as db:
                assert db.execute("SELECT count(*) FROM records").fetchone() == (last + 1,)
        counts.add(last)
        assert there.events == []
    assert max(counts) == 20
    assert len(counts) > 5
    file.close()


@pytest.mark.parametrize("damage", ["garbage", "cut", "bits", "newer", "another"])
def test_a_damaged_file_is_set_aside(damage: str, tmp_path: Path) -> None:
    box = Box(tmp_path)
    with box.file() as file:
        telemetry(box.open(file=file), 50)
    path = Path(box.path)
    content = path.read_bytes()
    if damage == "garbage":
        path.write_bytes(random.Random(1).randbytes(10_000))
    elif damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "bits":
        path.write_bytes(content[:4096] + bytes(b ^ 0x55 for b in content[4096:]))
    else:
        path.unlink()
        db = sqlite3.connect(path)
        db.execute("CREATE TABLE records (id)" if damage == "another" else "PRAGMA user_version=9")
        db.close()
    bad = path.read_bytes()
    with box.file() as file:
        outbox = box.open("boot-2", file=file)
        assert telemetry(outbox) == [1]
        assert numbers(rows(outbox)) == [1]
    assert box.events == ["outbox_damaged"]
    (kept,) = tmp_path.glob("outbox.sqlite.corrupt-20270115T080000Z")
    assert kept.read_bytes() == bad


def test_damage_that_is_met_later_costs_no_number_twice(tmp_path: Path) -> None:
    box = Box(tmp_path)
    with box.file() as file:
        outbox = box.open(file=file)
        telemetry(outbox, 200)
        send_all(outbox)
        telemetry(outbox, 3)
        with file.reading() as db:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        path = Path(box.path)
        content = path.read_bytes()
        path.write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))
        file.close()
        assert telemetry(outbox) == [204]
        assert numbers(rows(outbox)) == [204]
        assert outbox.acknowledged == 203  # gone, counted, and not to be asked for
        assert outbox.held()[0].first == 204
        assert outbox.state().dropped == {"unknown": 3}
    assert box.events.count("outbox_damaged") == 1


def test_damaged_files_do_not_pile_up(tmp_path: Path) -> None:
    box = Box(tmp_path)
    for _ in range(5):
        Path(box.path).write_bytes(b"no database" * 100)
        box.wall_ms += 60_000
        with box.file() as file:
            file.open()
    assert len(list(tmp_path.glob("*.corrupt-*"))) == 2


@pytest.mark.skipif(not may_mount(), reason="needs user namespaces")
def test_disk_that_is_full_and_then_read_only(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    done = subprocess.run(
        [*ALONE, sys.executable, "-m", "support.small_outbox", disk],
        capture_output=True,
        text=True,
        check=False,
        env=ENVIRONMENT,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_folder_that_may_not_be_written_to(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    folder.mkdir(mode=0o500)
    outbox = Box(folder).open()
    with pytest.raises(OutboxError) as error:
        telemetry(outbox)
    assert error.value.code == "outbox_failed"
    folder.chmod(0o700)
    assert telemetry(outbox) == [1]
    outbox.close()


def test_a_folder_that_is_a_file_is_an_error_of_ours(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    outbox = Box(tmp_path / "state").open()
    with pytest.raises(OutboxError, match=r"outbox\.sqlite"):
        telemetry(outbox)


def test_the_file_is_its_owners_alone(tmp_path: Path) -> None:
    box = Box(tmp_path)
    with box.file() as file:
        telemetry(box.open(file=file))
        assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "outbox.sqlite").symlink_to(tmp_path / "elsewhere")
    outbox = Box(tmp_path).open()
    with pytest.raises(OutboxError):
        telemetry(outbox)
    assert not (tmp_path / "elsewhere").exists()
