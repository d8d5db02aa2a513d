"""What a model process may say to the agent's main process, and what it may not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from edgeqa_agent.jobs import Done, Outcome, decode_report, encode, refused

ANSWERED = Outcome(
    spans=[("a", 0, 1, 0.9)],
    no_answer_score=0.1,
    windows=2,
    inference_ms=20.0,
    tokenise_ms=0.5,
    decode_ms=0.25,
    begun_at=1000.5,
)


def said(**changes: Any) -> bytes:
    """A report with an outcome that a process gone mad has changed."""
    kind, fields = json.loads(encode(Done(1, 1000.0, [ANSWERED])))
    fields["outcomes"][0] |= changes
    return json.dumps([kind, fields]).encode()


def test_outcomes_arrive_as_they_were_sent() -> None:
    done = Done(7, 1000.0, [ANSWERED, refused("expired", "too late")])

    assert decode_report(encode(done)) == done


@pytest.mark.parametrize("name", ["inference_ms", "tokenise_ms", "decode_ms", "begun_at"])
@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), -float("inf"), "soon", None, [1.0], {}, 10**400]
)
def test_time_that_is_none_is_no_report(name: str, value: object) -> None:
    with pytest.raises((ValueError, TypeError, OverflowError)):
        decode_report(said(**{name: value}))


def test_missing_time_is_no_report() -> None:
    kind, fields = json.loads(encode(Done(1, 1000.0, [ANSWERED])))
    del fields["outcomes"][0]["tokenise_ms"]

    with pytest.raises(KeyError):
        decode_report(json.dumps([kind, fields]).encode())


def test_code_of_a_refusal_is_text_whatever_was_said() -> None:
    done = decode_report(said(error=[["x"], 5]))

    assert isinstance(done, Done)
    assert done.outcomes[0].error == ("['x']", "5")
