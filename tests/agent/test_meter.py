"""What is counted of questions, and that nothing is counted twice, lost, or without a bound."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from edgeqa.messages import ModelRef
from edgeqa.telemetry_messages import MAX_CHOICES, MAX_OUTCOMES, Telemetry
from edgeqa_agent.jobs import Outcome, refused
from edgeqa_agent.meter import PARTS, Figures, Meter
from edgeqa_agent.request import Request


def answered(*, begun_at: float = 100.5, tokenise_ms: float = 2.0) -> Outcome:
    return Outcome(
        spans=[("a", 0, 1, 0.9)],
        no_answer_score=0.0,
        windows=1,
        inference_ms=20.0,
        tokenise_ms=tokenise_ms,
        decode_ms=0.25,
        begun_at=begun_at,
    )


def request(*done: Callable[[], None]) -> Request:
    """Calls `done` when it is complete."""

    def complete(outcomes: list[Outcome], begun_at: float, model: ModelRef | None) -> None:
        del outcomes, begun_at, model
        for call in done:
            call()

    return Request([], None, complete)


def record_of(figures: Figures) -> Telemetry:
    """As it goes over the wire: everything that a meter gives must fit into a record."""
    record = Telemetry.model_validate(
        {
            "device": "pi",
            "boot_id": "b",
            "seq": 1,
            "time_ms": 1,
            "uptime_ms": 1,
            "interval_s": 60,
            **figures.as_fields(),
        }
    )
    return Telemetry.model_validate_json(record.to_json())


def test_an_answer_that_was_kept_counts_and_hides_no_times_of_the_model() -> None:
    meter = Meter()
    kept = Outcome([("x", 0, 1, 0.5)], 0.1, 1, 0.0, begun_at=100.5, cached=True)
    inferred = Outcome([("x", 0, 1, 0.5)], 0.1, 1, 30.0, begun_at=100.5)
    meter.completed([kept, inferred, kept], received_at=100.0, done_at=101.0)
    meter.published(3, seconds=0.1)
    meter.completed([kept], received_at=100.0, done_at=101.0)
    figures = meter.take()
    assert figures.outcomes == {"answered": 4}
    assert figures.cached == 3
    counts = {part: histogram.count for part, histogram in figures.latency.items()}
    assert counts.pop("publish") == 3
    assert set(counts.values()) == {1}
    assert len(counts) == 5
    assert figures.plus(figures).as_fields()["cached"] == 6


def test_each_part_of_an_answered_question_is_measured_once() -> None:
    meter = Meter()
    meter.completed([answered()], received_at=100.0, done_at=100.6)
    meter.published(1, seconds=0.003)

    figures = meter.take()
    assert figures.outcomes == {"answered": 1}
    sums = {part: histogram.sum for part, histogram in figures.latency.items()}
    assert sums == pytest.approx(
        # What waits until inference begins, less the tokenising in it.
        {"queue": 498, "tokenise": 2, "inference": 20, "decode": 0.25, "publish": 3, "total": 600}
    )
    assert [figures.latency[part].count for part in PARTS] == [1] * 6
    assert figures.batch is not None
    assert (figures.batch.count, figures.batch.sum) == (1, 1)


def test_refused_questions_of_a_batch_count_and_have_no_times() -> None:
    meter = Meter()
    outcomes = [answered(), refused("unknown_context", ""), refused("expired", ""), answered()]
    meter.completed(outcomes, received_at=100.0, done_at=101.0)
    meter.refused("busy", 7)

    figures = meter.take()
    assert figures.outcomes == {"answered": 2, "unknown_context": 1, "expired": 1, "busy": 7}
    assert {histogram.count for histogram in figures.latency.values()} == {2}
    assert figures.batch is not None
    assert (figures.batch.count, figures.batch.sum) == (1, 4)


def test_taking_begins_anew() -> None:
    meter = Meter()
    assert meter.take().empty
    meter.refused("not_json", 1)

    assert not meter.take().empty
    assert meter.take() == Figures()


@pytest.mark.parametrize("code", ["", "Busy", "a b", "1st", "x" * 65, "<script>", "ü", "a\n"])
def test_code_that_no_record_may_hold_counts_as_other(code: str) -> None:
    meter = Meter()
    meter.completed([refused(code, "")], received_at=0, done_at=1)

    assert record_of(meter.take()).outcomes == {"other": 1}


def test_endless_codes_of_a_mad_model_process_are_added_up() -> None:
    meter = Meter()
    meter.completed([answered()] * 300, received_at=0, done_at=1)
    for number in range(1000):
        meter.refused(f"code_{number}", 1)

    outcomes = record_of(meter.take()).outcomes
    assert len(outcomes) <= MAX_OUTCOMES
    assert sum(outcomes.values()) == 1300
    assert outcomes["answered"] == 300


def test_choices_of_an_interval_and_the_next_add_up_and_stay_bounded() -> None:
    meter = Meter()
    digest = "sha256:" + "a" * 64
    models = [ModelRef(name="m", version=f"1.0.{n}", digest=digest) for n in range(2 * MAX_CHOICES)]
    for model in models:
        meter.chosen(model, "calm", 1)
    meter.chosen(models[-1], "load", 3)
    first = meter.take()
    meter.chosen(models[-1], "load", 4)
    both = record_of(first.plus(meter.take()))

    assert both.choices is not None
    assert len(both.choices) == MAX_CHOICES
    most = both.choices[0]
    assert (most.model.version, most.reason, most.questions) == (models[-1].version, "load", 7)


def test_impossible_times_of_a_mad_model_process_do_not_spoil_the_others() -> None:
    meter = Meter()
    for begun_at, tokenise_ms in ((1e300, 1.0), (-1e300, 1.0), (100.1, 1e300), (100.1, -5.0)):
        wrong = answered(begun_at=begun_at, tokenise_ms=tokenise_ms)
        meter.completed([wrong], received_at=100.0, done_at=100.2)

    latency = record_of(meter.take()).latency
    assert latency is not None
    assert latency.queue is not None
    assert latency.queue.count == 4
    assert latency.queue.sum <= 2 * 2**22  # each at most what the histogram can tell
    assert latency.total is not None
    assert latency.total.sum == pytest.approx(800)


def test_depth_counts_what_was_taken_and_not_what_was_refused() -> None:
    meter = Meter()
    taken: list[Request] = []

    def offer(request: Request) -> bool:
        if len(taken) == 2:
            return False
        taken.append(request)
        return True

    done: list[str] = []
    offer_metered = meter.through(offer)
    for _ in range(3):
        offer_metered(request(lambda: done.append("x")))
    figures = meter.take()
    assert (figures.depth, figures.depth_max) == (2, 2)

    taken[0].complete([], 0.0, None)
    figures = meter.take()
    assert (figures.depth, figures.depth_max, done) == (1, 2, ["x"])
    assert meter.take().depth_max == 1


def test_request_that_is_complete_before_its_offer_returns_was_one_deep() -> None:
    meter = Meter()

    def offer(request: Request) -> bool:
        request.complete([], 0.0, None)
        return True

    meter.through(offer)(request())

    figures = meter.take()
    assert (figures.depth, figures.depth_max) == (0, 1)


def test_figures_of_two_intervals_add_up() -> None:
    meter = Meter()
    parts = []
    for _ in range(2):
        meter.completed([answered(), refused("expired", "")], received_at=100.0, done_at=100.6)
        meter.published(1, seconds=0.002)
        parts.append(meter.take())

    both = parts[0].plus(parts[1])
    assert both.outcomes == {"answered": 2, "expired": 2}
    assert [both.latency[part].count for part in PARTS] == [2] * 6
    assert both.batch is not None
    assert both.batch.sum == 4
    assert Figures().plus(parts[0]).latency == parts[0].latency


def test_figures_that_are_kept_for_long_stay_bounded() -> None:
    kept = Figures()
    for number in range(3 * MAX_OUTCOMES):
        kept = kept.plus(Figures(outcomes={f"code_{number}": 1}))

    assert len(kept.outcomes) <= MAX_OUTCOMES
    assert sum(record_of(kept).outcomes.values()) == 3 * MAX_OUTCOMES


def test_nothing_is_lost_or_counted_twice_between_threads() -> None:
    meter = Meter()
    offer = meter.through(lambda _: True)
    ended = threading.Event()
    taken: list[Figures] = []

    def ask() -> None:
        for _ in range(500):
            asked = request()
            offer(asked)
            asked.complete([], 0.0, None)
            outcomes = [answered(), refused("expired", "")]
            meter.completed(outcomes, received_at=100.0, done_at=100.6)
            meter.published(1, seconds=0.001)
            meter.refused("busy", 1)

    def collect() -> None:
        while not ended.is_set():
            taken.append(meter.take())
            time.sleep(0.001)

    collector = threading.Thread(target=collect)
    collector.start()
    with ThreadPoolExecutor(4) as pool:
        for future in [pool.submit(ask) for _ in range(4)]:
            future.result()
    ended.set()
    collector.join()
    taken.append(meter.take())

    outcomes: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    for figures in taken:
        outcomes.update(figures.outcomes)
        counts.update({part: histogram.count for part, histogram in figures.latency.items()})
    assert outcomes == {"answered": 2000, "expired": 2000, "busy": 2000}
    assert counts == dict.fromkeys(PARTS, 2000)
    assert taken[-1].depth == 0
