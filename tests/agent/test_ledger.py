from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgeqa.packets import Delivery, Outgoing
from edgeqa_agent.ledger import Ledger, Progress, key_of


def delivery(payload: bytes = b"x", correlation: bytes | None = b"c") -> Delivery:
    return Delivery("t", payload, False, False, "r", correlation, None, 0.0, None)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_answers_are_forgotten_by_number_and_by_age_and_running_ones_never() -> None:
    clock = Clock()
    ledger = Ledger(capacity=2, keep_s=10, clock=clock)
    ledger.begin(b"running", delivery())
    for key in (b"1", b"2", b"3"):
        ledger.finish(ledger.begin(key, delivery()), Outgoing("t", b""))
    assert ledger.find(b"1") is None
    found = ledger.find(b"3")
    assert found is not None
    assert found.progress is Progress.ANSWERED

    clock.now = 11
    assert ledger.find(b"3") is None
    assert ledger.find(b"running") is not None


def test_dropped_question_is_new_again() -> None:
    ledger = Ledger(capacity=2, keep_s=10)
    ledger.drop(ledger.begin(b"1", delivery()))
    assert ledger.find(b"1") is None


Parts = tuple[bytes, bytes, str]
parts = st.tuples(st.binary(), st.binary(), st.text(max_size=20))


@given(parts, parts)
def test_key_is_equal_for_equal_parts_only(one: Parts, other: Parts) -> None:
    first, second = (
        key_of(delivery(payload, data), topic) for payload, data, topic in (one, other)
    )
    assert (first == second) == (one == other)


def test_key_does_not_confuse_where_one_part_ends() -> None:
    assert key_of(delivery(b"ab", b"c"), "") != key_of(delivery(b"a", b"bc"), "")
    assert key_of(delivery(b"b", b"c"), "a") != key_of(delivery(b"", b"c"), "ab")
