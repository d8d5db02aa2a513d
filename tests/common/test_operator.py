"""The operator's side over a real broker, against a device that keeps the contract."""

from __future__ import annotations

import json
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from support.broker import Broker
from support.fake_device import NEW_DIGEST, OLD, FakeDevice, Step, fail

import edgeqa
from edgeqa.commands import RisingNumbers, read_reply
from edgeqa.errors import AnswerError, AnswerTimeoutError, BrokerError, ExitCode, PayloadError
from edgeqa.following import Course, Ending
from edgeqa.messages import Status
from edgeqa.model_messages import Desired, Gates, Reported, Shadow, Verb
from edgeqa.operator import Operator, new_wish_id
from edgeqa.packets import Outgoing

PAGE = (Path(__file__).parents[2] / "docs" / "swapping.md").read_text(encoding="utf-8")
GARBAGE = [b"", b"\xff\xfe", b"{", b"[]", b"null", b'{"schema":2}', b'{"schema":1}', b"x" * 5000]

REFUSAL = (
    b'{"schema":1,"status":"error","verb":"ping","device":"d","boot_id":"b",'
    b'"error":{"code":"unknown_command","message":"no"}}'
)


def hold(_: Desired) -> Iterator[Step]:
    """Begin, and go on when the test says so."""
    yield {"state": "fetching", "progress": 10}
    yield None
    yield {"state": "active", "digest": NEW_DIGEST}


def report(**fields: Any) -> bytes:
    base = {"device": "pi5", "boot_id": "b1", "time_ms": 1, "name": "n", "version": "1.0.0"}
    return Reported.model_validate(base | fields).to_json()


def desired(wish_id: str) -> bytes:
    return Desired(id=wish_id, name="n", version="1.0.0").to_json()


def test_a_wish_is_followed_step_by_step(broker: Broker) -> None:
    with FakeDevice(broker.address()) as device, Operator(broker=broker.url) as operator:
        wish_id = new_wish_id()
        following = operator.follow("pi5", wish_id, 30)
        gates, shadow = Gates(min_f1=90), Shadow(fraction=0.5, questions=10)
        wish = operator.wish(
            "pi5", "new", "2.0.0", digest=NEW_DIGEST, gates=gates, shadow=shadow, rollout="r1",
            wish_id=wish_id,
        )  # fmt: skip
        reports = list(following)
        assert [str(one.state) for one in reports] == [
            "fetching", "fetching", "verifying", "loading", "testing", "active",
        ]  # fmt: skip
        assert {one.wish for one in reports} == {wish_id}
        assert {one.rollout for one in reports} == {"r1"}
        assert reports[-1].previous == OLD
        assert following.course.ending is Ending.FINAL
        assert device.wishes == [wish]
        assert operator.reported("pi5") == reports[-1]
        assert operator.desired("pi5") == wish
        assert list(following) == []


def test_every_wish_has_an_id_of_its_own(broker: Broker) -> None:
    with Operator(broker=broker.url) as operator:
        ids = {operator.wish("pi5", "new", "2.0.0").id for _ in range(3)}
    assert len(ids) == 3
    assert all(len(one) == 32 for one in ids)


def test_a_device_that_is_offline_follows_when_it_comes(broker: Broker) -> None:
    seen: list[Status] = []
    with Operator(broker=broker.url) as operator:
        with FakeDevice(broker.address()):
            pass
        wish_id = new_wish_id()
        with operator.follow("pi5", wish_id, 60, on_presence=seen.append) as following:
            operator.wish("pi5", "new", "2.0.0", wish_id=wish_id)
            with FakeDevice(broker.address()) as device:
                # An agent's presence names its model, so it comes again with each swap.
                device.link.publish(device.presence("online", model=OLD))
                states = [str(one.state) for one in following]
    assert states[-1] == "active"
    assert [one.status for one in seen] == ["offline", "online"]


@pytest.mark.parametrize("state", ["failed", "rolled_back"])
def test_an_ending_with_a_reason_is_final(broker: Broker, state: str) -> None:
    script = fail("gate_latency", state=state)
    with (
        FakeDevice(broker.address(), script=script),
        Operator(broker=broker.url) as operator,
    ):
        wish_id = new_wish_id()
        following = operator.follow("pi5", wish_id, 30)
        operator.wish("pi5", "new", "2.0.0", wish_id=wish_id)
        last = list(following)[-1]
        assert last.reason is not None
        assert (str(last.state), last.reason.code) == (state, "gate_latency")
        assert last.active == OLD


