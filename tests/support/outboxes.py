"""Outboxes with clocks that a test sets, and what goes into them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import structlog
from structlog.testing import LogCapture

from edgeqa.courier import Courier
from edgeqa.errors import BrokerError
from edgeqa.outbox import Bounds, Outbox, OutboxFile, Row
from edgeqa.packets import Delivered, Outgoing
from edgeqa.telemetry_messages import SwapReport, Telemetry

DEVICE = "pi-1"


class Box:
    """An outbox in a folder; `open` again is another start of the agent.

    Attributes:
        uptime_ms: of the agent, as the outbox sees it.
        wall_ms: the device's time.
        events: what was logged.
    """

    def __init__(self, folder: Path | None, *, bounds: Bounds | None = None) -> None:
        self.path: Path | str = ":memory:" if folder is None else folder / "outbox.sqlite"
        self.bounds = bounds or Bounds()
        self.uptime_ms = 0
        self.wall_ms = 1_800_000_000_000
        self._capture = LogCapture()
        self.log: structlog.typing.FilteringBoundLogger = structlog.wrap_logger(
            None, processors=[self._capture], wrapper_class=structlog.make_filtering_bound_logger(0)
        )

    @property
    def events(self) -> list[str]:
        return [str(entry["event"]) for entry in self._capture.entries]

    def file(self, *, durable: bool = True) -> OutboxFile:
        return OutboxFile(self.path, log=self.log, durable=durable, now=lambda: self.wall_ms / 1000)

    def open(
        self, boot_id: str = "boot-1", *, file: OutboxFile | None = None, device: str = DEVICE
    ) -> Outbox:
        return Outbox(
            file=file or self.file(),
            device=device,
            boot_id=boot_id,
            uptime_ms=lambda: self.uptime_ms,
            wall_ms=lambda: self.wall_ms,
            bounds=self.bounds,
            log=self.log,
        )


def telemetry(outbox: Outbox, count: int = 1, **fields: Any) -> list[int]:
    """Append records of serving; their numbers."""
    return [outbox.append(Telemetry, interval_s=60, **fields).seq for _ in range(count)]


def swap(outbox: Outbox, count: int = 1) -> list[int]:
    """Append reports of swaps; their numbers."""
    report = {"state": "failed", "name": "minilm", "version": "1.0.0"}
    return [outbox.append(SwapReport, **report).seq for _ in range(count)]


def rows(outbox: Outbox) -> list[Row]:
    """All that waits."""
    return outbox.waiting(after=0, limit=1_000_000)


def numbers(found: list[Row]) -> list[int]:
    """Of rows."""
    return [json.loads(row.payload)["seq"] for row in found]


def send_all(outbox: Outbox) -> None:
    """As if a courier had."""
    outbox.mark_sent([row.id for row in rows(outbox)])


class Wire:
    """A link in memory: what is published waits in `open` until the test says what became of it.

    Attributes:
        error: code of the `BrokerError` that `publish` raises; None: it does not.
        too_large: payloads with these bytes in them are refused.
    """

    def __init__(self) -> None:
        self.connected = True
        self.open: list[tuple[int, Delivered | None]] = []
        self.published: list[int] = []
        self.error: str | None = None
        self.too_large: bytes | None = None

    def publish(self, message: Outgoing, delivered: Delivered | None = None) -> None:
        if self.error is not None:
            raise BrokerError("no", code=self.error)
        if self.too_large is not None and self.too_large in message.payload:
            raise BrokerError("no", code="packet_too_large")
        seq = json.loads(message.payload)["seq"]
        self.published.append(seq)
        self.open.append((seq, delivered))

    def answer(self, reason: str | None = None, count: int = 1_000_000) -> None:
        """The broker answers the oldest publications."""
        answered, self.open = self.open[:count], self.open[count:]
        for _, delivered in answered:
            assert delivered is not None
            delivered(reason)


class Post:
    """A courier over a wire, with a clock that the test moves."""

    def __init__(self, outbox: Outbox, **options: Any) -> None:
        self.now = 1000.0
        self.wire = Wire()
        self.woken = 0
        self.courier = Courier(
            outbox=outbox,
            link=self.wire,
            wake=self._wake,
            log=structlog.get_logger(),
            now=lambda: self.now,
            uniform=lambda _low, high: high,
            **options,
        )

    def _wake(self) -> None:
        self.woken += 1

    def step(self) -> float | None:
        return self.courier.step()

    def exchange(self, steps: int = 1000) -> None:
        """Send and answer until nothing more comes."""
        for _ in range(steps):
            self.courier.step()
            if not self.wire.open:
                return
            self.wire.answer()
        raise AssertionError("it does not end")
