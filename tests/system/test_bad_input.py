"""Whatever is published to an agent: a stable code comes back, and it goes on answering."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest
from support.agents import (
    ANSWER,
    PASSAGE,
    QUESTION,
    RawClient,
    a_question,
    assert_serves,
    serving,
)
from support.broker import Broker

from edgeqa.packets import Outgoing

pytestmark = pytest.mark.system

LONG_ID = "x" * 129


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        pytest.param(b"", "not_json", id="empty payload"),
        pytest.param(b"hello", "not_json", id="not JSON"),
        pytest.param(b'{"question": "a", ', "not_json", id="truncated JSON"),
        pytest.param(b"[" * 100_000, "not_json", id="deep nesting"),
        pytest.param(b'{"a":' * 50_000 + b"1" + b"}" * 50_000, "not_json", id="deep objects"),
        pytest.param(b'{"question": "\xff\xfe"}', "not_utf8", id="not UTF-8"),
        pytest.param(b'{"question": "\\ud800"}', "not_json", id="half a surrogate pair"),
        pytest.param(b"\x00\x01\x02", "not_json", id="binary"),
        pytest.param(b"[]", "invalid_payload", id="an array"),
        pytest.param(b"null", "invalid_payload", id="null"),
        pytest.param(b"{}", "invalid_payload", id="no question"),
        pytest.param({"question": 7, "context": "x"}, "invalid_payload", id="question a number"),
        pytest.param({"question": "a", "context": ["x"]}, "invalid_payload", id="context a list"),
        pytest.param(a_question(top_k="3"), "invalid_payload", id="top_k a string"),
        pytest.param(a_question(top_k=0), "invalid_payload", id="top_k zero"),
        pytest.param(a_question(top_k=10**9), "invalid_payload", id="top_k a billion"),
        pytest.param(a_question(top_k=True), "invalid_payload", id="top_k true"),
        pytest.param(a_question(deadline_ms=-1), "invalid_payload", id="deadline in the past"),
        pytest.param(a_question(deadline_ms=1e300), "invalid_payload", id="deadline a float"),
        pytest.param(a_question(id=LONG_ID), "invalid_payload", id="id too long"),
        pytest.param(a_question(id=7), "invalid_payload", id="id a number"),
        pytest.param(a_question(schema=2), "unsupported_schema", id="a later schema"),
        pytest.param(a_question(schema="1"), "unsupported_schema", id="schema a string"),
        pytest.param({"question": "a"}, "invalid_payload", id="no context"),
        pytest.param(a_question(context_id="x"), "invalid_payload", id="two contexts"),
        pytest.param(a_question(questions=[]), "invalid_payload", id="question and batch"),
        pytest.param({"questions": [], "context": "x"}, "invalid_payload", id="empty batch"),
        pytest.param(a_question(question=""), "empty_question", id="empty question"),
        pytest.param(a_question(question=" \t\n"), "empty_question", id="blank question"),
        pytest.param(
            a_question(question="\u200b\u200b"), "empty_question", id="invisible question"
        ),
        pytest.param(a_question(question="\x00"), "empty_question", id="NUL question"),
        pytest.param(a_question(question="why " * 500), "question_too_long", id="long question"),
        pytest.param(a_question(question="w" * 100_000), None, id="one endless word"),
        pytest.param(a_question(context=""), "empty_context", id="empty context"),
        pytest.param(a_question(context="\x00" * 10), "empty_context", id="NUL context"),
        pytest.param(a_question(context="x" * 200_001), "context_too_long", id="long context"),
        pytest.param({"question": "a", "context_id": "none"}, "unknown_context", id="no such text"),
        pytest.param({"question": "a", "context_id": "../x"}, "invalid_payload", id="path as id"),
        pytest.param({"question": "a", "context_id": "#"}, "invalid_payload", id="wildcard as id"),
        pytest.param(
            {"context": PASSAGE, "questions": [{"question": QUESTION}] * 9},
            "batch_too_large",
            id="batch over the limit",
        ),
    ],
)
def test_bad_question_is_refused_with_its_code(
    client: RawClient, payload: bytes | dict[str, object], code: str | None
) -> None:
    answer = client.ask(payload)

    if code is None:
        assert answer["status"] == "ok"
    else:
        assert answer["status"] == "error", answer
        assert answer["error"]["code"] == code
        assert answer["error"]["message"]
        assert len(json.dumps(answer)) < 1000  # a refusal does not echo what it refuses
    assert_serves(client)


def test_ten_megabytes_are_refused_and_nothing_else_is(client: RawClient) -> None:
    before = client.send(a_question(id="before"))
    large = client.send(json.dumps(a_question(context="x" * 10_000_000)).encode())
    after = client.send(a_question(id="after"))

    assert client.take(large)["error"]["code"] == "payload_too_large"
    assert client.take(before)["answers"][0]["text"] == ANSWER
    assert client.take(after)["answers"][0]["text"] == ANSWER


def test_nul_bytes_in_a_good_question_do_no_harm(client: RawClient) -> None:
    answer = client.ask(a_question(context="\x00" + PASSAGE + "\x00\x00", id="a\x00b"))

    span = answer["answers"][0]
    assert (span["text"], answer["id"]) == (ANSWER, "a\x00b")
    assert ("\x00" + PASSAGE)[span["start"] : span["end"]] == ANSWER


@pytest.mark.parametrize(
    "topic",
    [
        "edgeqa/v1/devices/pi-1/model/desired",
        "edgeqa/v1/devices/pi-1/ask",
        "$SYS/broker",
        "$share/hall/x",
        "x" * 2000,
    ],
)
def test_answer_is_not_sent_where_it_could_do_harm(client: RawClient, topic: str) -> None:
    client.send(a_question(id=f"to {topic[:20]}"), response_topic=topic)

    refusal = client.unsolicited.get(timeout=20)
    assert refusal["error"]["code"] == "invalid_response_topic"
    assert_serves(client)


@pytest.mark.parametrize("topic", ["a/#", "+/b"])
def test_response_topic_with_wildcards_gets_no_answer_there(client: RawClient, topic: str) -> None:
    """A broker may refuse such a question by itself, as MQTT 5 allows; Mosquitto 2.0 does not."""
    client.send(a_question(id="wild"), response_topic=topic)

    assert client.unsolicited.get(timeout=20)["error"]["code"] == "invalid_response_topic"
    assert_serves(client)


def test_bad_stored_text_is_dropped_and_others_stay(client: RawClient) -> None:
    good, bad = client.topics.context("good"), client.topics.context("bad")
    client.publish(Outgoing(good, PASSAGE.encode(), retain=True))
    client.publish(Outgoing(bad, b"\xff\xfe", retain=True))

    assert (
        client.ask({"question": QUESTION, "context_id": "bad"})["error"]["code"]
        == "unknown_context"
    )
    assert client.ask({"question": QUESTION, "context_id": "good"})["answers"][0]["text"] == ANSWER
    for topic in (good, bad):
        client.publish(Outgoing(topic, b"", retain=True))


def test_question_past_its_deadline_is_refused_as_expired(broker: Broker, tmp_path: Path) -> None:
    with serving(broker, tmp_path, threads=1) as agent, RawClient(broker) as client:
        os.kill(agent.model_pid, signal.SIGSTOP)  # what comes now waits
        try:
            lasting = client.send(a_question())
            expiring = client.send(a_question(id="2"), expiry_s=1)
            time.sleep(1.5)
        finally:
            os.kill(agent.model_pid, signal.SIGCONT)

        assert client.take(expiring)["error"]["code"] == "expired"
        assert client.take(lasting)["status"] == "ok"


def test_full_queue_refuses_at_once_with_busy_and_keeps_what_it_took(
    broker: Broker, tmp_path: Path
) -> None:
    filler = "The boats lay still in the grey harbour all day long. " * 1500
    with serving(broker, tmp_path, threads=1, queue_size=4) as agent, RawClient(broker) as client:
        first = client.send({"question": QUESTION, "context": filler})
        agent.wait_for("agent_online")
        begun = time.monotonic()
        sent = [client.send(a_question(id=str(n))) for n in range(40)]
        answers = [client.take(correlation) for correlation in sent]
        busy = [answer for answer in answers if answer["status"] == "error"]
        served = [answer for answer in answers if answer["status"] == "ok"]

        assert {answer["error"]["code"] for answer in busy} == {"busy"}
        assert len(served) >= 4
        assert len(busy) >= 20
        assert all(answer["answers"][0]["text"] == ANSWER for answer in served)
        assert client.take(first)["status"] == "ok"
        refused = [event for event in agent.events if event["event"] == "question_refused"]
        assert len(refused) == len(busy)
        assert time.monotonic() - begun < 60
        assert_serves(client)