def test_two_operators_at_once_and_the_newest_wish_wins(broker: Broker) -> None:
    with (
        FakeDevice(broker.address(), script=hold) as device,
        Operator(broker=broker.url) as first,
        Operator(broker=broker.url) as second,
    ):
        a, b = new_wish_id(), new_wish_id()
        following_a, following_b = first.follow("pi5", a, 30), second.follow("pi5", b, 30)
        first.wish("pi5", "one", "1.0.0", wish_id=a)
        assert next(following_a).wish == a
        second.wish("pi5", "two", "2.0.0", wish_id=b)
        assert list(following_a) == []
        assert following_a.course.ending is Ending.SUPERSEDED
        assert following_a.course.newer is not None
        assert following_a.course.newer.name == "two"
        assert next(following_b).wish == b
        device.go_on()
        assert [str(one.state) for one in following_b] == ["active"]


def test_a_wish_that_was_replaced_before_the_device_saw_it_ends(broker: Broker) -> None:
    with Operator(broker=broker.url) as operator:
        wish_id = new_wish_id()
        following = operator.follow("pi5", wish_id, 30)
        operator.wish("pi5", "one", "1.0.0", wish_id=wish_id)
        operator.wish("pi5", "two", "2.0.0")
        assert list(following) == []
        assert following.course.ending is Ending.SUPERSEDED


def test_a_withdrawn_wish_is_not_followed(broker: Broker) -> None:
    with Operator(broker=broker.url) as operator:
        wish_id = new_wish_id()
        following = operator.follow("pi5", wish_id, 30)
        operator.wish("pi5", "new", "2.0.0", wish_id=wish_id)
        operator.withdraw("pi5")
        operator.withdraw("pi5")
        assert list(following) == []
        assert following.course.ending is Ending.WITHDRAWN
        assert operator.desired("pi5", timeout_s=0.3) is None
        with FakeDevice(broker.address()) as device:
            time.sleep(0.2)
            assert device.wishes == []


def test_what_was_begun_ends_when_it_is_withdrawn(broker: Broker) -> None:
    with FakeDevice(broker.address(), script=hold), Operator(broker=broker.url) as operator:
        wish_id = new_wish_id()
        following = operator.follow("pi5", wish_id, 30)
        operator.wish("pi5", "new", "2.0.0", wish_id=wish_id)
        next(following)
        operator.withdraw("pi5")
        assert list(following) == []
        assert following.course.ending is Ending.WITHDRAWN


def test_garbage_among_the_reports_is_ignored(broker: Broker) -> None:
    def noisy(wish: Desired) -> Iterator[Step]:
        for payload in GARBAGE:
            device.publish_report(payload)
        device.report(device="pi6", state="failed", name="x", version="1.0.0", wish=wish.id)
        yield {"state": "fetching", "progress": 10}
        device.publish_report(b"\0" * 300_000)
        yield {"state": "active"}

    with (
        FakeDevice(broker.address(), script=noisy) as device,
        Operator(broker=broker.url) as operator,
    ):
        wish_id = new_wish_id()
        following = operator.follow("pi5", wish_id, 30)
        operator.wish("pi5", "new", "2.0.0", wish_id=wish_id)
        assert [str(one.state) for one in following] == ["fetching", "active"]


@pytest.mark.parametrize("payload", GARBAGE)
def test_a_retained_report_that_is_none_is_none(broker: Broker, payload: bytes) -> None:
    with Operator(broker=broker.url) as operator:
        with FakeDevice(broker.address()) as device:
            device.publish_report(payload)
        assert operator.reported("pi5", timeout_s=0.3) is None


def test_a_wish_for_a_device_that_was_never_there_times_out(broker: Broker) -> None:
    with Operator(broker=broker.url) as operator:
        wish_id = new_wish_id()
        following = operator.follow("pi5", wish_id, 0.5)
        operator.wish("pi5", "new", "2.0.0", wish_id=wish_id)
        expected = "has not begun with the wish after 0.5 s; the broker holds no status of it"
        with pytest.raises(AnswerTimeoutError, match=expected) as caught:
            list(following)
        assert caught.value.exit_code == ExitCode.UNREACHABLE


