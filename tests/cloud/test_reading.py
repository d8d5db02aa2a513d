"""What devices might send: told apart, with a reason."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.cloud import MOST_BYTES, arrival, evaluation, heartbeat, swap, telemetry

from edgeqa.topics import Kind
from edgeqa_cloud.reading import Arrival, Message, Refused, as_json, clean, read


def judge(kind: str, body: Any, **options: Any) -> Message | Refused | None:
    return read(arrival(kind, body, **options), most_bytes=MOST_BYTES)


@pytest.mark.parametrize(
    ("kind", "body", "code"),
    [
        ("telemetry", b"\xff\xfe{}", "not_utf8"),
        ("telemetry", b"", "not_json"),
        ("telemetry", b"no json", "not_json"),
        ("telemetry", b"[" * 100_000, "not_json"),
        ("telemetry", b'{"a":' * 5000 + b"1" + b"}" * 5000, "not_json"),
        ("telemetry", b'{"device":"\\ud800"}', "not_json"),
        ("telemetry", telemetry(schema=0), "unsupported_schema"),
        ("telemetry", telemetry(schema=2), "unsupported_schema"),
        ("telemetry", telemetry(schema="1; DROP TABLE records"), "unsupported_schema"),
        ("telemetry", telemetry(device="other"), "device_mismatch"),
        ("telemetry", telemetry(seq=0), "invalid_payload"),
        ("telemetry", telemetry(seq=2**63), "invalid_payload"),
        ("telemetry", telemetry(interval_s=-1), "invalid_payload"),
        ("telemetry", telemetry(interval_s=float("nan")), "invalid_payload"),
        ("telemetry", telemetry(uptime_ms=-5), "invalid_payload"),
        ("telemetry", telemetry(cpu_load=1.5), "invalid_payload"),
        ("telemetry", telemetry(outcomes={"answered": 2**70}), "invalid_payload"),
        ("evaluation", evaluation(exact_match=140), "invalid_payload"),
        ("evaluation", evaluation(f1=float("inf")), "invalid_payload"),
        ("evaluation", evaluation(exact_match_interval=[90, 10]), "invalid_payload"),
        ("swap", swap(state="<b>"), "invalid_payload"),
        ("heartbeat", heartbeat(interval_s=0), "invalid_payload"),
        ("status", {"schema": 1, "status": "online", "device": "pi5", "boot_id": "b" * 65},
         "invalid_payload"),
        ("status", {"schema": 1, "status": "online", "device": "pi5", "agent_version": "9" * 65},
         "invalid_payload"),
    ],
)  # fmt: skip
def test_what_cannot_be_stored_is_refused_with_a_code(kind: str, body: Any, code: str) -> None:
    refused = judge(kind, body)
    assert isinstance(refused, Refused)
    assert refused.code == code
    assert refused.reason


@pytest.mark.parametrize(
    "topic",
    [
        "edgeqa/v1/devices/a b/telemetry",
        "edgeqa/v1/devices/pi5/ask",
        "x",
        "",
        "edgeqa/v1/devices//",
    ],
)
def test_other_topics_are_refused(topic: str) -> None:
    refused = read(Arrival(topic, b"{}", 2, 0), most_bytes=MOST_BYTES)
    assert isinstance(refused, Refused)
    assert refused.code == "unknown_topic"
    assert refused.device is None


def test_a_payload_too_large_is_refused_by_its_size_not_by_what_is_left_of_it() -> None:
    whole = json.dumps(telemetry(padding="x" * 5_000_000)).encode()
    cut = Arrival("edgeqa/v1/devices/pi5/telemetry", whole[:MOST_BYTES], len(whole), 0)
    refused = read(cut, most_bytes=MOST_BYTES)
    assert isinstance(refused, Refused)
    assert refused.code == "payload_too_large"
    assert (refused.boot_id, refused.seq) == ("0b2f7a1e", 41)


def test_a_broken_record_still_says_which_it_was() -> None:
    refused = judge("evaluation", evaluation(exact_match=140))
    assert isinstance(refused, Refused)
    assert (refused.device, refused.boot_id, refused.seq) == ("pi5", "0b2f7a1e", 41)
    another = judge("telemetry", telemetry(device="other"))
    assert isinstance(another, Refused)
    assert another.seq is None  # whose record it is, nobody knows
    assert isinstance(beat := judge("heartbeat", heartbeat(interval_s=0)), Refused)
    assert beat.seq is None


def test_good_messages_and_those_that_say_nothing() -> None:
    for kind, body in (("telemetry", telemetry()), ("evaluation", evaluation()), ("swap", swap())):
        message = judge(kind, body)
        assert isinstance(message, Message)
        assert message.kind is Kind(kind)
        assert message.text == json.dumps(body)
    assert judge("status", b"") is None
    assert judge("model/reported", b"") is None


@given(st.binary(max_size=300))
def test_no_bytes_make_it_fail(payload: bytes) -> None:
    for kind in ("telemetry", "heartbeat", "status", "model/reported"):
        assert not isinstance(judge(kind, payload), Message)


@given(st.text())
def test_cleaned_text_can_be_stored_anywhere(text: str) -> None:
    cleaned = clean(text + "\0\ud800")
    assert "\0" not in cleaned
    cleaned.encode()
    stored = as_json({"a": [text, "\0"]})
    assert stored is not None
    assert "\\u0000" not in stored.replace("\\\\", "")
