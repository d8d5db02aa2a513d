"""A simulated device follows wishes and obeys commands by the rules of a real one."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

import pytest

from edgeqa.model_messages import Desired, Gates, ModelState
from edgeqa.packets import Delivery, Outgoing
from edgeqa.telemetry_messages import SwapReport, Trigger
from edgeqa.topics import DeviceTopics
from edgeqa_cloud.simulate.loop import EventLoop
from edgeqa_cloud.simulate.measure import Loaded, Measured
from edgeqa_cloud.simulate.models import known_models
from edgeqa_cloud.simulate.orders import Orders
from edgeqa_cloud.simulate.physics import Character
from edgeqa_cloud.simulate.wishes import Pace, WishFollower

MODELS = ["first@1.0.0:em=70:f1=80", "next@1.0.0:em=72:f1=82", "poor@1.0.0:em=20:f1=30",
          "broken@1.0.0:fail=1", "weak@1.0.0:dies=1"]  # fmt: skip
NOW_MS = 1_800_000_000_000


class Follower:
    """A device's models, in a time that the test moves."""

    def __init__(self) -> None:
        self.now = 50.0
        self.loop = EventLoop(clock=lambda: self.now)
        self.reports: list[dict[str, Any]] = []
        self.records: list[SwapReport] = []
        self.changes: list[Trigger] = []
        rng = random.Random("device")
        first, models = known_models(MODELS)
        character = Character.drawn(rng, questions_per_minute=1)
        self.it = WishFollower(
            loop=self.loop,
            models=models,
            first=Loaded(first, first.ref()),
            measured=Measured(character=character, rng=rng, questions=10),
            pace=Pace(fetch_s=20, load_s=4),
            rng=rng,
            report=self.reports.append,
            record=self._record,
            changed=self.changes.append,
        )

    def _record(self, fields: dict[str, Any]) -> None:
        own = {"device": "d", "boot_id": "b", "seq": 1, "time_ms": 0, "uptime_ms": 0}
        self.records.append(SwapReport.model_validate({**fields, **own}))

    def wish(self, name: str, wish_id: str, **fields: Any) -> None:
        self.it.wish(Desired(id=wish_id, name=name, version="1.0.0", **fields))

    def pass_time(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            self.now += 0.5
            self.loop.turn(self.now)

    @property
    def states(self) -> list[str]:
        return [str(report["state"]) for report in self.reports]


@pytest.fixture
def device() -> Iterator[Follower]:
    made = Follower()
    yield made
    made.loop.close()


def test_a_wish_takes_its_time_and_its_steps(device: Follower) -> None:
    device.wish("next", "w1", rollout="r1")
    assert device.states == ["fetching"]
    device.pass_time(9)
    assert device.states == ["fetching"]
    device.pass_time(60)
    assert device.states == ["fetching", "verifying", "loading", "testing", "active"]
    assert device.it.active.ref.name == "next"
    assert device.changes == [Trigger.SWAP]
    [record] = device.records
    assert (record.state, record.wish, record.rollout) == ("active", "w1", "r1")
    assert record.previous is not None
    assert record.previous.name == "first"
    assert (record.duration_ms or 0) > 10_000


def test_a_wish_is_followed_once(device: Follower) -> None:
    device.wish("next", "w1")
    device.pass_time(70)
    told = len(device.reports)
    device.wish("next", "w1")
    device.pass_time(70)
    assert len(device.reports) == told
    assert len(device.records) == 1


def test_a_newer_wish_ends_one_under_way(device: Follower) -> None:
    device.wish("poor", "w1")
    device.wish("next", "w2")
    device.pass_time(70)
    assert device.it.active.ref.name == "next"
    assert [record.wish for record in device.records] == ["w2"]


def test_a_wish_that_is_taken_back(device: Follower) -> None:
    device.wish("next", "w1")
    device.it.withdraw()
    device.pass_time(70)
    assert device.it.active.ref.name == "first"
    assert device.states == ["fetching", "active"]


@pytest.mark.parametrize(
    ("name", "fields", "code"),
    [
        ("nobody", {}, "unknown_package"),
        ("poor", {"gates": Gates(min_f1=70)}, "gate_accuracy"),
        ("poor", {"gates": Gates(min_exact_match=70)}, "gate_accuracy"),
        ("next", {"gates": Gates(max_p95_ms=0.1)}, "gate_latency"),
        ("next", {"gates": Gates(max_memory_mb=1)}, "gate_memory"),
    ],
)
def test_what_is_not_good_enough_fails_with_the_devices_code(
    device: Follower, name: str, fields: dict[str, Any], code: str
) -> None:
    device.wish(name, "w1", **fields)
    device.pass_time(70)
    assert device.states[-1] == "failed"
    [record] = device.records
    assert record.reason is not None
    assert record.reason.code == code
    assert device.it.active.ref.name == "first"
    assert device.changes == []


def test_a_model_with_a_failing_share_fails(device: Follower) -> None:
    device.wish("broken", "w1")
    device.pass_time(70)
    assert device.states[-1] == "failed"


def test_a_model_that_dies_is_rolled_back(device: Follower) -> None:
    device.wish("weak", "w1")
    device.pass_time(150)
    assert device.it.active.ref.name == "first"
    assert [record.state for record in device.records] == ["active", "rolled_back"]
    assert device.records[1].reason is not None
    assert device.records[1].reason.code == "model_keeps_dying"
    assert device.reports[-1]["state"] is ModelState.ROLLED_BACK
    assert not device.it.rollback()


class Commanded:
    """The orders of one device, and its replies."""

    def __init__(self) -> None:
        self.topics = DeviceTopics("d")
        self.replies: list[Outgoing] = []
        self.done: list[bytes] = []
        self.orders = Orders(
            topics=self.topics,
            boot_id="b",
            now_ms=lambda: NOW_MS,
            model=known_models([])[0].ref,
            publish=self.replies.append,
            verbs={"ping": self._ping},
        )

    def _ping(self, payload: bytes) -> dict[str, Any]:
        self.done.append(payload)
        return {}

    def command(
        self, verb: str = "ping", *, number: int = 1, expires_ms: int = NOW_MS, **how: Any
    ) -> dict[str, Any]:
        payload = (
            how.pop("payload", None)
            or json.dumps({"schema": 1, "number": number, "expires_ms": expires_ms}).encode()
        )
        values = {"retain": False, "redelivered": False, "response_topic": None} | how
        delivery = Delivery(
            topic=self.topics.command(verb), payload=payload, correlation=b"c", expiry_s=None,
            received_at=0.0, receipt=None, **values,
        )  # fmt: skip
        self.orders.obey(delivery)
        reply: dict[str, Any] = json.loads(self.replies.pop().payload) if self.replies else {}
        return reply


def test_a_command_is_obeyed_once() -> None:
    device = Commanded()
    assert device.command(number=7)["status"] == "ok"
    for number in (7, 6):
        assert device.command(number=number)["error"]["code"] == "command_replayed"
    assert device.command(number=8)["status"] == "ok"
    assert len(device.done) == 2


@pytest.mark.parametrize(
    ("how", "code"),
    [
        ({"verb": "dance"}, "unknown_command"),
        ({"verb": "packages"}, "unknown_command"),
        ({"retain": True}, "command_replayed"),
        ({"expires_ms": NOW_MS - 1}, "command_expired"),
        ({"payload": b"{"}, "not_json"),
        ({"payload": b"\xff"}, "not_utf8"),
        ({"payload": b'{"schema": 9, "number": 1, "expires_ms": 1}'}, "unsupported_schema"),
        ({"payload": b"x" * 20_000}, "payload_too_large"),
        ({"number": 0}, "invalid_payload"),
    ],
)
def test_a_bad_command_is_refused_with_a_code(how: dict[str, Any], code: str) -> None:
    device = Commanded()
    assert device.command(**how)["error"]["code"] == code
    assert device.done == []


def test_a_reply_goes_nowhere_where_it_could_do_harm() -> None:
    device = Commanded()
    assert device.command(response_topic="edgeqa/v1/devices/other/commands/rollback") == {}
    assert device.command(number=2, response_topic="my/answers")["status"] == "ok"
