"""The judge of the soak finds what is not as it should be; otherwise its zeros mean nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from soak.device import Swap
from soak.judge import LOST_AFTER_S, Came, Sent, Trip, judge
from soak.latency import latencies, quantile, silences
from soak.memory import at_rest, family
from soak.plot import draw
from soak.report import LoadPart, Look, MemoryPart, Soak, write_report
from soak.truth import Expected, Question, Truth, without_ties

from edgeqa.errors import DataError

A, B = "sha256:a", "sha256:b"
SPAN = ("in 2023", 10, 17, 0.5)
OTHER = ("in 2024", 30, 37, 0.4)
TRUTH = Truth(
    questions=[Question("When?", "text")],
    expected={A: [Expected((SPAN, (*SPAN[:3], 0.51)), tie=False)], B: [Expected((OTHER,), False)]},
)


def came(at: float = 1.0, **changed: object) -> Came:
    fields = {"id": "1", "at": at, "digest": A, "span": SPAN, "error": None, **changed}
    return Came(**fields)  # type: ignore[arg-type]


def test_a_good_answer_is_no_fault() -> None:
    verdict = judge([Sent("1", 0, 0.5)], [came()], TRUTH)
    assert (verdict.asked, verdict.answered, verdict.faults) == (1, 1, 0)
    assert verdict.trips == [Trip(0.5, 1.0, A)]


@pytest.mark.parametrize(
    ("messages", "fault"),
    [
        ([], "lost"),
        ([came(1 + LOST_AFTER_S)], "lost"),
        ([came(), came(2.0)], "doubled"),
        ([came(), came(2.0, span=OTHER, digest=B)], "doubled"),
        ([came(span=OTHER)], "wrong"),
        ([came(digest=B)], "wrong"),
        ([came(digest="sha256:c")], "wrong"),
        ([came(span=None)], "wrong"),
        ([came(span=("in 2023", 11, 18, 0.5))], "wrong"),
        ([came(span=("in 2023", 10, 17, 0.5003))], "wrong"),
        ([came(digest=None)], "without_digest"),
        ([came(error="busy", span=None, digest=None)], "refused"),
        ([came(), came(id="2")], "unasked"),
    ],
)
def test_each_fault_is_found_and_counted_once(messages: list[Came], fault: str) -> None:
    verdict = judge([Sent("1", 0, 0.5)], messages, TRUTH)
    assert getattr(verdict, fault) == 1
    assert verdict.faults == 1
    assert len(verdict.examples) == 1


def test_a_score_of_either_way_of_reading_is_right() -> None:
    for score in (0.50009, 0.50991):
        answers = [came(span=(*SPAN[:3], score))]
        assert judge([Sent("1", 0, 0.5)], answers, TRUTH).faults == 0


def test_questions_without_one_best_answer_are_not_asked() -> None:
    questions = [Question("clear?", "text"), Question("tie?", "text")]
    clear, tie = Expected((SPAN,), tie=False), Expected((SPAN,), tie=True)
    truth = without_ties(questions, {A: [clear, clear], B: [clear, tie]}, "data")
    assert [question.question for question in truth.questions] == ["clear?"]
    assert ([len(answers) for answers in truth.expected.values()], truth.ties) == ([1, 1], 1)
    with pytest.raises(DataError):
        without_ties(questions, {A: [tie, tie]}, "data")


def swap(source: str, target: str, begun_at: float, **changed: object) -> Swap:
    fields = {"ended_at": begun_at + 2, "state": "active", "peak_mib": 300.0, **changed}
    return Swap(source, target, begun_at, **fields)  # type: ignore[arg-type]


def test_a_question_that_a_swap_touched_counts_as_swapping() -> None:
    swaps = [swap(A, B, 10.0), swap(B, A, 20.0)]
    trips = [
        Trip(0.5, 2.0, A),  # before what is measured
        Trip(5.0, 5.1, A),
        Trip(9.9, 10.2, A),  # open when the first swap began
        Trip(12.9, 13.0, B),  # in its drain
        Trip(13.1, 13.3, B),
        Trip(21.0, 21.4, B),
        Trip(24.0, 24.1, A),
        Trip(29.9, 30.1, A),  # open at the end
    ]
    table = latencies(trips, swaps, drain_s=1.0, begin=1.0, end=30.0)
    assert {digest: row["questions"] for digest, row in table["steady"].items()} == {A: 2, B: 1}
    assert [row["questions"] for row in table["swapping"]] == [2, 1]
    assert table["swapping_all"]["p99_ms"] == 400.0
    assert (table["reference_p99_ms"], table["ratio"]) == (200.0, 2.0)
    assert table["ratio_of_worse_direction"] == 2.0


def test_steady_times_are_mixed_as_the_models_answered_while_swapping() -> None:
    trips = [Trip(t, t + 0.1, A) for t in range(100)] + [Trip(t, t + 0.2, B) for t in range(100)]
    trips += [Trip(1000.5, 1000.6, A)] * 50  # while swapping only the quick one answered
    table = latencies(trips, [swap(A, B, 1000.0)], drain_s=0.0, begin=0.0, end=2000.0)
    assert table["reference_p99_ms"] == 200.0
    assert (table["mixed_reference_p99_ms"], table["ratio_to_mixed"]) == (100.0, 1.0)


def test_the_longest_silence_is_that_between_two_answers() -> None:
    trips = [Trip(0, at, A) for at in (1.0, 1.4, 9.9, 12.0, 13.5, 14.0)]
    found = silences(trips, [swap(A, B, 10.0)], drain_s=1.0, begin=0.0, end=20.0)
    assert found == {"steady_ms": 8500.0, "swapping_ms": 2100.0}


def test_quantile() -> None:
    hundred = [float(n) for n in range(1, 101)]
    assert [quantile(hundred, share) for share in (0.5, 0.99, 1.0)] == [50.0, 99.0, 100.0]
    assert quantile([1.0, 2.0], 0.5, weights=[1.0, 9.0]) == 2.0


def test_memory_of_a_process_and_of_one_that_is_gone() -> None:
    mine = at_rest(os.getpid())
    assert mine["processes"] >= 1
    assert mine["rss_mib"] >= mine["pss_mib"] > 1
    assert family(2**22 + 1) == [2**22 + 1]
    assert at_rest(2**22 + 1)["rss_mib"] == 0


def soak() -> Soak:
    looks = [Look(3, B, 2, 200.0, 180.0, 70.0), Look(11, B, 2, 204.0, 181.0, 71.0)]
    made = Soak(threads=2, clients=8, drain_s=1.0, truth=TRUTH)
    made.load = LoadPart(wanted=1, swaps=[swap(A, B, 10.0)], begin=0.0, end=20.0)
    made.load.verdict = judge([Sent("1", 0, 0.5)], [came()], TRUTH)
    made.memory = MemoryPart(wanted=11, swaps=[swap(A, B, 30.0)], looks=looks)
    return made


def test_the_report_is_written_whatever_there_is_of_it(tmp_path: Path) -> None:
    tables = write_report(soak(), tmp_path)
    assert "resident 1.02" in tables
    assert (tmp_path / "swaps.json").read_text().startswith("{")
    assert b"<svg" in (tmp_path / "swaps.svg").read_bytes()
    write_report(Soak(threads=2, clients=8, drain_s=1.0), tmp_path)
    begun = Soak(threads=2, clients=8, drain_s=1.0, load=LoadPart(3), memory=MemoryPart(3))
    assert "0 of 3" in write_report(begun, tmp_path)


def test_a_swap_that_is_not_active_and_a_part_that_ended_early_are_faults() -> None:
    made = soak()
    assert made.faults == 0
    assert made.load is not None
    assert made.memory is not None
    made.load.swaps.append(swap(B, A, 15.0, state="failed [gate_failed]"))
    made.memory.problem = "the agent has ended"
    assert made.faults == 2


def test_the_same_soak_gives_the_same_plot() -> None:
    trips = [Trip(1.0, 1.2, A)]
    first, second = (draw(trips, [swap(A, B, 1.1)], [(3, 1.0, 1.0)], {A: "a"}) for _ in range(2))
    assert first == second
