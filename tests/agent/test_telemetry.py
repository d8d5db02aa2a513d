"""When records are written and what they cover, by a clock that the test moves."""

from __future__ import annotations

import os
import sqlite3
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from edgeqa.errors import EdgeqaError, PayloadError
from edgeqa.messages import ModelRef
from edgeqa.telemetry_messages import Outboxed, Telemetry
from edgeqa_agent.jobs import Outcome
from edgeqa_agent.meter import Meter
from edgeqa_agent.telemetry import Schedule, Sources, TelemetryLoop
from edgeqa_agent.vitals import Vitals

MODEL = ModelRef(name="m", version="1.0.0", digest="sha256:" + "a" * 64)
OTHER = ModelRef(name="m", version="1.0.1", digest="sha256:" + "b" * 64)
THROTTLED = "sys/devices/platform/soc/soc:firmware/get_throttled"
ANSWERED = Outcome([("x", 0, 1, 0.5)], 0.1, 1, 3.0, begun_at=100.0)


@dataclass
class Bench:
    """A loop over a meter, files of a board, and an outbox that the test may break."""

    root: Path
    now: float = 1000.0
    model: ModelRef | None = MODEL
    companion: ModelRef | None = None
    connects: int = 1
    broken: Exception | None = None
    records: list[Telemetry] = field(default_factory=list)
    attempts: list[float] = field(default_factory=list)
    meter: Meter = field(default_factory=Meter)

    def __post_init__(self) -> None:
        self.throttle("0")
        self.loop = TelemetryLoop(
            sources=Sources(
                take=self.meter.take,
                model=lambda: self.model,
                companion=lambda: self.companion,
                connects=lambda: self.connects,
                processes=lambda: [("agent", os.getpid()), ("model", 0)],
                outbox=lambda: Outboxed(waiting=3, bytes=900, dropped={"telemetry": 2}),
            ),
            vitals=Vitals(state_dir=self.root, root=self.root),
            schedule=Schedule(interval_s=60.0, idle_interval_s=900.0),
            append=self.append,
            log=structlog.get_logger(),
            clock=lambda: self.now,
        )

    def append(self, record_type: type[Telemetry], **fields: Any) -> Telemetry:
        self.attempts.append(self.now)
        if self.broken is not None:
            raise self.broken
        identity = {"device": "pi", "boot_id": "b", "time_ms": 1, "uptime_ms": 1}
        seq = len(self.records) + 1
        record = record_type.model_validate({**identity, "seq": seq, **fields})
        self.records.append(record_type.model_validate_json(record.to_json()))
        return record

    def throttle(self, bits: str) -> None:
        path = self.root / THROTTLED
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(bits)

    def answer(self, questions: int = 1) -> None:
        self.meter.completed([ANSWERED] * questions, received_at=99.9, done_at=100.1)

    def run(self, seconds: float) -> list[float]:
        """Let the loop run for a while; when records were written, from the start on."""
        until, before = self.now + seconds, len(self.records)
        written = []
        while True:
            wait_s = self.loop.step()
            assert wait_s > 0
            if len(self.records) > before:
                before = len(self.records)
                written.append(self.now - 1000)
            if self.now + wait_s > until:
                self.now = until
                return written
            self.now += wait_s


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_first_record_comes_soon_and_an_idle_device_writes_rarely(bench: Bench) -> None:
    assert bench.run(3600) == [5, 905, 1805, 2705]
    assert [record.interval_s for record in bench.records] == [5, 900, 900, 900]


def test_busy_device_writes_often_and_is_idle_again_afterwards(bench: Bench) -> None:
    bench.run(100)
    for _ in range(3):
        bench.answer()
        bench.run(60)
    written = bench.run(2000)

    assert [record.outcomes for record in bench.records[1:4]] == [{"answered": 1}] * 3
    assert [record.interval_s for record in bench.records[1:4]] == pytest.approx([100, 60, 60], 0.1)
    assert bench.records[4].outcomes == {}
    assert bench.records[4].interval_s == 900
    assert len(written) == 2


def test_question_after_a_long_idle_time_is_told_at_the_next_look(bench: Bench) -> None:
    bench.run(500)
    bench.answer()

    assert bench.run(10) == [500]


def test_record_names_the_companion_and_what_it_answered_for_which_reason(bench: Bench) -> None:
    bench.companion = OTHER
    bench.meter.chosen(MODEL, "calm", 2)
    bench.meter.chosen(OTHER, "load", 5)
    bench.meter.chosen(OTHER, "load", 1)
    bench.run(10)
    bench.companion = None
    bench.answer()
    bench.run(100)

    first, second = bench.records[:2]
    assert first.companion is not None
    assert first.companion.digest == OTHER.digest
    told = [(one.model.version, one.reason, one.questions) for one in first.choices or []]
    assert told == [("1.0.1", "load", 6), ("1.0.0", "calm", 2)]
    assert (second.companion, second.choices) == (None, None)


def test_records_cover_the_time_without_gaps_and_questions_once(bench: Bench) -> None:
    for _ in range(50):
        bench.answer(3)
        bench.run(37)
    bench.loop.finish()

    assert sum(record.outcomes["answered"] for record in bench.records) == 150
    assert sum(record.interval_s for record in bench.records) == pytest.approx(50 * 37)
    for part in ("queue", "tokenise", "inference", "decode", "total"):
        histograms = [getattr(record.latency, part) for record in bench.records]
        assert sum(histogram.count for histogram in histograms) == 150


