"""Repeated questions are answered from what is known, equal ones in hand are inferred once."""

from __future__ import annotations

import threading
import time
import tracemalloc
from collections import Counter, deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from queue import SimpleQueue
from random import Random, choice

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from edgeqa.messages import ModelRef
from edgeqa_agent.answer_cache import AnswerCache
from edgeqa_agent.answer_cache_store import KeptAnswers, task_digest
from edgeqa_agent.jobs import Outcome, Task, refused
from edgeqa_agent.request import Request

MODELS = [ModelRef(name=name, version="1", digest=f"sha256:{name}") for name in ("old", "new")]
OLD, NEW = MODELS


def answer_of(model: ModelRef, task: Task) -> Outcome:
    text = f"{model.name} {task.question}"
    return Outcome([(text, 0, len(text), 0.5)], 0.1, 1, 30.0, None, 0.2, 0.3, time.monotonic())


@dataclass
class Queue:
    """The queue behind the cache, in the place of a dispatcher: it answers when it is told to."""

    model: ModelRef | None = OLD
    room: int = 100
    waiting: deque[Request] = field(default_factory=deque)
    inferred: Counter[tuple[str, str]] = field(default_factory=Counter)

    def offer(self, request: Request) -> bool:
        if len(self.waiting) >= self.room:
            return False
        self.waiting.append(request)
        return True

    def work(self, index: int = 0, *, error: str | None = None) -> None:
        """Answer a request with the model of this moment."""
        request = self.waiting[index]
        del self.waiting[index]
        assert self.model is not None
        outcomes = []
        for task in request.tasks:
            if error is None:
                self.inferred[self.model.name, task.question] += 1
            outcomes.append(refused(error, "no") if error else answer_of(self.model, task))
        request.complete(outcomes, time.monotonic(), self.model)


@dataclass
class Asked:
    """A request, and what became of it."""

    request: Request
    outcomes: list[Outcome] | None = None
    begun_at: float = 0.0
    model: ModelRef | None = None

    @property
    def texts(self) -> list[str]:
        assert self.outcomes is not None
        return [one.error[0] if one.error else one.spans[0][0] for one in self.outcomes]

    @property
    def cached(self) -> list[bool]:
        assert self.outcomes is not None
        return [one.cached for one in self.outcomes]


class Bench:
    """A cache before a queue."""

    def __init__(self, *, entries: int = 100, most_bytes: int = 1 << 20, most: int = 10) -> None:
        self.queue = Queue()
        self.expected: ModelRef | None = None  # the model that the queue has, unless said
        self.kept = KeptAnswers(most_entries=entries, most_bytes=most_bytes)
        self.cache = AnswerCache(
            offer=self.queue.offer,
            expect=lambda _: self.expected or self.queue.model,
            kept=self.kept,
            most_followers=most,
        )

    def ask(self, *questions: str, taken: bool = True, stop_at: float | None = None) -> Asked:
        tasks = [Task(question, "the text", 1) for question in questions]
        asked = Asked(Request(tasks, stop_at, lambda *_: None))

        def complete(outcomes: list[Outcome], begun_at: float, model: ModelRef | None) -> None:
            assert asked.outcomes is None, "completed twice"
            asked.outcomes, asked.begun_at, asked.model = outcomes, begun_at, model

        asked.request.complete = complete
        assert self.cache.offer(asked.request) is taken
        return asked


def test_a_question_asked_again_is_answered_without_the_model() -> None:
    bench = Bench()
    first = bench.ask("who")
    bench.queue.work()
    again = bench.ask("who")
    assert not bench.queue.waiting
    assert again.texts == first.texts == ["old who"]
    assert (first.cached, again.cached) == ([False], [True])
    assert again.model == OLD
    [outcome] = again.outcomes or []
    assert (outcome.inference_ms, outcome.tokenise_ms, outcome.decode_ms) == (0, 0, 0)
    assert outcome.no_answer_score == 0.1
    assert outcome.windows == 1


