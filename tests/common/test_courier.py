"""What a courier sends next, decided without a broker: order, window, patience."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.outboxes import Box, Post, numbers, rows, send_all, swap, telemetry

from edgeqa.courier import ACK_TIMEOUT_S, NOBODY, WINDOW
from edgeqa.outbox import Outbox, OutboxError
from edgeqa.patience import BACKOFF_MAX_S
from edgeqa.telemetry_messages import SeqRange


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path)


@pytest.fixture
def outbox(box: Box) -> Iterator[Outbox]:
    with box.file(durable=False) as file:
        yield box.open(file=file)


def test_a_backlog_goes_out_in_order_and_a_window_at_a_time(outbox: Outbox) -> None:
    post = Post(outbox)
    telemetry(outbox, 40)
    post.step()
    assert post.wire.published == list(range(1, WINDOW + 1))
    post.wire.answer(count=3)
    post.step()
    assert post.wire.published == list(range(1, WINDOW + 4))
    assert outbox.acknowledged == 3
    post.exchange()
    assert post.wire.published == list(range(1, 41))
    assert (outbox.acknowledged, outbox.state().waiting) == (40, 0)
    assert post.courier.idle


def test_a_new_record_wakes_the_driver(outbox: Outbox) -> None:
    post = Post(outbox)
    assert post.step() is None
    telemetry(outbox)
    assert post.woken == 1
    post.step()
    post.wire.answer()
    assert post.woken == 2


def test_records_of_an_earlier_start_go_first(box: Box) -> None:
    with box.file(durable=False) as file:
        telemetry(box.open("boot-1", file=file), 2)
        outbox = box.open("boot-2", file=file)
        post = Post(outbox)
        telemetry(outbox)
        post.exchange()
        assert post.wire.published == [1, 2, 1]


def test_nothing_is_handed_over_while_there_is_no_connection(outbox: Outbox) -> None:
    post = Post(outbox)
    post.wire.connected = False
    telemetry(outbox, 3)
    assert post.step() is None
    assert post.wire.published == []
    post.wire.connected = True
    post.courier.connected()
    post.exchange()
    assert post.wire.published == [1, 2, 3]


def test_what_the_link_sends_again_itself_is_not_sent_twice(outbox: Outbox) -> None:
    post = Post(outbox)
    telemetry(outbox, 3)
    post.step()
    post.wire.connected = False
    telemetry(outbox)
    post.step()
    post.wire.connected = True
    post.courier.connected()
    post.step()
    assert post.wire.published == [1, 2, 3, 4]
    post.exchange()
    assert outbox.acknowledged == 4


def test_what_a_link_forgets_is_sent_again_after_a_reconnect(outbox: Outbox) -> None:
    post = Post(outbox, link_resends=False)
    telemetry(outbox, 3)
    post.step()
    post.wire.answer(count=1)
    post.wire.open.clear()
    post.courier.connected()
    post.exchange()
    assert post.wire.published == [1, 2, 3, 2, 3]
    assert outbox.acknowledged == 3


def test_an_acknowledgement_that_does_not_come_is_not_waited_for_for_ever(outbox: Outbox) -> None:
    post = Post(outbox)
    telemetry(outbox, 2)
    wait_s = post.step()
    assert wait_s is not None
    assert wait_s > ACK_TIMEOUT_S
    lost = post.wire.open.pop(0)
    post.wire.answer()
    post.now += wait_s
    post.exchange()
    assert post.wire.published == [1, 2, 1]
    assert lost[1] is not None
    lost[1](None)  # it comes after all
    post.step()
    assert outbox.acknowledged == 2


def test_where_nobody_listens_records_wait_and_one_goes_ahead(outbox: Outbox) -> None:
    post = Post(outbox)
    telemetry(outbox, 20)
    post.step()
    post.wire.answer(NOBODY)
    wait_s = post.step()
    assert wait_s == pytest.approx(1.0)
    assert outbox.state().waiting == 20
    assert outbox.acknowledged == 0
    assert post.courier.stalled
    sent = len(post.wire.published)
    waits = []
    for _ in range(12):
        post.now += wait_s or 0
        post.step()
        assert post.wire.published[sent:] == [1]
        sent += 1
        post.wire.answer(NOBODY)
        wait_s = post.step()
        waits.append(wait_s)
    assert waits[:3] == [2, 4, 8]
    assert waits[-1] == BACKOFF_MAX_S
    post.now += BACKOFF_MAX_S
    post.exchange()  # somebody listens again
    assert post.wire.published[sent:] == list(range(1, 21))
    assert outbox.acknowledged == 20
    assert not post.courier.stalled


def test_a_new_record_does_not_shorten_the_wait(outbox: Outbox) -> None:
    post = Post(outbox)
    telemetry(outbox)
    post.step()
    post.wire.answer(NOBODY)
    post.step()
    telemetry(outbox)
    post.step()
    assert post.wire.published == [1]


@pytest.mark.parametrize("event", ["heard", "connected"])
def test_a_sign_of_life_shortens_it(outbox: Outbox, event: str) -> None:
    post = Post(outbox)
    telemetry(outbox, 3)
    post.step()
    post.wire.answer(NOBODY)
    post.step()
    getattr(post.courier, event)()
    post.step()
    assert post.wire.published == [1, 2, 3, 1]
    post.exchange()
    assert post.wire.published == [1, 2, 3, 1, 2, 3]


def test_some_of_a_window_may_be_heard_and_others_not(outbox: Outbox) -> None:
    """The collector left, or came, in the middle of it."""
    post = Post(outbox)
    telemetry(outbox, 4)
    post.step()
    post.wire.answer(count=1)
    post.wire.answer(NOBODY, count=1)
    post.wire.answer(count=1)
    post.wire.answer(NOBODY)
    wait_s = post.step()
    assert outbox.acknowledged == 1
    post.now += wait_s or 0
    post.exchange()
    assert post.wire.published == [1, 2, 3, 4, 2, 4]
    assert outbox.acknowledged == 4


def test_a_kind_that_nobody_hears_does_not_hold_up_the_others(outbox: Outbox) -> None:
    """As where somebody listens to serving telemetry alone, or may publish nothing else."""
    post = Post(outbox)
    swap(outbox, 2)
    telemetry(outbox, 3)
    post.step()
    post.wire.answer(NOBODY, count=2)
    post.wire.answer()
    post.step()
    assert (outbox.state().waiting, post.wire.open) == (2, [])
    telemetry(outbox, 20)
    post.exchange()
    assert outbox.state().waiting == 2
    assert post.wire.published == list(range(1, 26))
    assert outbox.acknowledged == 0
    post.now += 1.0
    post.exchange()
    assert post.wire.published[25:] == [1, 2]
    assert outbox.acknowledged == 25


def test_each_kind_has_a_try_of_its_own_and_one_that_is_heard_frees_all(outbox: Outbox) -> None:
    post = Post(outbox)
    swap(outbox, 3)
    telemetry(outbox, 3)
    post.step()
    post.wire.answer("Not authorized")
    assert post.step() == pytest.approx(1.0)
    post.now += 1.0
    post.step()
    assert post.wire.published[6:] == [1]
    post.wire.answer("Not authorized")
    post.step()  # telemetry is due as well, and may be heard although swaps are not
    assert post.wire.published[6:] == [1, 4]
    post.exchange()
    assert post.wire.published[8:] == [1, 2, 3, 5, 6]
    assert outbox.acknowledged == 6


def test_when_somebody_comes_all_kinds_go_in_order(outbox: Outbox) -> None:
    post = Post(outbox)
    for _ in range(20):
        telemetry(outbox, 3)
        swap(outbox)
    post.step()
    post.wire.answer(NOBODY)
    post.step()
    sent = len(post.wire.published)
    post.courier.heard()
    post.exchange()
    assert post.wire.published[sent:] == list(range(1, 81))


def test_a_payload_that_a_broker_finds_invalid_is_given_up(outbox: Outbox) -> None:
    post = Post(outbox)
    telemetry(outbox, 3)
    post.step()
    post.wire.answer(count=1)
    post.wire.answer("Payload format invalid", count=1)
    post.exchange()
    assert outbox.state().dropped == {"telemetry": 1}
    assert (outbox.acknowledged, outbox.state().waiting) == (3, 0)
    assert not post.courier.stalled


def test_a_full_queue_is_waited_out_in_order(outbox: Outbox) -> None:
    post = Post(outbox)
    post.wire.error = "queue_full"
    telemetry(outbox, 3)
    wait_s = post.step()
    assert wait_s == pytest.approx(1.0)
    post.wire.error = None
    post.now += 1.0
    post.exchange()
    assert post.wire.published == [1, 2, 3]


def test_a_record_that_no_broker_takes_is_given_up_and_stops_no_other(outbox: Outbox) -> None:
    post = Post(outbox)
    telemetry(outbox)
    swap(outbox)
    telemetry(outbox)
    post.wire.too_large = b'"state":"failed"'
    post.exchange()
    assert post.wire.published == [1, 3]
    assert outbox.state().dropped == {"swap": 1}
    assert outbox.acknowledged == 3
    assert outbox.resend([SeqRange(boot_id="boot-1", first=1, last=3)]) == (2, 1)


def test_what_is_asked_for_again_is_sent_again(outbox: Outbox) -> None:
    post = Post(outbox)
    telemetry(outbox, 5)
    post.exchange()
    outbox.resend([SeqRange(boot_id="boot-1", first=2, last=3)])
    telemetry(outbox)
    post.exchange()
    assert post.wire.published == [1, 2, 3, 4, 5, 2, 3, 6]


def test_a_record_asked_for_while_it_is_under_way_goes_once(outbox: Outbox) -> None:
    post = Post(outbox)
    telemetry(outbox, 2)
    post.step()
    outbox.resend([SeqRange(boot_id="boot-1", first=1, last=2)])
    post.exchange()
    assert post.wire.published == [1, 2]


def test_a_record_dropped_while_it_is_under_way_harms_nothing(box: Box, outbox: Outbox) -> None:
    post = Post(outbox)
    telemetry(outbox, 2)
    post.step()
    outbox.give_up(rows(outbox)[0].id)
    post.exchange()
    assert (outbox.acknowledged, outbox.state().waiting) == (2, 0)


def test_an_outbox_that_fails_is_tried_again_later(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    post = Post(outbox)
    telemetry(outbox, 2)
    post.step()
    post.wire.answer()

    def fails(_ids: object) -> None:
        raise OutboxError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(outbox, "mark_sent", fails)
        wait_s = post.step()
        assert wait_s == pytest.approx(1.0)
        assert not post.courier.idle
    post.now += 1
    post.exchange()
    assert (outbox.acknowledged, post.wire.published) == (2, [1, 2])


def test_two_couriers_after_another_never_lose_a_row(box: Box) -> None:
    """A start of the agent forgets what was under way; the outbox does not."""
    with box.file(durable=False) as file:
        outbox = box.open("boot-1", file=file)
        telemetry(outbox, 10)
        post = Post(outbox)
        post.step()
        post.wire.answer(count=4)
        post.step()
    with box.file(durable=False) as file:
        again = box.open("boot-2", file=file)
        assert numbers(rows(again)) == [5, 6, 7, 8, 9, 10]
        send_all(again)
        assert rows(again) == []
