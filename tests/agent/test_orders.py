"""Room for one order: the newest displaces what waits and what is under way."""

from __future__ import annotations

import threading

import pytest

from edgeqa.errors import EdgeqaError
from edgeqa.model_messages import Desired
from edgeqa_agent.orders import Orders, Rollback, SupersededError


def wish(wish_id: str) -> Desired:
    return Desired(id=wish_id, name="n", version="1.0.0")


def test_the_newest_order_is_taken_and_a_displaced_rollback_is_answered() -> None:
    orders = Orders()
    said: list[EdgeqaError | None] = []
    orders.put(Rollback(said.append))
    orders.put(wish("a"))
    orders.put(wish("b"))
    assert orders.take() == wish("b")
    assert [error.code for error in said if error] == ["superseded"]


def test_what_is_under_way_goes_on_until_something_newer_comes() -> None:
    orders = Orders()
    orders.put(wish("a"))
    orders.take()
    orders.check()
    orders.pause(0)
    orders.put(wish("b"))
    for ended in (orders.check, lambda: orders.pause(60)):
        with pytest.raises(SupersededError):
            ended()


def test_the_same_wish_again_interrupts_nothing_until_it_is_done() -> None:
    orders = Orders()
    orders.put(wish("a"))
    orders.put(wish("a"))
    orders.take()
    orders.put(wish("a"))
    orders.check()
    orders.put(wish("b"))
    orders.put(wish("a"))  # the newest wish wins, also one that was displaced before
    assert orders.take() == wish("a")


def test_a_newer_order_aborts_a_load_once() -> None:
    orders = Orders()
    aborted = threading.Event()
    with orders.aborting(aborted.set):
        orders.put(wish("a"))
        assert aborted.wait(5)
    aborted.clear()
    orders.take()
    orders.put(wish("b"))
    assert not aborted.wait(0.05)


def test_a_load_is_not_begun_when_something_newer_waits() -> None:
    orders = Orders()
    orders.put(wish("a"))
    with pytest.raises(SupersededError), orders.aborting(lambda: None):
        raise AssertionError("begun")


def test_closing_ends_everything() -> None:
    orders = Orders()
    taken: list[object] = []
    thread = threading.Thread(target=lambda: taken.append(orders.take()))
    thread.start()
    orders.close()
    thread.join(5)
    assert taken == [None]
    assert orders.closed
    with pytest.raises(SupersededError):
        orders.check()