def test_a_timeout_says_what_was_reported_last_and_whether_it_is_online(broker: Broker) -> None:
    def waiting(_: Desired) -> Iterator[Step]:
        reason = {"code": "repository_unreachable", "message": "no route"}
        yield {"state": "fetching", "progress": 40, "reason": reason}
        yield None

    with Operator(broker=broker.url) as operator:
        wish_id = new_wish_id()
        with FakeDevice(broker.address(), script=waiting):
            following = operator.follow("pi5", wish_id, 3)
            operator.wish("pi5", "new", "2.0.0", wish_id=wish_id)
            next(following)
            expected = (
                r"device pi5 is still fetching 40 % \(no route \[repository_unreachable\]\) "
                "after 3 s; it is online"
            )
            with pytest.raises(AnswerTimeoutError, match=expected):
                next(following)


def test_stopping_the_operator_ends_what_waits(broker: Broker) -> None:
    operator = Operator(broker=broker.url)
    with pytest.raises(BrokerError, match="not started"):
        operator.follow("pi5", "w", 10)
    operator.start()
    following = operator.follow("pi5", new_wish_id(), 30)
    threading.Timer(0.2, operator.stop).start()
    with pytest.raises(AnswerError) as caught:
        next(following)
    assert caught.value.code == "client_stopped"


@pytest.mark.parametrize(
    ("device", "name", "version", "more"),
    [
        ("a/#", "new", "1.0.0", {}),
        ("", "new", "1.0.0", {}),
        ("pi5", "../new", "1.0.0", {}),
        ("pi5", "", "1.0.0", {}),
        ("pi5", "n" * 65, "1.0.0", {}),
        ("pi5", "new", "1.0", {}),
        ("pi5", "new", "1.0.0\n", {}),
        ("pi5", "new", "1.0.٣", {}),
        ("pi5", "new", "1.0.0", {"digest": "sha256:" + "A" * 64}),
        ("pi5", "new", "1.0.0", {"digest": "md5:1"}),
        ("pi5", "new", "1.0.0", {"wish_id": ""}),
        ("pi5", "new", "1.0.0", {"wish_id": "x" * 129}),
    ],
)
def test_what_is_no_wish_is_not_published(
    broker: Broker, device: str, name: str, version: str, more: dict[str, Any]
) -> None:
    with Operator(broker=broker.url) as operator:
        with pytest.raises(PayloadError):
            operator.wish(device, name, version, **more)
        assert operator.desired("pi5", timeout_s=0.2) is None


def test_a_broker_that_does_not_let_us_wish(start_broker: Any, tmp_path: Any) -> None:
    acl = tmp_path / "acl"
    acl.write_text("topic read #\ntopic write edgeqa/v1/devices/other/#\n")
    acl.chmod(0o600)
    broker: Broker = start_broker(extra=(f"acl_file {acl}",))
    with Operator(broker=broker.url) as operator:
        with pytest.raises(BrokerError, match="Not authorized") as caught:
            operator.wish("pi5", "new", "1.0.0")
        assert caught.value.code == "publish_refused"
        operator.wish("other", "new", "1.0.0")


def test_a_command_carries_what_makes_it_safe(broker: Broker) -> None:
    with FakeDevice(broker.address()) as device, Operator(broker=broker.url) as operator:
        before_ms = int(time.time() * 1000)
        reply = operator.command("pi5", Verb.PING, timeout_s=20)
        reply2 = operator.command("pi5", "ping", timeout_s=20)
        (_, first), (_, second) = device.commands
        assert (reply.number, reply2.number) == (first.number, second.number)
        assert reply.active == OLD
        assert second.number > first.number >= before_ms
        assert 20_000 <= first.expires_ms - before_ms < 40_000
        assert first.id is not None
        [delivery, _] = device.deliveries
        assert delivery.correlation == bytes.fromhex(first.id)
        assert delivery.expiry_s is not None
        assert 1 <= delivery.expiry_s <= 20
        assert not delivery.retain


