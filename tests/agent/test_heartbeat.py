"""What heartbeats say and when they are due, with a clock that the test moves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.outboxes import Box, send_all, telemetry

from edgeqa.outbox import Bounds, Outbox, OutboxFile
from edgeqa.packets import Outgoing
from edgeqa.telemetry_messages import BootRange, Heartbeat
from edgeqa_agent.heartbeat import Heart


def read(messages: list[Outgoing]) -> list[Heartbeat]:
    return [Heartbeat.model_validate_json(message.payload) for message in messages]


class Beating:
    """A heart over an outbox of its own."""

    def __init__(self, box: Box, file: OutboxFile, boot_id: str = "boot-1") -> None:
        self.box = box
        self.now = 0.0
        self.outbox: Outbox = box.open(boot_id, file=file)
        self.heart = Heart(
            outbox=self.outbox,
            interval_s=60,
            log=box.log,
            wall_ms=lambda: box.wall_ms,
            now=lambda: self.now,
        )

    def beat(self) -> Heartbeat:
        (message,) = self.heart.beat()
        return read([message])[0]


@pytest.fixture
def file(tmp_path: Path) -> Iterator[OutboxFile]:
    with Box(tmp_path).file(durable=False) as opened:
        yield opened


def test_it_says_where_the_outbox_stands(tmp_path: Path, file: OutboxFile) -> None:
    box = Box(tmp_path)
    box.uptime_ms = 5_000
    beating = Beating(box, file)
    telemetry(beating.outbox, 3)
    first = beating.beat()
    assert (first.device, first.boot_id, first.seq) == ("pi-1", "boot-1", 0)
    assert (first.time_ms, first.uptime_ms, first.interval_s) == (box.wall_ms, 5_000, 60)
    assert first.boots == [BootRange(boot_id="boot-1", first=1, last=0)]
    send_all(beating.outbox)
    later = beating.beat()
    assert (later.seq, later.boots) == (3, None)


def test_it_goes_to_its_topic_and_is_not_kept_longer_than_it_is_true(
    tmp_path: Path, file: OutboxFile
) -> None:
    (message,) = Beating(Box(tmp_path), file).heart.beat()
    assert message.topic == "edgeqa/v1/devices/pi-1/heartbeat"
    assert (message.retain, message.expiry_s) == (False, 60)


def test_it_is_due_at_a_connect_and_at_its_interval(tmp_path: Path, file: OutboxFile) -> None:
    beating = Beating(Box(tmp_path), file)
    heart = beating.heart
    assert heart.wait_s() == 0
    beating.beat()
    assert heart.wait_s() == 60
    beating.now = 45
    assert heart.wait_s() == 15
    heart.connected()
    assert heart.wait_s() == 0
    assert beating.beat().boots is not None
    assert heart.wait_s() == 60
    beating.now = 500
    assert heart.wait_s() == 0


def test_all_boots_are_told_again_every_hour(tmp_path: Path, file: OutboxFile) -> None:
    beating = Beating(Box(tmp_path), file)
    told = 0
    for _ in range(180):
        told += beating.beat().boots is not None
        beating.now += 60
    assert told == 3


def test_an_earlier_boot_is_told_when_more_of_it_was_sent(tmp_path: Path, file: OutboxFile) -> None:
    box = Box(tmp_path)
    telemetry(box.open("boot-1", file=file), 3)
    beating = Beating(box, file, "boot-2")
    telemetry(beating.outbox)
    first = beating.beat()
    assert first.boots == [
        BootRange(boot_id="boot-2", first=1, last=0),
        BootRange(boot_id="boot-1", first=1, last=0),
    ]
    send_all(beating.outbox)
    second = beating.beat()
    assert second.seq == 1
    assert second.boots == [BootRange(boot_id="boot-1", first=1, last=3)]
    assert beating.beat().boots is None


def test_many_boots_are_told_in_several_messages(tmp_path: Path, file: OutboxFile) -> None:
    box = Box(tmp_path)
    for n in range(100):
        telemetry(box.open(f"boot-{n}", file=file))
    beating = Beating(box, file, "now")
    told = read(beating.heart.beat())
    assert [len(one.boots or []) for one in told] == [64, 37]
    assert len({b.boot_id for one in told for b in one.boots or []}) == 101
    assert len(beating.heart.beat()) == 1


def test_an_outbox_that_cannot_be_read_does_not_silence_the_device(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    box = Box(tmp_path / "file", bounds=Bounds())
    beating = Beating(box, box.file())
    heartbeat = beating.beat()
    assert (heartbeat.seq, heartbeat.boots) == (0, None)
    assert box.events == ["outbox_unusable"]
