"""A collector's writer over a database on a disk that is full, then read-only; exits 0 if all is
well.

    unshare -Urm python -m support.small_database FOLDER

mounts a small disk over FOLDER, which nobody outside sees and which goes with the process.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import structlog
from structlog.testing import capture_logs

from edgeqa.acks import Receipt
from edgeqa_cloud.database import Database
from edgeqa_cloud.inbox import Inbox
from edgeqa_cloud.migrate import migrate
from edgeqa_cloud.quarantine import Keep
from edgeqa_cloud.reading import Arrival
from edgeqa_cloud.settings import DatabaseSettings
from edgeqa_cloud.storage import Storage
from edgeqa_cloud.tables import records
from edgeqa_cloud.watching import Unwatched
from edgeqa_cloud.writer import Writer
from support.cloud import Store, arrival, telemetry, wait_until
from support.small_disk import fill, run


class Desk:
    """A writer, and what it acknowledged."""

    def __init__(self, database: Database) -> None:
        self.acknowledged: list[int] = []
        self.inbox = Inbox(most=1000, enough=10, wait_s=0.01)
        self.writer = Writer(
            inbox=self.inbox,
            storage=Storage(database=database, keep=Keep(10, 1000)),
            acknowledge=self._acknowledge,
            watcher=Unwatched(),
            batch_messages=10,
            max_payload_bytes=1 << 20,
            log=structlog.get_logger(),
        )

    def _acknowledge(self, receipts: Sequence[Receipt]) -> None:
        self.acknowledged += [one.packet_id for one in receipts]

    def put(self, *seqs: int) -> None:
        for seq in seqs:
            one = arrival("telemetry", telemetry(seq=seq))
            self.inbox.put(Arrival(one.topic, one.payload, one.size, one.received_ms,
                                   Receipt(1, seq)))  # fmt: skip


def troubled(desk: Desk, database: Database, disk: Path, seqs: range) -> None:
    """Nothing is acknowledged in the trouble that began; all is when it is over."""
    before = list(desk.acknowledged)
    desk.put(*seqs)
    wait_until(lambda: not desk.writer.database_ok, f"trouble on {disk}")
    assert desk.acknowledged == before
    assert desk.writer.alive


def over(desk: Desk, database: Database, last: int) -> None:
    """Everything is stored once and acknowledged in order."""
    wait_until(lambda: desk.writer.database_ok and len(desk.acknowledged) == last, "recovery")
    assert desk.acknowledged == list(range(1, last + 1))
    assert [row.seq for row in Store(database).rows(records)] == list(range(1, last + 1))


def main() -> None:
    """See the module."""
    disk = Path(sys.argv[1])
    run("mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", disk)
    os.chdir("/")
    settings = DatabaseSettings(database=f"sqlite:///{disk / 'cloud.db'}")
    with capture_logs() as logs, Database.of(settings) as database:
        migrate(database)
        desk = Desk(database)
        desk.writer.start()
        desk.put(*range(1, 11))
        over(desk, database, 10)
        fill(disk / "others")
        troubled(desk, database, disk, range(11, 400))
        (disk / "others").unlink()
        over(desk, database, 399)
        database.engine.dispose()
        # A second mount over the first: one with a file open for writing cannot be made read-only.
        run("mount", "--bind", disk, disk)
        run("mount", "-o", "remount,bind,ro", disk)
        troubled(desk, database, disk, range(400, 420))
        run("umount", disk)
        over(desk, database, 419)
        desk.writer.stop()
    events = [one["event"] for one in logs]
    assert events.count("database_failed") == events.count("database_back") == 2, events


if __name__ == "__main__":
    main()