def test_many_commands_at_once_are_all_obeyed(broker: Broker) -> None:
    """A number that overtakes another on its way would have the other refused."""
    with (
        FakeDevice(broker.address()) as device,
        Operator(broker=broker.url) as operator,
        ThreadPoolExecutor(8) as pool,
    ):
        replies = list(pool.map(lambda _: operator.command("pi5", "ping", timeout_s=60), range(60)))
        assert {reply.status for reply in replies} == {"ok"}
        numbers = [command.number for _, command in device.commands]
        assert numbers == sorted(set(numbers))


def test_rollback_prune_and_packages(broker: Broker) -> None:
    package = {"model": OLD.model_dump(), "role": "active", "embedded": True, "bytes": 5}
    with (
        FakeDevice(broker.address(), packages=[package]) as device,
        Operator(broker=broker.url) as operator,
    ):
        listed = operator.command("pi5", Verb.PACKAGES).packages
        assert listed is not None
        assert listed[0].embedded
        assert operator.command("pi5", Verb.PRUNE).freed_bytes == 23_400_000
        with pytest.raises(AnswerError, match="no previous model") as caught:
            operator.command("pi5", Verb.ROLLBACK)
        assert caught.value.code == "nothing_to_roll_back"
        assert caught.value.exit_code == ExitCode.REFUSED
        device.previous = OLD
        assert operator.command("pi5", Verb.ROLLBACK).active == OLD


def test_a_command_nobody_hears_is_told_at_once(broker: Broker) -> None:
    with Operator(broker=broker.url) as operator:
        with pytest.raises(AnswerError, match=r"no agent listens on .*/commands/ping") as caught:
            operator.command("nowhere", "ping", timeout_s=60)
        assert caught.value.code == "no_agent"
        assert caught.value.exit_code == ExitCode.UNREACHABLE
        for device, verb in (("a/b", "ping"), ("pi5", "reboot"), ("pi5", "ping/x"), ("pi5", "")):
            with pytest.raises(PayloadError):
                operator.command(device, verb)
        with pytest.raises(PayloadError, match="timeout_s"):
            operator.command("pi5", "ping", timeout_s=float("nan"))


def test_a_command_without_a_reply_times_out(broker: Broker) -> None:
    with (
        FakeDevice(broker.address(), silent=True) as device,
        Operator(broker=broker.url) as operator,
    ):
        with pytest.raises(AnswerTimeoutError, match=r"in 0\.5 s; it is online"):
            operator.command("pi5", "ping", timeout_s=0.5)
        assert len(device.deliveries) == 1


def test_a_command_is_not_repeated_after_an_outage(broker: Broker) -> None:
    """It may have been obeyed, and its repeat would be refused."""
    with (
        FakeDevice(broker.address(), silent=True) as device,
        Operator(broker=broker.url) as operator,
        ThreadPoolExecutor(1) as pool,
    ):
        waiting = pool.submit(operator.command, "pi5", "rollback", timeout_s=8)
        deadline = time.monotonic() + 20
        while not device.deliveries and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(0.3)  # the broker's PUBACK
        broker.restart(kill=True)
        with pytest.raises(AnswerTimeoutError):
            waiting.result(60)
        assert [d.redelivered for d in device.deliveries] == [False]


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (b"", "invalid_answer"),
        (b"\xff", "invalid_answer"),
        (b'{"schema":1,"status":"ok"}', "invalid_answer"),
        (b'{"schema":1,"status":"error","verb":"ping","device":"d","boot_id":"b"}', "refused"),
        (REFUSAL, "unknown_command"),
    ],
)
def test_a_reply_that_is_none_is_an_error(payload: bytes, code: str) -> None:
    error = read_reply(payload, "device d")
    assert isinstance(error, AnswerError)
    assert error.code == code


def test_numbers_rise_whatever_the_clock_does() -> None:
    times = iter([100, 100, 50, 200, 10])
    numbers = RisingNumbers(lambda: next(times))
    assert [numbers.next() for _ in range(5)] == [100, 101, 102, 200, 201]
    numbers = RisingNumbers(lambda: 7)
    with ThreadPoolExecutor(8) as pool:
        given = list(pool.map(lambda _: numbers.next(), range(1000)))
    assert len(set(given)) == 1000


