"""Requests take turns window by window, and a lone one has all cores."""

from __future__ import annotations

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from edgeqa_agent.turns import Line, Turn, Turns


def take(turns: Turns[str], *, expected: bool = False) -> Turn[str] | None:
    return turns.take(expected=lambda: expected)


def offered(turns: Turns[str], *names: str) -> Line[str]:
    line: Line[str] = Line()
    turns.offer(line, list(names))
    return line


def test_a_window_that_is_alone_gets_all_cores() -> None:
    turns: Turns[str] = Turns(4)
    offered(turns, "a")
    turn = take(turns)
    assert turn is not None
    assert (turn.window, turn.cores, turn.alone) == ("a", 4, True)
    offered(turns, "b")
    assert take(turns) is None
    turns.end(turn)
    assert take(turns) is not None


def test_a_window_gets_one_core_where_others_are_ready_expected_or_being_read() -> None:
    turns: Turns[str] = Turns(3)
    offered(turns, "a")
    offered(turns, "b")
    first = take(turns)
    second = take(turns)  # "a" is being read
    offered(turns, "c")
    third = take(turns, expected=True)
    assert [turn and turn.cores for turn in (first, second, third)] == [1, 1, 1]


def test_a_long_request_takes_turns_with_others() -> None:
    turns: Turns[str] = Turns(1)
    long = offered(turns, "l1", "l2", "l3", "l4")
    order = []
    for late in ("s1", "s2", None):
        turn = take(turns)
        assert turn is not None
        order.append(turn.window)
        if late:
            offered(turns, late)
        turns.end(turn)
    while turn := take(turns):
        order.append(turn.window)
        turns.end(turn)
    assert order == ["l1", "l2", "s1", "l3", "s2", "l4"]
    assert long.reading == 0


def cores_of_one_request(windows: int, cores: int) -> list[int]:
    """What each window of the only request gets, where those that begin together end together."""
    turns: Turns[str] = Turns(cores)
    offered(turns, *map(str, range(windows)))
    got: list[int] = []
    while True:
        begun = []
        while turn := take(turns):
            begun.append(turn)
        if not begun:
            return got
        got += [turn.cores for turn in begun]
        for turn in begun:
            turns.end(turn)


def test_the_windows_of_a_lone_request_are_read_side_by_side_and_the_rest_with_all_cores() -> None:
    assert cores_of_one_request(1, 2) == [2]
    assert cores_of_one_request(2, 2) == [1, 1]
    assert cores_of_one_request(3, 2) == [1, 1, 2]
    assert cores_of_one_request(6, 4) == [1, 1, 1, 1, 4, 4]
    assert cores_of_one_request(3, 1) == [1, 1, 1]


def test_a_core_that_is_free_goes_to_the_next_windows_at_once() -> None:
    turns: Turns[str] = Turns(2)
    offered(turns, *"abcd")
    first, second = take(turns), take(turns)
    assert first is not None
    assert second is not None
    turns.end(first)
    third = take(turns)  # though "b" is still being read: "d" will run beside it
    assert third is not None
    assert third.cores == 1
    turns.end(second)
    fourth = take(turns)
    assert fourth is not None
    assert fourth.cores == 1


@given(st.integers(1, 4), st.lists(st.integers(1, 7), max_size=6), st.randoms())
def test_every_window_is_read_once_and_no_core_twice(
    cores: int, sizes: list[int], rng: random.Random
) -> None:
    turns: Turns[str] = Turns(cores)
    waiting = [[f"{number}.{place}" for place in range(size)] for number, size in enumerate(sizes)]
    read: Counter[str] = Counter()
    begun: list[Turn[str]] = []
    while True:
        if waiting and rng.random() < 0.3:
            turns.offer(Line(), waiting.pop(0))
        turn = take(turns, expected=rng.random() < 0.2)
        if turn is not None:
            begun.append(turn)
            assert sum(one.cores for one in begun) <= cores
            continue
        if not (begun or waiting) and not turns.could_begin:
            break
        if begun:
            ended = begun.pop(rng.randrange(len(begun)))
            read[ended.window] += 1
            turns.end(ended)
    wanted = [f"{number}.{place}" for number, size in enumerate(sizes) for place in range(size)]
    assert read == Counter(wanted)
