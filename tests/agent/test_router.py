"""The router's promises, with a link and a dispatcher that do what the test says."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from edgeqa.acks import Receipt
from edgeqa.errors import BrokerError
from edgeqa.messages import ModelRef
from edgeqa.packets import Delivered, Delivery, Outgoing
from edgeqa.topics import DeviceTopics
from edgeqa_agent.contexts import Contexts
from edgeqa_agent.intake import Intake, QuestionLimits
from edgeqa_agent.jobs import Outcome
from edgeqa_agent.ledger import Ledger
from edgeqa_agent.meter import PARTS, Meter
from edgeqa_agent.replies import Replies
from edgeqa_agent.request import Request
from edgeqa_agent.router import Router

ANSWERED = Outcome([("x", 0, 1, 0.5)], 0.1, 1, 3.0)
MODEL = ModelRef(name="m", version="1.0.0", digest="d")
TOPICS = DeviceTopics("pi")
_numbers = count(1)


class Link:
    """Keeps what is published and acknowledged; the test says when the broker has it."""

    def __init__(self) -> None:
        self.published: list[tuple[Outgoing, Delivered | None]] = []
        self.acknowledged: list[Delivery] = []
        self.full = False
        self.max_bytes = 1_000_000

    def publish(self, message: Outgoing, delivered: Delivered | None = None) -> None:
        if self.full:
            raise BrokerError("full", code="queue_full")
        if len(message.payload) > self.max_bytes:
            raise BrokerError("too large", code="packet_too_large")
        self.published.append((message, delivered))

    def acknowledge(self, delivery: Delivery) -> None:
        self.acknowledged.append(delivery)

    def deliver_all(self) -> None:
        for _, delivered in self.published:
            if delivered:
                delivered(None)

    @property
    def answers(self) -> list[dict[str, Any]]:
        return [json.loads(message.payload) for message, _ in self.published]


class Bench:
    def __init__(self, *, queue_size: int = 10) -> None:
        self.link = Link()
        self.requests: list[Request] = []
        self.meter = Meter()
        self._queue_size = queue_size
        contexts = Contexts(max_texts=2, max_bytes=1000, max_chars=500)
        limits = QuestionLimits(max_batch=4, max_payload_bytes=10_000, max_context_chars=1000)
        self.router = Router(
            link=self.link,
            topics=TOPICS,
            intake=Intake(limits=limits, stored_text=contexts.get),
            contexts=contexts,
            ledger=Ledger(capacity=10, keep_s=60),
            replies=Replies(device="pi"),
            offer=self.meter.through(self._offer),
            meter=self.meter,
            log=structlog.get_logger(),
        )

    def _offer(self, request: Request) -> bool:
        if len(self.requests) >= self._queue_size:
            return False
        self.requests.append(request)
        return True

    def answer(self, index: int = -1, outcome: Outcome = ANSWERED) -> None:
        request = self.requests[index]
        request.complete([outcome for _ in request.tasks], time.monotonic(), MODEL)


@pytest.fixture
def bench() -> Iterator[Bench]:
    with capture_logs():
        yield Bench()


def asked(payload: dict[str, Any] | bytes | None = None, **changes: Any) -> Delivery:
    if payload is None:
        payload = {"id": "1", "question": "q?", "context": "x y z"}
    raw = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    delivery = Delivery(
        topic=TOPICS.ask,
        payload=raw,
        retain=False,
        redelivered=False,
        response_topic="reply/here",
        correlation=b"c",
        expiry_s=None,
        received_at=time.monotonic(),
        receipt=Receipt(1, next(_numbers)),
    )
    return replace(delivery, **changes)


def test_question_is_acknowledged_only_when_the_broker_has_its_answer(bench: Bench) -> None:
    delivery = asked()
    bench.router.on_ask(delivery)
    assert bench.link.acknowledged == []

    bench.answer()
    assert bench.link.answers[0]["answers"][0]["text"] == "x"
    assert bench.link.acknowledged == []

    bench.link.deliver_all()
    assert bench.link.acknowledged == [delivery]


def test_answer_says_why_its_model_was_chosen_of_two_and_the_meter_counts_it(bench: Bench) -> None:
    bench.router.on_ask(asked({"id": "1", "question": "q?", "context": "x", "quality": "fast"}))
    assert bench.requests[0].quality == "fast"
    bench.requests[0].choice = "asked"
    bench.answer()
    bench.router.on_ask(asked({"id": "2", "question": "q?", "context": "x"}, correlation=b"d"))
    bench.answer()

    assert [answer.get("choice") for answer in bench.link.answers] == ["asked", None]
    assert bench.meter.take().choices == {(MODEL, "asked"): 1}


def test_quality_that_is_none_is_refused(bench: Bench) -> None:
    bench.router.on_ask(asked({"id": "1", "question": "q?", "context": "x", "quality": "quick"}))
    error = bench.link.answers[0]["error"]
    assert error["code"] == "invalid_payload"
    assert error["message"].startswith("quality: Input should be 'fast', 'balanced' or 'best'")


def test_answer_goes_to_the_response_topic_with_its_correlation_data(bench: Bench) -> None:
    bench.router.on_ask(asked(correlation=b"\x00\xff"))
    bench.answer()

    message, _ = bench.link.published[0]
    assert (message.topic, message.correlation) == ("reply/here", b"\x00\xff")


def test_without_a_response_topic_the_answer_goes_to_the_answers_topic(bench: Bench) -> None:
    bench.router.on_ask(asked(response_topic=None, correlation=None))
    bench.answer()

    assert bench.link.published[0][0].topic == TOPICS.answers


def test_redelivered_question_under_way_is_not_inferred_again_and_both_are_acknowledged(
    bench: Bench,
) -> None:
    first, again = asked(), asked(redelivered=True)
    bench.router.on_ask(first)
    bench.router.on_ask(again)
    assert len(bench.requests) == 1

    bench.answer()
    bench.link.deliver_all()
    assert len(bench.link.published) == 1
    assert bench.link.acknowledged == [first, again]


def test_redelivery_of_an_answered_question_is_acknowledged_and_nothing_else(bench: Bench) -> None:
    bench.router.on_ask(asked())
    bench.answer()
    bench.link.deliver_all()

    again = asked(redelivered=True)
    bench.router.on_ask(again)
    assert len(bench.requests) == len(bench.link.published) == 1
    assert bench.link.acknowledged[-1] is again


def test_client_that_asks_again_gets_the_answer_again_without_inference(bench: Bench) -> None:
    bench.router.on_ask(asked())
    bench.answer()
    bench.link.deliver_all()

    bench.router.on_ask(asked())
    assert len(bench.requests) == 1
    assert bench.link.answers[0] == bench.link.answers[1]


def test_same_id_with_another_question_is_another_question(bench: Bench) -> None:
    bench.router.on_ask(asked({"id": "1", "question": "a?", "context": "x"}))
    bench.router.on_ask(asked({"id": "1", "question": "b?", "context": "x"}))

    assert len(bench.requests) == 2


def test_equal_questions_without_any_id_are_each_inferred(bench: Bench) -> None:
    payload = {"question": "q?", "context": "x"}
    bench.router.on_ask(asked(payload, correlation=None))
    bench.router.on_ask(asked(payload, correlation=None))

    assert len(bench.requests) == 2


def test_answer_that_the_client_library_cannot_take_is_given_at_the_next_delivery(
    bench: Bench,
) -> None:
    first = asked()
    bench.router.on_ask(first)
    bench.link.full = True
    bench.answer()
    assert bench.link.acknowledged == []

    bench.link.full = False
    again = asked(redelivered=True)
    bench.router.on_ask(again)
    bench.link.deliver_all()
    assert len(bench.requests) == 1
    assert len(bench.link.published) == 1
    assert bench.link.acknowledged == [first, again]


def test_answer_that_the_broker_never_takes_is_replaced_by_an_error(bench: Bench) -> None:
    delivery = asked()
    bench.router.on_ask(delivery)
    bench.link.max_bytes = 300
    bench.answer(outcome=Outcome([("x" * 400, 0, 400, 0.5)], 0.1, 1, 3.0))

    assert bench.link.answers[0]["error"]["code"] == "packet_too_large"
    assert bench.link.answers[0]["id"] == "1"
    bench.link.deliver_all()
    assert bench.link.acknowledged == [delivery]


def test_bad_item_of_a_batch_is_refused_in_its_place_and_the_others_are_answered(
    bench: Bench,
) -> None:
    items = [
        {"question": " "},
        {"question": "q?", "id": "good"},
        {"question": "q?", "context_id": "nowhere"},
        {"question": "q?", "context": "x" * 1001},
    ]
    bench.router._grace_ends = 0.0
    bench.router.on_ask(asked({"context": "x y z", "questions": items}))
    bench.answer()

    results = bench.link.answers[0]["results"]
    codes = [result.get("error", {}).get("code") for result in results]
    assert codes == ["empty_question", None, "unknown_context", "context_too_long"]
    assert results[1]["answers"][0]["text"] == "x"
    assert len(bench.requests[0].tasks) == 1


def test_batch_of_bad_items_needs_no_model(bench: Bench) -> None:
    bench.router.on_ask(asked({"context": "x", "questions": [{"question": ""}]}))

    assert bench.requests == []
    assert bench.link.answers[0]["results"][0]["error"]["code"] == "empty_question"


def test_busy_question_may_be_asked_again(bench: Bench) -> None:
    full = Bench(queue_size=0)
    full.router.on_ask(asked())
    assert full.link.answers[0]["error"]["code"] == "busy"
    assert full.link.answers[0]["id"] == "1"

    full._queue_size = 1
    full.router.on_ask(asked())
    assert len(full.requests) == 1


def test_refusal_is_acknowledged_once_the_broker_has_it(bench: Bench) -> None:
    delivery = asked(b"{")
    bench.router.on_ask(delivery)
    assert bench.link.acknowledged == []

    bench.link.deliver_all()
    assert bench.link.acknowledged == [delivery]


def test_stopping_takes_and_acknowledges_nothing(bench: Bench) -> None:
    bench.router.stop_taking()
    bench.router.on_ask(asked())

    assert bench.requests == bench.link.published == bench.link.acknowledged == []


def test_question_that_overtakes_its_stored_text_waits_for_it(bench: Bench) -> None:
    bench.router.connected()
    question = asked({"id": "1", "question": "q?", "context_id": "manual"})
    bench.router.on_ask(question)
    assert bench.link.published == []

    bench.router.on_context(asked(b"the text", topic=TOPICS.context("manual")))
    assert [task.context for task in bench.requests[0].tasks] == ["the text"]


def test_question_whose_text_never_comes_is_refused_after_the_grace(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeqa_agent.router.CONTEXT_GRACE_S", 0.05)
    bench.router.connected()
    bench.router.on_ask(asked({"question": "q?", "context_id": "manual"}))
    bench.router.tick()
    assert bench.link.published == []

    time.sleep(0.06)
    bench.router.tick()
    assert bench.link.answers[0]["error"]["code"] == "unknown_context"


def test_stop_at_is_the_earlier_of_deadline_and_expiry(bench: Bench) -> None:
    payload = {"question": "q?", "context": "x", "deadline_ms": 2000}
    bench.router.on_ask(asked(payload, received_at=100.0, expiry_s=1, correlation=b"1"))
    bench.router.on_ask(asked(payload, received_at=100.0, expiry_s=9, correlation=b"2"))

    assert [request.stop_at for request in bench.requests] == [101.0, 102.0]


def test_counts_say_what_became_of_questions(bench: Bench) -> None:
    bench.router.on_ask(asked())
    bench.answer()
    bench.router.on_ask(asked(b"{", correlation=b"2"))
    bench.router.on_ask(asked(redelivered=True))

    assert bench.router.counts == {"answered": 1, "not_json": 1, "repeated": 1}


def test_meter_counts_each_question_once_however_often_it_is_delivered(bench: Bench) -> None:
    bench.router.on_ask(asked())
    bench.router.on_ask(asked(redelivered=True))
    bench.answer()
    bench.router.on_ask(asked(redelivered=True))
    bench.link.deliver_all()
    bench.router.on_ask(asked(redelivered=True))
    bench.router.on_ask(asked())  # the client asks again, and is told the same again
    bench.link.deliver_all()

    figures = bench.meter.take()
    assert figures.outcomes == {"answered": 1}
    assert {part: histogram.count for part, histogram in figures.latency.items()} == dict.fromkeys(
        PARTS, 1
    )
    assert (figures.depth, figures.depth_max) == (0, 1)


def test_meter_counts_the_publishing_of_an_answer_that_had_to_wait(bench: Bench) -> None:
    bench.router.on_ask(asked())
    bench.link.full = True
    bench.answer()
    assert "publish" not in bench.meter.take().latency

    bench.link.full = False
    bench.router.on_ask(asked(redelivered=True))
    bench.link.deliver_all()
    figures = bench.meter.take()
    assert figures.outcomes == {}
    assert figures.latency["publish"].count == 1


def test_meter_counts_an_answer_that_cannot_be_said_as_a_refusal(bench: Bench) -> None:
    bench.link.max_bytes = 300
    bench.router.on_ask(asked())
    bench.answer(outcome=Outcome([("x" * 400, 0, 400, 0.5)], 0.1, 1, 3.0))
    bench.link.deliver_all()

    figures = bench.meter.take()
    assert (figures.outcomes, figures.latency) == ({"packet_too_large": 1}, {})


def test_meter_counts_all_questions_of_a_message_that_is_refused(bench: Bench) -> None:
    full = Bench(queue_size=0)
    items = [{"question": "q?"}, {"question": "r?"}]
    full.router.on_ask(asked({"context": "x", "questions": items}))
    full.router.on_ask(asked(b"{", correlation=b"2"))
    full.router.on_ask(asked(response_topic="edgeqa/v1/devices/pi/ask", correlation=b"3"))
    full.router.on_ask(asked({"context": "x", "questions": items * 3}, correlation=b"4"))

    assert full.meter.take().outcomes == {
        "busy": 2,
        "not_json": 1,
        "invalid_response_topic": 1,
        "batch_too_large": 6,
    }


def test_meter_counts_a_question_that_waited_for_its_text_once(bench: Bench) -> None:
    bench.router.connected()
    bench.router.on_ask(asked({"id": "1", "question": "q?", "context_id": "manual"}))
    bench.router.on_context(asked(b"the text", topic=TOPICS.context("manual")))
    bench.answer()

    assert bench.meter.take().outcomes == {"answered": 1}
