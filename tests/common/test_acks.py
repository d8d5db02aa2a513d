"""Acknowledgements leave in the order of arrival, whatever the order of completion."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgeqa.acks import OrderedAcks


@given(st.permutations(range(12)), st.integers(0, 12))
def test_any_order_of_completion_acknowledges_in_order_of_arrival(
    completion: list[int], reconnect_after: int
) -> None:
    sent: list[int] = []
    acks = OrderedAcks(send=sent.extend)
    receipts = [acks.receive(100 + n) for n in range(12)]
    for done in completion[:reconnect_after]:
        acks.acknowledge(receipts[done])
        assert sent == [100 + n for n in range(len(sent))]
    before = len(sent)
    if reconnect_after < 12:
        acks.new_connection()
        again = acks.receive(100)
        for done in completion:
            acks.acknowledge(receipts[done])
        assert len(sent) == before  # those of the old connection mean nothing on the new
        acks.acknowledge(again)
        acks.acknowledge(again)
        assert sent[before:] == [100]
    else:
        assert sent == [100 + n for n in range(12)]
    assert len(acks) == 0
