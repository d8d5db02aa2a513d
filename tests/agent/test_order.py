"""Small requests overtake long ones for which there is no room, and nothing else does."""

from __future__ import annotations

from edgeqa_agent.jobs import Task
from edgeqa_agent.order import SPARE, next_request
from edgeqa_agent.request import SMALL_CHARS, Request

THREADS = 2
ROOM = THREADS + SPARE


def request(*, small: bool = True, attempts: int = 0) -> Request:
    text = "x" * (10 if small else SMALL_CHARS + 1)
    return Request([Task("q", text, 1)], None, lambda *_: None, attempts=attempts)


def following(waiting: list[Request], running: list[Request]) -> Request | None:
    return next_request(waiting, running, threads=THREADS)


def test_the_first_is_next_while_there_is_room_for_its_kind() -> None:
    for kind in (True, False):
        first, second = request(small=kind), request(small=not kind)
        assert following([first, second], [request(small=kind)] * (ROOM - 1)) is first
    assert following([], []) is None


def test_a_small_one_overtakes_long_ones_that_wait_for_room() -> None:
    small = request()
    waiting = [request(small=False), request(small=False), small, request()]
    assert following(waiting, [request(small=False)] * ROOM) is small


def test_a_long_one_overtakes_nobody() -> None:
    waiting = [request(), request(small=False)]
    assert following(waiting, [request()] * ROOM) is None


def test_nothing_is_next_where_both_kinds_have_all_their_room() -> None:
    running = [request()] * ROOM + [request(small=False)] * ROOM
    assert following([request(small=False), request()], running) is None


def test_what_may_have_killed_a_model_is_asked_alone_and_overtaken_by_nobody() -> None:
    suspect = request(small=False, attempts=1)
    assert following([suspect, request()], []) is suspect
    assert following([suspect, request()], [request()]) is None
    assert following([request()], [suspect]) is None
