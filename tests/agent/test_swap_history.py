"""Which reports become records: each event once, repeats and restarts notwithstanding."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import structlog
from support.outboxes import Box, rows

from edgeqa.messages import Fault, ModelRef
from edgeqa.model_messages import ModelState
from edgeqa.outbox import OutboxFile
from edgeqa_agent.reports import Reports, Subject
from edgeqa_agent.swap_history import SwapHistory

DIGEST = "sha256:" + "a" * 64
OTHER = "sha256:" + "b" * 64


class Device:
    """Reports as a swapper tells them, and the records that come of them."""

    def __init__(self, box: Box, file: OutboxFile, boot_id: str = "boot-1") -> None:
        self.now = 100.0
        self.outbox = box.open(boot_id, file=file)
        history = SwapHistory(outbox=self.outbox, log=box.log, now=lambda: self.now)
        ref = ModelRef(name="minilm", version="1.0.0", digest=DIGEST)
        self.reports = Reports(
            device="pi-1",
            boot_id=boot_id,
            topic="t",
            models=lambda: (ref, None),
            publish=lambda _: None,
            log=structlog.get_logger(),
            told=history.told,
        )

    def tell(
        self, state: ModelState, wish: str | None = None, digest: str = DIGEST, **more: Any
    ) -> None:
        self.reports.tell(state, Subject("minilm", "1.0.0", digest, wish, None), **more)

    @property
    def records(self) -> list[dict[str, Any]]:
        return [json.loads(row.payload) for row in rows(self.outbox)]

    @property
    def states(self) -> list[tuple[str, str | None]]:
        return [(record["state"], record.get("wish")) for record in self.records]


def test_a_swap_is_recorded_when_it_ends(tmp_path: Path) -> None:
    box = Box(tmp_path)
    with box.file() as file:
        device = Device(box, file)
        device.tell(ModelState.FETCHING, "w1")
        device.now += 2
        device.tell(ModelState.TESTING, "w1")
        device.now += 0.5
        device.tell(ModelState.ACTIVE, "w1")
        (record,) = device.records
    assert (record["state"], record["wish"], record["digest"]) == ("active", "w1", DIGEST)
    assert record["duration_ms"] == 2500.0
    assert record["active"] == {"name": "minilm", "version": "1.0.0", "digest": DIGEST}


def test_why_it_failed_is_recorded(tmp_path: Path) -> None:
    box = Box(tmp_path)
    with box.file() as file:
        device = Device(box, file)
        reason = Fault(code="gate_failed", message="<b>' OR 1=1")
        device.tell(ModelState.FAILED, "w1", reason=reason)
        (record,) = device.records
    assert record["reason"] == {"code": "gate_failed", "message": "<b>' OR 1=1"}
    assert "duration_ms" not in record


def test_renewals_and_repeats_of_a_wish_are_no_events(tmp_path: Path) -> None:
    box = Box(tmp_path)
    with box.file() as file:
        device = Device(box, file)
        device.tell(ModelState.FAILED, "w1")
        device.reports.renew()
        device.tell(ModelState.ACTIVE, "w2")
        for _ in range(3):
            device.tell(ModelState.FAILED, "w1")
            device.tell(ModelState.ACTIVE, "w2")
        device.tell(ModelState.ROLLED_BACK, "w2")
        assert device.states == [("failed", "w1"), ("active", "w2"), ("rolled_back", "w2")]


def test_a_restart_repeats_nothing(tmp_path: Path) -> None:
    box = Box(tmp_path)
    with box.file() as file:
        first = Device(box, file)
        first.tell(ModelState.ACTIVE)
        first.tell(ModelState.ACTIVE, "w1", OTHER)
    with box.file() as file:
        second = Device(box, file, "boot-2")
        second.tell(ModelState.ACTIVE, "w1", OTHER)
        second.tell(ModelState.ACTIVE)
        assert second.states == [("active", None), ("active", "w1")]


def test_a_swap_whose_report_was_cut_off_is_recorded_at_the_next_start(tmp_path: Path) -> None:
    """The power went between the exchange and the report: the start tells that it serves."""
    box = Box(tmp_path)
    with box.file() as file:
        Device(box, file).tell(ModelState.TESTING, "w1")
    with box.file() as file:
        second = Device(box, file, "boot-2")
        second.tell(ModelState.ACTIVE, "w1")
        assert second.states == [("active", "w1")]


def test_each_model_that_is_left_unwished_is_an_event(tmp_path: Path) -> None:
    box = Box(tmp_path)
    with box.file() as file:
        device = Device(box, file)
        device.tell(ModelState.ROLLED_BACK)
        device.tell(ModelState.ROLLED_BACK)
        assert device.states == [("rolled_back", None)] * 2


def test_an_outbox_that_fails_stops_no_swap(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    box = Box(tmp_path / "file")
    device = Device(box, box.file())
    device.tell(ModelState.ACTIVE, "w1")
    assert box.events == ["swap_not_recorded"]


def test_what_is_no_record_stops_no_swap_either(tmp_path: Path) -> None:
    box = Box(tmp_path)
    with box.file() as file:
        device = Device(box, file)
        device.reports.tell(ModelState.ACTIVE, Subject("no name", "1.0.0", DIGEST, "w1"))
        assert device.states == []
    assert box.events == ["swap_not_recorded"]
