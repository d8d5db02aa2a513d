"""Waiting for the result of an order, whatever else comes, and showing it."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from support.broker import Broker

from edgeqa.commands import build_command
from edgeqa.errors import AnswerError, AnswerTimeoutError, ExitCode, PayloadError
from edgeqa.evaluating import EvaluationWatch
from edgeqa.evaluation_view import evaluation_lines
from edgeqa.model_messages import CommandReply, Verb
from edgeqa.mqtt import MqttLink
from edgeqa.packets import Outgoing
from edgeqa.telemetry_examples import EVALUATIONS
from edgeqa.telemetry_messages import EvaluateCommand, Evaluation
from edgeqa.topics import DeviceTopics

TOPICS = DeviceTopics("pi5")
GARBAGE = [b"", b"\xff\xfe", b"{", b"[]", b"null", b'{"schema":2}', b'{"schema":1}', b"x" * 5000]


def evaluations() -> list[Evaluation]:
    return [Evaluation.model_validate(fields) for fields in EVALUATIONS.values()]


@pytest.fixture
def device(broker: Broker) -> Iterator[MqttLink]:
    link = MqttLink(
        broker=broker.address(),
        client_id=uuid.uuid4().hex,
        subscriptions=[],
        log=structlog.get_logger(),
    )
    link.start()
    yield link
    link.stop()


@pytest.fixture
def watch(broker: Broker) -> Iterator[EvaluationWatch]:
    with EvaluationWatch(
        broker=broker.address(), device="pi5", log=structlog.get_logger()
    ) as watching:
        yield watching


def tell(
    device: MqttLink, payload: bytes, correlation: bytes | None, *, kind: str = "evaluation"
) -> None:
    topic = TOPICS.answers if kind == "answers" else TOPICS.record(kind)
    device.publish(Outgoing(topic, payload, correlation=correlation))


def test_only_the_result_of_the_order_counts(device: MqttLink, watch: EvaluationWatch) -> None:
    record = evaluations()[0]
    other = record.model_copy(update={"seq": 99})
    tell(device, other.to_json(), None)  # of the schedule, by the outbox
    tell(device, other.to_json(), b"another order")
    for payload in GARBAGE:
        tell(device, payload, b"another order")
    tell(device, b'{"answers": []}', b"somebody's question", kind="answers")
    tell(device, record.to_json(), b"mine")
    assert watch.result("mine", timeout_s=30) == record


def test_an_evaluation_that_came_to_nothing_says_why(
    device: MqttLink, watch: EvaluationWatch
) -> None:
    reply = CommandReply.model_validate(
        {"status": "error", "verb": "evaluate", "device": "pi5", "boot_id": "b", "id": "mine",
         "error": {"code": "evaluation_timeout", "message": "only 3 of 50 questions"}}
    )  # fmt: skip
    tell(device, reply.to_json(), b"mine", kind="answers")
    with pytest.raises(AnswerError, match="only 3 of 50 questions") as caught:
        watch.result("mine", timeout_s=30)
    assert caught.value.code == "evaluation_timeout"
    assert caught.value.exit_code == ExitCode.REFUSED


@pytest.mark.parametrize("kind", ["evaluation", "answers"])
def test_garbage_for_a_result_is_an_error(
    device: MqttLink, watch: EvaluationWatch, kind: str
) -> None:
    for payload in GARBAGE:
        tell(device, payload, b"mine", kind=kind)
        with pytest.raises(AnswerError) as caught:
            watch.result("mine", timeout_s=30)
        assert caught.value.code == "invalid_answer"


def test_a_flood_of_others_results_leaves_the_newest(
    device: MqttLink, watch: EvaluationWatch
) -> None:
    record = evaluations()[0]
    for _ in range(400):
        tell(device, secrets.token_bytes(64), b"another order")
    tell(device, record.to_json(), b"mine")
    assert watch.result("mine", timeout_s=30) == record


def test_nothing_in_time_is_said_so(watch: EvaluationWatch) -> None:
    with pytest.raises(AnswerTimeoutError, match=r"has not sent its evaluation after 0\.05 s"):
        watch.result("mine", timeout_s=0.05)


def test_what_is_shown_drives_no_terminal() -> None:
    alone = [record.model_copy(update={"paired": None}) for record in evaluations()]
    for record in [*evaluations(), *alone]:
        evil = "\x1b[2J\x07name"
        dataset = record.dataset.model_copy(update={"name": evil})
        shown = "\n".join(evaluation_lines(record.model_copy(update={"dataset": dataset})))
        assert "\x1b" not in shown
        assert f"EM         {record.exact_match:.2f}" in shown
        assert ("against    " in shown) is (record.paired is not None)


def test_an_order_says_its_slice_and_no_more_than_it_may() -> None:
    def order(verb: Verb, **fields: Any) -> EvaluateCommand:
        request = build_command(
            "pi5", verb, number=1, timeout_s=5, response_topic="r", fields=fields
        )
        return EvaluateCommand.model_validate_json(request.message.payload)

    assert order(Verb.EVALUATE, questions=5, slice=2).slice == 2
    assert order(Verb.EVALUATE).questions is None
    for fields in ({"questions": 0}, {"questions": "many"}, {"slice": -1}):
        with pytest.raises(PayloadError):
            order(Verb.EVALUATE, **fields)
    with pytest.raises(PayloadError):
        order(Verb.RESEND)  # which ranges?