@pytest.mark.parametrize(
    "other", [Task("who?", "c", 1), Task("who", "c ", 1), Task("who", "c", 2), Task("w", "hoc", 1)]
)
def test_question_text_and_number_of_answers_must_be_the_same(other: Task) -> None:
    assert task_digest(other) != task_digest(Task("who", "c", 1))


def test_another_model_is_asked_again_and_the_old_answer_is_there_after_the_way_back() -> None:
    bench = Bench()
    bench.ask("who")
    bench.queue.work()
    bench.queue.model = NEW
    after = bench.ask("who")
    bench.queue.work()
    assert (after.texts, after.cached, after.model) == (["new who"], [False], NEW)
    bench.queue.model = OLD
    back = bench.ask("who")
    assert (back.texts, back.cached, back.model) == (["old who"], [True], OLD)


def test_equal_questions_in_hand_are_inferred_once() -> None:
    bench = Bench()
    asked = [bench.ask("who") for _ in range(4)]
    assert len(bench.queue.waiting) == 1
    bench.queue.work()
    assert [one.texts for one in asked] == [["old who"]] * 4
    assert [one.cached for one in asked] == [[False], [True], [True], [True]]
    assert bench.queue.inferred == {("old", "who"): 1}


def test_more_than_may_wait_for_an_equal_one_are_asked_themselves() -> None:
    bench = Bench(most=2)
    for _ in range(5):
        bench.ask("who")
    assert len(bench.queue.waiting) == 3


def test_a_model_that_came_meanwhile_answers_those_that_waited_too() -> None:
    bench = Bench()
    first, second = bench.ask("who"), bench.ask("who")
    bench.queue.model = NEW  # a swap, before the model had the first
    bench.queue.work()
    assert first.texts == second.texts == ["new who"]
    assert first.model == second.model == NEW
    assert bench.queue.inferred == {("new", "who"): 1}


def test_an_answer_of_a_model_that_is_not_wanted_any_more_is_not_passed_on() -> None:
    bench = Bench()
    first = bench.ask("who")
    bench.queue.model = NEW
    second = bench.ask("who")  # expects the new model, so it follows nobody
    bench.queue.model = OLD
    bench.queue.work()
    assert (first.texts, first.model) == (["old who"], OLD)
    assert second.outcomes is None
    bench.queue.model = NEW
    bench.queue.work()
    assert (second.texts, second.model) == (["new who"], NEW)


def test_one_that_wants_the_other_of_two_models_does_not_get_what_another_got() -> None:
    bench = Bench()
    bench.expected = OLD
    first, second = bench.ask("who"), bench.ask("who")
    bench.queue.model = NEW  # it was chosen when the first had its turn
    bench.queue.work()
    assert (first.texts, first.model) == (["new who"], NEW)
    assert second.outcomes is None
    bench.queue.model = OLD
    bench.queue.work()
    assert (second.texts, second.model) == (["old who"], OLD)


def test_why_a_model_was_chosen_reaches_the_message() -> None:
    bench = Bench()
    asked = bench.ask("who")
    bench.queue.waiting[0].choice = "load"
    bench.queue.work()
    assert asked.request.choice == "load"


def test_one_that_is_refused_does_not_disturb_those_that_wait() -> None:
    bench = Bench(most=1)
    first, second = bench.ask("who"), bench.ask("who")
    bench.queue.room = 1
    bench.ask("who", taken=False)
    assert second.outcomes is None
    bench.queue.work()
    assert (first.texts, second.texts) == (["old who"], ["old who"])


def test_a_refusal_is_not_passed_on_and_not_kept() -> None:
    bench = Bench()
    first, second, third = (bench.ask("who") for _ in range(3))
    bench.queue.work(error="expired")
    assert first.texts == ["expired"]
    assert second.outcomes is third.outcomes is None
    assert len(bench.queue.waiting) == 1  # the second leads now
    bench.queue.work()
    assert second.texts == third.texts == ["old who"]


