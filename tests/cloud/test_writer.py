"""The writer: one bad row stalls nothing, trouble is waited out, nothing is acknowledged early."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import structlog
from sqlalchemy.exc import DataError, OperationalError
from support.cloud import Store, arrival, telemetry, wait_until

from edgeqa.acks import Receipt
from edgeqa_cloud.faults import is_passing, is_trouble
from edgeqa_cloud.inbox import Inbox
from edgeqa_cloud.reading import Arrival, Message
from edgeqa_cloud.stored import Stored
from edgeqa_cloud.tables import quarantine, records
from edgeqa_cloud.watching import Unwatched
from edgeqa_cloud.writer import Writer

SUPPORT = Path(__file__).parents[1]
ALONE = ["unshare", "--user", "--map-root-user", "--mount"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(SUPPORT)}


class Choosy:
    """A storage whose database refuses some rows, as no test can make a real one do.

    What a device may say is checked before; this stands for what nobody thought of.
    """

    def __init__(self, store: Store, *, refuses: set[int], error: Exception) -> None:
        self.store_, self.refuses, self.error = store, refuses, error
        self.transactions = 0

    def store(self, items: Sequence[Any], **options: Any) -> Stored:
        self.transactions += 1
        if any(isinstance(one, Message) and one.body.seq in self.refuses for one in items):
            raise self.error
        return self.store_.storage.store(items, **options)


def writer(storage: Any, acknowledged: list[int]) -> tuple[Inbox, Writer]:
    inbox = Inbox(most=1000, enough=100, wait_s=0.05)
    made = Writer(
        inbox=inbox,
        storage=storage,
        acknowledge=lambda receipts: acknowledged.extend(one.packet_id for one in receipts),
        watcher=Unwatched(),
        batch_messages=100,
        max_payload_bytes=1 << 20,
        log=structlog.get_logger(),
    )
    return inbox, made


def put(inbox: Inbox, *seqs: int, generation: int = 1) -> None:
    for seq in seqs:
        one = arrival("telemetry", telemetry(seq=seq))
        receipt = Receipt(generation, seq)
        inbox.put(Arrival(one.topic, one.payload, one.size, one.received_ms, receipt))


@pytest.mark.parametrize(
    "error", [DataError("", None, ValueError("out of range")), OverflowError(), RecursionError()]
)
def test_a_row_that_the_database_refuses_goes_alone_to_quarantine(
    store: Store, error: Exception
) -> None:
    acknowledged: list[int] = []
    inbox, made = writer(Choosy(store, refuses={13, 14, 77}, error=error), acknowledged)
    put(inbox, *range(1, 101))
    made.start()
    wait_until(lambda: len(acknowledged) == 100, "all acknowledged")
    made.stop()
    assert acknowledged == list(range(1, 101))
    stored = {row.seq for row in store.rows(records) if row.kind == "telemetry"}
    assert stored == set(range(1, 101)) - {13, 14, 77}
    assert [row.code for row in store.rows(quarantine)] == ["not_storable"] * 3


def test_trouble_is_waited_out_and_nothing_acknowledged_meanwhile(store: Store) -> None:
    acknowledged: list[int] = []
    gone = OperationalError("", None, Exception("server closed the connection"))
    choosy = Choosy(store, refuses={1}, error=gone)
    inbox, made = writer(choosy, acknowledged)
    made.start()
    put(inbox, 1, 2, 3)
    wait_until(lambda: choosy.transactions >= 2, "tried again")
    assert not made.database_ok
    assert acknowledged == []
    choosy.refuses = set()
    wait_until(lambda: len(acknowledged) == 3, "acknowledged")
    assert made.database_ok
    made.stop()
    assert [row.seq for row in store.rows(records)] == [1, 2, 3]


def test_a_writer_that_stops_commits_what_was_taken(store: Store) -> None:
    acknowledged: list[int] = []
    inbox, made = writer(store.storage, acknowledged)
    put(inbox, *range(1, 301))
    made.start()
    made.stop()
    assert acknowledged == list(range(1, 301))
    assert not inbox.put(arrival("telemetry", telemetry()))


def test_a_writer_whose_database_is_away_stops_all_the_same(store: Store) -> None:
    acknowledged: list[int] = []
    gone = OperationalError("", None, Exception("no"))
    choosy = Choosy(store, refuses={1}, error=gone)
    inbox, made = writer(choosy, acknowledged)
    made.start()
    put(inbox, 1)
    wait_until(lambda: not made.database_ok, "trouble")
    made.stop()
    assert not made.alive
    assert acknowledged == []


def test_trouble_and_faults_are_told_apart() -> None:
    class Deadlock(Exception):  # noqa: N818  as psycopg names it
        sqlstate = "40P01"

    assert is_trouble(OperationalError("", None, Exception()))
    assert not is_trouble(DataError("", None, Exception()))
    assert not is_trouble(OverflowError())
    assert is_passing(OperationalError("", None, Deadlock()))
    assert not is_passing(OperationalError("", None, Exception()))


def test_the_inbox_gives_up_older_copies_and_never_what_is_open() -> None:
    inbox = Inbox(most=3, enough=10, wait_s=0)
    put(inbox, 1, 2, 3, 4)  # a broker that does not mind the receive maximum
    assert len(inbox) == 4
    assert not inbox.put(arrival("telemetry", telemetry()))  # of QoS 0, promised to nobody
    put(inbox, 1, 2, generation=2)
    taken = [one.receipt for one in inbox.take(9, timeout_s=0)]
    assert [(one.generation, one.packet_id) for one in taken if one] == [(1, 4), (2, 1), (2, 2)]
    assert inbox.take(2, timeout_s=0) == []


def may_mount() -> bool:
    """Whether this system lets a process have mounts of its own."""
    try:
        done = subprocess.run([*ALONE, sys.executable, "-c", ""], capture_output=True, check=False)
    except OSError:
        return False
    return done.returncode == 0


@pytest.mark.skipif(not may_mount(), reason="needs user namespaces")
def test_a_full_disk_and_a_read_only_one_are_waited_out(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    command = [*ALONE, sys.executable, "-W", "error", "-m", "support.small_database", str(disk)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=150, env=ENVIRONMENT
    )
    assert done.returncode == 0, done.stderr