@pytest.mark.parametrize("change", ["model", "throttled", "reconnect"])
def test_change_is_told_without_waiting_for_the_idle_interval(bench: Bench, change: str) -> None:
    bench.run(300)
    if change == "model":
        bench.model = OTHER
    elif change == "throttled":
        bench.throttle("50005")
    else:
        bench.connects += 2
    written = bench.run(60)

    assert written == [300]
    record = bench.records[-1]
    assert record.model is not None
    assert record.model.digest == (OTHER if change == "model" else MODEL).digest
    assert ("under_voltage" in (record.throttled or [])) == (change == "throttled")
    assert record.reconnects == (2 if change == "reconnect" else 0)
    assert bench.run(600) == []


def test_end_of_throttling_is_told_too(bench: Bench) -> None:
    bench.run(100)
    bench.throttle("4")
    bench.run(10)
    bench.throttle("0")
    bench.run(200)

    assert [record.throttled for record in bench.records] == [
        [],
        ["throttled"],
        ["throttled"],  # it was, for a part of the interval
        [],
    ]


def test_model_that_is_replaced_for_a_moment_is_no_change(bench: Bench) -> None:
    bench.run(100)
    bench.model = None  # its process died and is being replaced
    assert bench.loop.step() > 0
    assert bench.records[-1].model is None
    bench.model = MODEL

    assert bench.run(120) == [160]
    assert bench.records[-1].model is not None


def test_first_connection_is_no_reconnection(bench: Bench) -> None:
    bench.connects = 0
    bench.run(5)
    bench.connects = 1
    bench.run(900)
    assert [record.reconnects for record in bench.records] == [0, 0]

    bench.connects = 2
    bench.run(60)
    assert bench.records[-1].reconnects == 1


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        sqlite3.OperationalError("database or disk is full"),
        EdgeqaError("the outbox is closed"),
    ],
)
def test_full_disk_loses_nothing_and_is_logged_once(bench: Bench, error: Exception) -> None:
    with capture_logs() as logs:
        bench.run(5)
        bench.broken = error
        for _ in range(20):
            bench.answer()
            bench.run(60)
        assert len(bench.records) == 1
        bench.broken = None
        bench.answer()
        bench.run(60)

    record = bench.records[1]
    assert record.outcomes == {"answered": 21}
    assert record.latency is not None
    assert record.latency.total is not None
    assert record.latency.total.count == 21
    assert record.interval_s == pytest.approx(20 * 60, abs=61)
    events = [entry["event"] for entry in logs]
    assert events == ["telemetry_not_kept", "telemetry_kept_again"]


def test_outbox_that_refuses_is_not_asked_at_every_sample(bench: Bench) -> None:
    bench.broken = OSError(28, "No space left on device")
    bench.answer()
    bench.run(600)

    assert len(bench.attempts) == pytest.approx(10, abs=2)


@pytest.mark.parametrize("unfit", ["model", "figures"])
def test_record_that_can_never_be_sent_does_not_block_those_that_follow(
    bench: Bench, unfit: str
) -> None:
    bench.run(5)
    if unfit == "model":
        bench.model = ModelRef(name="no name!", version="x", digest="y")
    else:
        bench.broken = PayloadError("outcomes: too many")
        bench.answer()
    with capture_logs() as logs:
        bench.run(60)
    assert [entry["event"] for entry in logs] == ["telemetry_invalid"]

    bench.model, bench.broken = MODEL, None
    bench.answer()
    bench.run(60)
    assert bench.records[-1].outcomes == {"answered": 1}


def test_stop_writes_what_was_not_told_and_nothing_if_there_is_nothing(bench: Bench) -> None:
    bench.run(20)
    bench.loop.finish()
    assert len(bench.records) == 1

    bench.answer(2)
    bench.loop.finish()
    assert bench.records[-1].outcomes == {"answered": 2}


def test_agent_and_outbox_are_told(bench: Bench) -> None:
    bench.run(5)

    record = bench.records[0]
    assert record.outbox == Outboxed(waiting=3, bytes=900, dropped={"telemetry": 2})
    assert record.processes == []  # the board of this test has no processes
    assert record.model is not None
    assert record.model.name == "m"


def test_thread_outlives_a_source_that_fails(tmp_path: Path) -> None:
    """A bug in a probe ends no thread, and a stop does not wait for the next look."""
    called = threading.Event()
    bench = Bench(tmp_path)

    def fail() -> ModelRef | None:
        called.set()
        raise RuntimeError("a bug")

    sources = Sources(
        take=bench.meter.take,
        model=fail,
        companion=lambda: None,
        connects=lambda: 1,
        processes=list,
        outbox=lambda: None,
    )
    loop = TelemetryLoop(
        sources=sources,
        vitals=Vitals(state_dir=tmp_path, root=tmp_path),
        schedule=Schedule(interval_s=60.0, idle_interval_s=900.0),
        append=bench.append,
        log=structlog.get_logger(),
    )
    with capture_logs() as logs:
        loop.start()
        assert called.wait(5)
        loop.stop()
    assert [entry["event"] for entry in logs] == ["telemetry_failed"]
