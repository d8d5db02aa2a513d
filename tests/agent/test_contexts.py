from __future__ import annotations

import pytest

from edgeqa.errors import PayloadError
from edgeqa_agent.contexts import Contexts


def contexts() -> Contexts:
    return Contexts(max_texts=2, max_bytes=20, max_chars=15)


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (b"\xff", "not_utf8"),
        (b"  \n", "empty_context"),
        (b"x" * 16, "context_too_long"),
        (b"x" * 100, "context_too_long"),
    ],
)
def test_bad_text_is_refused_and_what_was_there_is_gone(payload: bytes, code: str) -> None:
    stored = contexts()
    stored.put("a", b"old")
    with pytest.raises(PayloadError) as refusal:
        stored.put("a", payload)

    assert refusal.value.code == code
    assert "a" not in stored


def test_bounds_hold_in_number_and_bytes_and_replacing_is_within_them() -> None:
    stored = contexts()
    stored.put("a", b"x" * 10)
    stored.put("b", b"y" * 5)
    with pytest.raises(PayloadError, match="no room"):
        stored.put("c", b"z")
    with pytest.raises(PayloadError, match="no room"):
        stored.put("b", b"y" * 11)
    stored.put("a", b"x" * 15)

    assert stored.get("a") == "x" * 15
    assert len(stored) == 1


def test_empty_payload_deletes() -> None:
    stored = contexts()
    stored.put("a", b"x")
    stored.put("a", b"")
    with pytest.raises(PayloadError) as refusal:
        stored.get("a")
    assert refusal.value.code == "unknown_context"