def test_those_that_waited_are_told_where_the_queue_is_full_meanwhile() -> None:
    bench = Bench()
    first, second = bench.ask("who"), bench.ask("who")
    bench.queue.room = 0
    bench.queue.work(error="expired")
    assert (first.texts, second.texts) == (["expired"], ["busy"])


def test_a_deadline_that_passed_before_the_inference_began_is_expired() -> None:
    bench = Bench()
    first = bench.ask("who")
    late = bench.ask("who", stop_at=time.monotonic() - 0.001)
    bench.queue.work()
    assert (first.texts, late.texts) == (["old who"], ["expired"])
    assert bench.ask("who", stop_at=time.monotonic() - 0.001).texts == ["expired"]
    assert bench.ask("who", stop_at=time.monotonic() + 60).texts == ["old who"]


def test_of_a_batch_only_what_is_not_known_is_asked() -> None:
    bench = Bench()
    bench.ask("a", "b")
    bench.queue.work()
    batch = bench.ask("a", "c", "b", "c")
    assert [task.question for task in bench.queue.waiting[0].tasks] == ["c"]
    bench.queue.work()
    assert batch.texts == ["old a", "old c", "old b", "old c"]
    assert batch.cached == [True, False, True, True]


def test_a_batch_names_the_one_model_that_answered_all_of_it() -> None:
    bench = Bench()
    bench.ask("a")
    bench.queue.work()
    batch = bench.ask("a", "b")
    bench.queue.model = NEW  # and what is known of the old one does not go with it
    bench.queue.work()
    assert batch.outcomes is None
    bench.queue.work()
    assert (batch.texts, batch.model) == (["new a", "new b"], NEW)


def test_a_full_queue_refuses_and_leaves_nothing_behind() -> None:
    bench = Bench()
    waiting = bench.ask("a")
    bench.queue.room = 1
    bench.ask("a", "b", taken=False)
    bench.queue.room = 2
    bench.queue.work()
    assert waiting.texts == ["old a"]
    later = bench.ask("b")  # nobody leads it
    bench.queue.work()
    assert later.texts == ["old b"]


def test_without_a_model_to_expect_questions_pass_and_nothing_is_kept() -> None:
    bench = Bench()
    bench.queue.model = None
    first, second = bench.ask("who"), bench.ask("who")
    assert len(bench.queue.waiting) == 2
    bench.queue.model = OLD
    bench.queue.work()
    bench.queue.work()
    assert first.cached == second.cached == [False]
    assert len(bench.kept) == 0


def test_what_is_kept_is_bounded_in_number_and_bytes_and_the_oldest_goes() -> None:
    outcome = answer_of(OLD, Task("q" * 1000, "c", 1))
    kept = KeptAnswers(most_entries=5, most_bytes=1 << 20)
    for number in range(8):
        kept.put(("m", bytes([number])), outcome)
        kept.get(("m", b"\0"))
    assert len(kept) == 5
    assert [bool(kept.get(("m", bytes([n])))) for n in range(8)] == [1, 0, 0, 0, 1, 1, 1, 1]
    small = KeptAnswers(most_entries=100, most_bytes=10_000)
    for number in range(20):
        small.put(("m", bytes([number])), outcome)
        assert small.size_bytes <= 10_000
    assert 3 < len(small) < 10
    small.put(("m", b"\x13"), outcome)  # again: it counts once
    before = small.size_bytes
    small.put(("m", b"\x13"), outcome)
    assert small.size_bytes == before
    small.put(("m", b"huge"), replace(outcome, spans=[("x" * 20_000, 0, 20_000, 1.0)]))
    assert small.size_bytes == before, "one that is larger than all room takes nothing from others"