class TestCourse:
    """What ends a wish, without a broker."""

    def test_what_came_before_the_wish_does_not_end_it(self) -> None:
        course = Course("pi5", "mine")
        course.on_desired(desired("older"))
        course.on_desired(b"")
        course.on_desired(b"garbage")
        assert course.on_reported(report(state="active", wish="older")) is None
        course.on_desired(desired("mine"))
        assert course.on_reported(report(state="fetching", wish="older")) is None
        assert course.ending is None

    def test_the_same_report_again_is_no_news(self) -> None:
        course = Course("pi5", "mine")
        payload = report(state="fetching", progress=5, wish="mine")
        assert course.on_reported(payload) is not None
        assert course.on_reported(payload) is None

    def test_a_restart_of_the_agent_is_no_end(self) -> None:
        course = Course("pi5", "mine")
        course.on_reported(report(state="loading", wish="mine"))
        course.on_reported(report(state="active", wish="older", boot_id="b2"))
        course.on_reported(report(state="active", boot_id="b2"))
        assert course.ending is None
        course.on_reported(report(state="fetching", wish="mine", boot_id="b2"))
        assert course.last is not None
        assert course.last.boot_id == "b2"

    def test_a_rollback_by_command_ends_it(self) -> None:
        course = Course("pi5", "mine")
        course.on_reported(report(state="loading", wish="mine"))
        reason = {"code": "rolled_back", "message": "a command said so"}
        course.on_reported(report(state="rolled_back", wish="older", reason=reason))
        assert course.ending is Ending.SUPERSEDED
        assert course.turned_to is not None

    def test_the_death_of_the_active_model_does_not(self) -> None:
        course = Course("pi5", "mine")
        course.on_reported(report(state="loading", wish="mine"))
        reason = {"code": "model_keeps_dying", "message": "again and again"}
        course.on_reported(report(state="rolled_back", wish="older", reason=reason))
        assert course.ending is None

    def test_a_wish_that_the_device_cannot_read_does_not(self) -> None:
        course = Course("pi5", "mine")
        course.on_reported(report(state="loading", wish="mine"))
        reason = {"code": "not_json", "message": "expected value"}
        course.on_reported(report(state="active", wish="older", reason=reason))
        assert course.ending is None

    def test_a_newer_wish_ends_it_also_when_it_is_first_heard_of_by_a_report(self) -> None:
        course = Course("pi5", "mine")
        course.on_reported(report(state="loading", wish="mine"))
        course.on_reported(report(state="fetching", wish="newer"))
        assert course.ending is Ending.SUPERSEDED

    def test_a_garbled_wish_after_it_does_not_end_it(self) -> None:
        course = Course("pi5", "mine")
        course.on_desired(desired("mine"))
        course.on_desired(json.dumps({"schema": 9, "id": "x"}).encode())
        assert course.ending is None


def test_a_wish_published_by_anyone_is_understood(broker: Broker) -> None:
    """The contract is JSON: what an MQTT client of any make publishes does as well."""
    with FakeDevice(broker.address()) as device, Operator(broker=broker.url) as operator:
        following = operator.follow("pi5", "by-hand", 30)
        payload = b'{"schema":1,"id":"by-hand","name":"new","version":"2.0.0","later":true}'
        device.link.publish(Outgoing(device.topics.desired, payload, retain=True))
        assert [str(one.state) for one in following][-1] == "active"


def test_it_is_a_public_name() -> None:
    assert edgeqa.Operator is Operator


def test_the_program_of_the_page_runs(broker: Broker, capsys: pytest.CaptureFixture[str]) -> None:
    [program] = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    with FakeDevice(broker.address()):
        exec(program.replace("mqtt://localhost:1883", broker.url), {})  # noqa: S102  our own page
    shown = capsys.readouterr().out
    assert "active None None\nEnding.FINAL\nname='site-reader'" in shown
    assert "back on name='old'" in shown


def test_the_shell_commands_of_the_page_run(broker: Broker) -> None:
    blocks = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 3
    with FakeDevice(broker.address()) as device:
        shown = []
        for block in blocks:
            code = block.replace("-h $BROKER", f"-h 127.0.0.1 -p {broker.port}")
            done = subprocess.run(
                ["sh", "-e", "-c", code], capture_output=True, text=True, timeout=60, check=True
            )
            shown.append(done.stdout)
            device.wait_for_wishes(1)
        assert device.wishes[0].id == "wish-17"
    assert Reported.model_validate_json(shown[1]).wish == "wish-17"
    assert json.loads(shown[2])["verb"] == "packages"
