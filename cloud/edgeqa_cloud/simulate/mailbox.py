"""Outbox and courier of each simulated device; all outboxes lie in one file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from logging import ERROR
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import structlog
from structlog.typing import FilteringBoundLogger

from edgeqa.courier import Courier
from edgeqa.outbox import Outbox, OutboxFile
from edgeqa.telemetry_messages import (
    MAX_RANGES,
    RECORDS,
    BootRange,
    Outboxed,
    RecordKind,
    SeqRange,
)
from edgeqa_cloud.simulate.counters import Counters
from edgeqa_cloud.simulate.faults import FaultyLink
from edgeqa_cloud.simulate.ledger import Ledger
from edgeqa_cloud.simulate.loop import EventLoop, Timer

FILE = "outbox.sqlite"


class MailRoom:
    """The file that holds all outboxes; opened by `with`."""

    def __init__(
        self, *, folder: Path, loop: EventLoop, counters: Counters, ledger: Ledger | None = None
    ) -> None:
        self._loop = loop
        self._counters = counters
        self._ledger = ledger
        # Ten thousand couriers would each warn that nobody collects; the counters say it.
        self._log = structlog.wrap_logger(
            structlog.get_logger(), wrapper_class=structlog.make_filtering_bound_logger(ERROR)
        )
        # A process that is killed loses nothing; a power cut may take the last moments, and nobody
        # waits for ten thousand disks.
        self._file = OutboxFile(folder / FILE, log=self._log, durable=False)

    def __enter__(self) -> Self:
        self._file.open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def waiting(self) -> int:
        """Records of all devices that no broker has acknowledged."""
        with self._file.reading() as db:
            sql = "SELECT count(*) FROM records WHERE sent_ms IS NULL"
            (count,) = db.execute(sql).fetchone()
        return int(count)

    def box(
        self,
        *,
        device: str,
        boot_id: str,
        link: FaultyLink,
        now_ms: Callable[[], int],
        uptime_ms: Callable[[], int],
    ) -> Mailbox:
        """A device's own."""
        outbox = Outbox(
            file=self._file,
            device=device,
            boot_id=boot_id,
            uptime_ms=uptime_ms,
            wall_ms=now_ms,
            log=self._log,
        )
        return Mailbox(
            outbox=outbox,
            link=link,
            loop=self._loop,
            counters=self._counters,
            ledger=self._ledger,
            log=self._log,
        )


class Mailbox:
    """One device's outbox, and the courier that sends what is in it.

    Args:
        outbox: of the device.
        link: with the faults of the simulation.
        loop: drives the courier.
        counters: of the fleet.
        ledger: takes each record that was written.
        log: for what goes wrong.
    """

    def __init__(
        self,
        *,
        outbox: Outbox,
        link: FaultyLink,
        loop: EventLoop,
        counters: Counters,
        ledger: Ledger | None,
        log: FilteringBoundLogger,
    ) -> None:
        self._outbox = outbox
        self._loop = loop
        self._counters = counters
        self._ledger = ledger
        self._due = False
        self._later: Timer | None = None
        self._courier = Courier(outbox=outbox, link=link, wake=self._wake, log=log, now=loop.clock)

    @property
    def acknowledged(self) -> int:
        """For the heartbeat."""
        return self._outbox.acknowledged

    def held(self) -> list[BootRange]:
        """For the heartbeat, which takes no more of them."""
        return self._outbox.held()[:MAX_RANGES]

    def state(self) -> Outboxed:
        """For telemetry."""
        return self._outbox.state()

    def append(self, kind: RecordKind, fields: dict[str, Any]) -> None:
        """Write a record."""
        record = self._outbox.append(RECORDS[kind], **fields)
        self._counters.appended += 1
        if self._ledger is not None:
            self._ledger.note(record.device, record.boot_id, record.seq, record.to_json())

    def resend(self, ranges: Sequence[SeqRange]) -> tuple[int, int]:
        """Let records wait again; how many do, and how many are not held."""
        return self._outbox.resend(ranges)

    def connected(self) -> None:
        """A connection stands."""
        self._courier.connected()

    def heard(self) -> None:
        """Somebody listens."""
        self._courier.heard()

    def _wake(self) -> None:
        if not self._due:
            self._due = True
            self._loop.call_soon(self._step)

    def _step(self) -> None:
        self._due = False
        if self._later is not None:
            self._later.cancel()
        again_s = self._courier.step()
        self._later = None if again_s is None else self._loop.call_later(again_s, self._wake)