def test_it_takes_no_more_memory_than_it_says() -> None:
    kept = KeptAnswers(most_entries=10_000, most_bytes=1 << 30)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number in range(3000):
            # As they come from JSON: nothing of one is shared with another.
            spans = [
                (f"answer {number} {place}", 10_000 + number, 20_000 + number, number / 7919)
                for place in range(number % 4)
            ]
            outcome = Outcome(spans, number / 3, 1000 + number, number / 7, None, 0.1, 0.2, 0.3)
            kept.put((OLD.digest, task_digest(Task(str(number), "c", 1))), outcome)
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert len(kept) == 3000
    assert 0.6 * kept.size_bytes < taken <= kept.size_bytes


def test_many_threads_ask_and_answer_at_once_and_each_gets_its_own_answer() -> None:
    bench = Bench(entries=20, most=50)
    waiting: SimpleQueue[Request | None] = SimpleQueue()
    bench.cache._ask = lambda request: waiting.put(request) or True  # type: ignore[func-returns-value]

    def answer() -> None:
        while (request := waiting.get()) is not None:
            model = choice(MODELS)
            bench.queue.model = model
            outcomes = [answer_of(model, task) for task in request.tasks]
            request.complete(outcomes, time.monotonic(), model)

    def ask(number: int) -> list[Asked]:
        draw = Random(number)
        return [bench.ask(*draw.choices("abcdefghijkl", k=3)) for _ in range(200)]

    workers = [threading.Thread(target=answer) for _ in range(3)]
    for worker in workers:
        worker.start()
    with ThreadPoolExecutor(4) as pool:
        asked = [one for some in pool.map(ask, range(4)) for one in some]
    deadline = time.monotonic() + 30
    while any(one.outcomes is None for one in asked) and time.monotonic() < deadline:
        time.sleep(0.01)
    for _ in workers:
        waiting.put(None)
    for worker in workers:
        worker.join()
    for one in asked:
        assert one.model is not None
        assert one.texts == [f"{one.model.name} {task.question}" for task in one.request.tasks]
    assert not bench.cache._flights
    assert bench.cache._following == 0


class Everything(RuleBasedStateMachine):
    """Whatever happens in whatever order, each question is answered once and by the model named."""

    def __init__(self) -> None:
        super().__init__()
        self.bench = Bench(entries=6, most=3)
        self.asked: list[Asked] = []

    @rule(
        questions=st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=4),
        room=st.sampled_from([0, 1, 100]),
    )
    def ask(self, questions: list[str], room: int) -> None:
        self.bench.queue.room = room
        tasks = [Task(question, "the text", 1) for question in questions]
        one = Asked(Request(tasks, None, lambda *_: None))

        def complete(outcomes: list[Outcome], begun_at: float, model: ModelRef | None) -> None:
            assert one.outcomes is None, "completed twice"
            one.outcomes, one.begun_at, one.model = outcomes, begun_at, model

        one.request.complete = complete
        if self.bench.cache.offer(one.request):
            self.asked.append(one)
        else:
            assert one.outcomes is None

    @precondition(lambda self: self.bench.queue.waiting)
    @rule(data=st.data(), error=st.sampled_from([None, None, None, "expired"]))
    def work(self, data: st.DataObject, error: str | None) -> None:
        index = data.draw(st.integers(0, len(self.bench.queue.waiting) - 1))
        self.bench.queue.work(index, error=error)

    @rule(model=st.sampled_from(MODELS))
    def swap(self, model: ModelRef) -> None:
        self.bench.queue.model = model

    @invariant()
    def what_is_answered_is_right(self) -> None:
        for one in self.asked:
            if one.outcomes is None:
                continue
            for task, text in zip(one.request.tasks, one.texts, strict=True):
                assert one.model is not None
                assert text in {f"{one.model.name} {task.question}", "expired", "busy"}

    def teardown(self) -> None:
        self.bench.queue.room = 1000
        for _ in range(1000):
            if not self.bench.queue.waiting:
                break
            self.bench.queue.work()
        assert not self.bench.queue.waiting
        self.what_is_answered_is_right()
        assert all(one.outcomes is not None for one in self.asked), "one was never answered"
        assert not self.bench.cache._flights
        assert self.bench.cache._following == 0


TestEverything = Everything.TestCase
TestEverything.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
