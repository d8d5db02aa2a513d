"""Payloads: what the contract says is read, whatever else comes is refused with a code."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeqa.errors import PayloadError
from edgeqa.messages import Answer, Ask, Item, parse_payload

SLUGS = {"not_utf8", "not_json", "unsupported_schema", "invalid_payload"}


def _check_all(payload: bytes) -> None:
    for item in parse_payload(Ask, payload).items():
        item.check()


def code_of(payload: bytes) -> str:
    with pytest.raises(PayloadError) as caught:
        _check_all(payload)
    assert len(str(caught.value)) < 1000
    return caught.value.code


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (b"", "not_json"),
        (b"\xff\xfe", "not_utf8"),
        (b"caf\xe9", "not_utf8"),
        (b"\xed\xa0\x80", "not_utf8"),  # a lone surrogate
        (b"{", "not_json"),
        (b"\x00", "not_json"),
        (b'{"a":1} x', "not_json"),
        (b"[" * 100_000, "not_json"),
        (b'{"a":' * 50_000 + b"1" + b"}" * 50_000, "not_json"),
        (b"[]", "invalid_payload"),
        (b"null", "invalid_payload"),
        (b"NaN", "invalid_payload"),
        (b'"text"', "invalid_payload"),
        (b"{}", "invalid_payload"),
        (b'{"schema":2,"question":"a","context":"b"}', "unsupported_schema"),
        (b'{"schema":"1","question":"a","context":"b"}', "unsupported_schema"),
        (b'{"question":1,"context":"b"}', "invalid_payload"),
        (b'{"question":"a","context":["b"]}', "invalid_payload"),
        (b'{"question":"a"}', "invalid_payload"),
        (b'{"question":"a","context":"b","context_id":"c"}', "invalid_payload"),
        (b'{"question":"a","context_id":"../c"}', "invalid_payload"),
        (b'{"question":"a","context":"b","top_k":0}', "invalid_payload"),
        (b'{"question":"a","context":"b","top_k":"3"}', "invalid_payload"),
        (b'{"question":"a","context":"b","top_k":1e99}', "invalid_payload"),
        (b'{"question":"a","context":"b","deadline_ms":-1}', "invalid_payload"),
        (b'{"question":"a","context":"b","quality":"Fast"}', "invalid_payload"),
        (b'{"question":"a","context":"b","quality":1}', "invalid_payload"),
        (b'{"question":"a","context":"b","id":""}', "invalid_payload"),
        (b'{"question":"a","context":"b","id":7}', "invalid_payload"),
        (b'{"questions":[],"context":"b"}', "invalid_payload"),
        (b'{"questions":{},"context":"b"}', "invalid_payload"),
        (b'{"question":"a","questions":[{"question":"b"}],"context":"b"}', "invalid_payload"),
        (b'{"questions":[{"question":"a"}]}', "invalid_payload"),
        (b'{"question":" \\n","context":"b"}', "empty_question"),
        (b'{"question":"a","context":"\\u00a0"}', "empty_context"),
    ],
)
def test_a_hostile_payload_is_refused_with_a_code(payload: bytes, code: str) -> None:
    assert code_of(payload) == code


def test_the_message_names_the_field() -> None:
    with pytest.raises(PayloadError, match=r"questions\.1\.top_k: "):
        parse_payload(
            Ask, b'{"questions":[{"question":"a"},{"question":"b","top_k":99}],"context":"c"}'
        )


_JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(
        st.sampled_from(["question", "questions", "context", "context_id", "top_k", "schema", "id"])
        | st.text(),
        inner,
    ),
    max_leaves=12,
)  # fmt: skip


@given(_JSON)
def test_any_json_is_read_or_refused(value: Any) -> None:
    payload = json.dumps(value).encode("utf-8", "surrogatepass")
    try:
        parse_payload(Ask, payload)
    except PayloadError as error:
        assert error.code in SLUGS  # noqa: PT017  either outcome is right


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(payload: bytes) -> None:
    try:
        parse_payload(Ask, payload)
    except PayloadError as error:
        assert error.code in SLUGS  # noqa: PT017  either outcome is right


def test_defaults_of_a_batch_stand_for_its_items() -> None:
    ask = Ask(
        questions=[
            Item(question="a"),
            Item(question="b", context="own", top_k=1),
            Item(question="c", context_id="kept"),
        ],
        context="shared",
        top_k=3,
    )
    assert [(i.context, i.context_id, i.top_k) for i in ask.items()] == [
        ("shared", None, 3),
        ("own", None, 1),
        (None, "kept", 3),
    ]


def test_unknown_fields_are_ignored_and_absent_ones_left_out() -> None:
    ask = parse_payload(Ask, b'{"question":"a","context":"b","colour":"red"}')
    assert json.loads(ask.to_json()) == {"schema": 1, "question": "a", "context": "b"}
    answer = Answer.model_validate_json(b'{"schema":1,"status":"ok","device":"d","new":1}')
    assert json.loads(answer.to_json()) == {"schema": 1, "status": "ok", "device": "d"}
