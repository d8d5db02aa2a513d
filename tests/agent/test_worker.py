"""A worker over a real engine: turns, batches, refusals, deadlines, and answers that stay."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from multiprocessing import Pipe
from typing import Any

import pytest
from support.swaps import L3

from edgeqa.reader.engine import Engine
from edgeqa_agent.jobs import Done, Job, Task, decode_report, encode
from edgeqa_agent.worker import Worker

SHORT = Task("Where does it stand?", "The sensor stands on the roof of the hall.", 1)
_LINES = [
    f"Hall {n} was built in {1800 + n} by the firm of engineer number {n}." for n in range(400)
]
LONG = Task("When was hall 17 built?", " ".join(_LINES), 3)


class Bench:
    """The main process's side of a worker in this process."""

    def __init__(self) -> None:
        self.engine = Engine.load(L3, threads=2)
        self.ours, theirs = Pipe()
        self.alone: list[bool] = []
        self._watch()
        worker = Worker(engine=self.engine, connection=theirs, threads=2)
        self._thread = threading.Thread(target=worker.run)
        self._thread.start()

    def _watch(self) -> None:
        read_window = self.engine.read_window

        def noted(window: Any, **how: Any) -> Any:
            self.alone.append(how["alone"])
            return read_window(window, **how)

        self.engine.read_window = noted  # type: ignore[method-assign]  # as the one it wraps

    def ask(self, number: int, *tasks: Task, stop_at: float | None = None) -> None:
        self.ours.send_bytes(encode(Job(number, list(tasks), stop_at)))

    def done(self) -> Done:
        assert self.ours.poll(60)
        report = decode_report(self.ours.recv_bytes())
        assert isinstance(report, Done)
        return report

    def close(self) -> None:
        self.ours.close()
        self._thread.join(30)
        assert not self._thread.is_alive()


@pytest.fixture(scope="module")
def opened() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.close()


@pytest.fixture
def bench(opened: Bench) -> Bench:
    opened.alone.clear()
    return opened


def spans(bench: Bench, task: Task) -> list[tuple[str, int, int, float]]:
    """What the engine alone answers."""
    reading = bench.engine.answer(task.question, task.context, top_k=task.top_k)
    bench.alone.clear()
    return [(span.text, span.start, span.end, span.score) for span in reading.spans]


def test_one_question_alone_gets_all_cores(bench: Bench) -> None:
    bench.ask(1, SHORT)
    done = bench.done()
    assert bench.alone == [True]
    assert (done.number, done.outcomes[0].windows) == (1, 1)
    assert done.outcomes[0].spans == spans(bench, SHORT)
    assert done.outcomes[0].inference_ms > 0
    assert 0 < done.begun_at <= time.monotonic()


def test_the_windows_of_a_lone_text_are_read_side_by_side_and_answer_as_one_after_the_other(
    bench: Bench,
) -> None:
    wanted = spans(bench, LONG)
    bench.ask(1, LONG)
    done = bench.done()
    windows = done.outcomes[0].windows
    assert windows > 10
    assert bench.alone.count(True) == windows % 2
    assert done.outcomes[0].spans == wanted


def test_short_questions_do_not_wait_for_a_long_text(bench: Bench) -> None:
    for number in range(4):
        bench.ask(number, LONG)
    for number in range(4, 8):
        bench.ask(number, SHORT)
    order = [bench.done().number for _ in range(8)]
    assert set(order[:4]) == {4, 5, 6, 7}


def test_a_batch_is_answered_in_its_order_and_takes_turns_with_others(bench: Bench) -> None:
    other = Task("What was built?", "A hall was built.", 1)
    empty = Task("?" * 2000, "A hall was built.", 1)
    batch = [SHORT, other, empty, LONG, *[SHORT] * 20]
    bench.ask(1, *batch)
    bench.ask(2, other)
    first, second = bench.done(), bench.done()
    assert (first.number, second.number) == (2, 1)
    outcomes = second.outcomes
    assert [bool(outcome.error) for outcome in outcomes] == [task is empty for task in batch]
    assert outcomes[2].error is not None
    assert outcomes[2].error[0] == "question_too_long"
    assert [outcome.spans for outcome in (outcomes[0], outcomes[1], outcomes[3])] == [
        spans(bench, task) for task in (SHORT, other, LONG)
    ]


def test_no_window_is_begun_after_the_deadline(bench: Bench) -> None:
    bench.ask(1, LONG, stop_at=time.monotonic() - 1)
    error = bench.done().outcomes[0].error
    assert error is not None
    assert error[0] == "expired"
    assert bench.alone == []


def test_many_questions_from_many_sides_each_get_their_own_answer(bench: Bench) -> None:
    texts = {n: Task("What is it?", f"The word is number {n}.", 1) for n in range(60)}
    wanted = {n: spans(bench, task) for n, task in texts.items()}
    for number, task in texts.items():
        bench.ask(number, task)
    got = {done.number: done.outcomes[0].spans for done in (bench.done() for _ in texts)}
    assert got == wanted
