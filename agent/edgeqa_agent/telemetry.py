"""Writes a record to the outbox from time to time: how the device served since the record before.

An idle device writes rarely, a busy one often. A record that the outbox cannot take, because the
disk is full, is not lost: what it said is added to the next.

Thread: one of its own; `stop` and `finish` are called by the main thread.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from pydantic import ValidationError
from structlog.typing import FilteringBoundLogger

from edgeqa.errors import EdgeqaError, PayloadError
from edgeqa.messages import ModelRef
from edgeqa.telemetry_messages import Model, Outboxed, Telemetry
from edgeqa_agent.meter import Figures
from edgeqa_agent.vitals import Vitals

# The first record tells that the device has come up and with what; after a moment, in which the
# first questions come.
_FIRST_AFTER_S = 5.0
# How often temperature and throttling are looked at: a board warms up in tens of seconds, and a
# look costs well under a millisecond from the kernel's files, some with the board's command.
_SAMPLE_EVERY_S = 10.0
_MOST_INTERVAL_S = 8_640_000.0  # of the contract
_END_TIMEOUT_S = 5.0


class Append(Protocol):
    """Where records are kept, such as `Outbox.append`."""

    def __call__(self, record_type: type[Telemetry], **fields: Any) -> object:
        """Keep a record.

        Raises:
            PayloadError: it is no record.
            EdgeqaError, OSError, sqlite3.Error: it cannot be kept now.
        """


@dataclass(frozen=True, slots=True)
class Sources:
    """Whom to ask about the agent.

    Attributes:
        take: figures since it was asked before.
        model: that answers now.
        companion: the quicker one beside it, while it is loaded.
        connects: connections to the broker since the start, the first included.
        processes: role and process id of the agent's processes.
        outbox: state of the outbox.
    """

    take: Callable[[], Figures]
    model: Callable[[], ModelRef | None]
    companion: Callable[[], ModelRef | None]
    connects: Callable[[], int]
    processes: Callable[[], Sequence[tuple[str, int]]]
    outbox: Callable[[], Outboxed | None]


@dataclass(frozen=True, slots=True)
class Schedule:
    """When a record is due.

    Attributes:
        interval_s: where something happened.
        idle_interval_s: where nothing did.
    """

    interval_s: float
    idle_interval_s: float

    def wait_s(self, *, since_s: float, happened: bool, first: bool) -> float:
        """How long from now until a record is due; 0 or less: it is.

        Args:
            since_s: since the record before, or the start.
            happened: whether there is something to tell.
            first: whether there was no record before.
        """
        wait_s = self.idle_interval_s
        if happened:
            wait_s = min(wait_s, self.interval_s)
        if first:
            wait_s = min(wait_s, self.interval_s, _FIRST_AFTER_S)
        return wait_s - since_s


class TelemetryLoop:
    """Makes records of what its sources say.

    Args:
        sources: of the agent.
        vitals: of the device.
        schedule: when to write.
        append: takes the records.
        log: for records that are not taken.
        clock: seconds that are never set back.
    """

    def __init__(
        self,
        *,
        sources: Sources,
        vitals: Vitals,
        schedule: Schedule,
        append: Append,
        log: FilteringBoundLogger,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sources = sources
        self._vitals = vitals
        self._schedule = schedule
        self._append = append
        self._log = log
        self._clock = clock
        self._told_at = self._tried_at = clock()
        self._figures = Figures()
        self._model: ModelRef | None = None
        self._throttled: list[str] | None = None
        self._connects = 1  # the first is none again
        self._first = True
        self._failing = False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="telemetry", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def stop(self) -> None:
        """Write no more by itself; `finish` may still be called."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(_END_TIMEOUT_S)

    def finish(self) -> None:
        """After `stop`: write what was not told yet, if there is anything."""
        self.stop()
        if self._thread.is_alive():
            return  # it hangs with a record in its hands
        self._look()
        if self._happened():
            self._write(self._clock())

    def step(self) -> float:
        """Do what is due; how long to wait before the next time."""
        self._look()
        now = self._clock()
        wait_s = self._wait_s(now)
        if wait_s <= 0:
            self._write(now)
            wait_s = self._wait_s(now)
        return min(wait_s, _SAMPLE_EVERY_S)

    def _run(self) -> None:
        wait_s = 0.0
        while not self._stopping.wait(max(0.0, wait_s)):
            try:
                wait_s = self.step()
            except Exception:  # noqa: BLE001  a thread's edge; logged with its traceback
                self._log.exception("telemetry_failed")
                wait_s = self._schedule.idle_interval_s

    def _look(self) -> None:
        self._figures = self._figures.plus(self._sources.take())
        self._vitals.sample()

    def _happened(self) -> bool:
        return (
            not self._figures.empty
            or self._sources.model() != self._model
            or self._vitals.throttling_changed(self._throttled)
            or self._sources.connects() > self._connects
        )

    def _wait_s(self, now: float) -> float:
        return self._schedule.wait_s(
            since_s=now - self._tried_at, happened=self._happened(), first=self._first
        )

    def _write(self, now: float) -> None:
        self._tried_at, self._first = now, False
        model, connects = self._sources.model(), self._sources.connects()
        throttled = self._vitals.throttled
        try:
            self._append(
                Telemetry,
                interval_s=round(min(now - self._told_at, _MOST_INTERVAL_S), 3),
                model=_named(model),
                companion=_named(self._sources.companion()),
                processes=self._vitals.processes(self._sources.processes()),
                reconnects=max(0, connects - self._connects),
                outbox=self._sources.outbox(),
                **self._figures.as_fields(),
                **self._vitals.fields(),
            )
        except (ValidationError, PayloadError) as error:
            # It would be refused again, and with it all that follows: better to lose this one.
            self._log.error("telemetry_invalid", reason=str(error))
        except (EdgeqaError, OSError, sqlite3.Error) as error:
            if not self._failing:
                self._log.warning("telemetry_not_kept", reason=str(error))
            self._failing = True
            return
        if self._failing:
            self._log.info("telemetry_kept_again")
        self._failing = False
        self._told_at = now
        self._model, self._throttled, self._connects = model, throttled, max(1, connects)
        self._figures = Figures()
        self._vitals.begin()


def _named(model: ModelRef | None) -> Model | None:
    return (
        None
        if model is None
        else Model(name=model.name, version=model.version, digest=model.digest)
    )
