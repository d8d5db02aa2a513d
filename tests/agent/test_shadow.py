"""What a candidate's time in the shadow finds out, and what it costs."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeqa.errors import GateError
from edgeqa.model_messages import Shadow
from edgeqa_agent.jobs import Outcome, Task, refused
from edgeqa_agent.request import Request
from edgeqa_agent.shadow import Trial

TASK = Task("q", "the fast pump of the tank", 1)


def outcome(text: str, ms: float = 10.0) -> Outcome:
    start = TASK.context.index(text)
    return Outcome([(text, start, start + len(text), 0.9)], 0.0, 1, ms)


class Candidate:
    """Answers at once, or when the test says so."""

    def __init__(self, answer: Callable[[], Outcome] | None) -> None:
        self._answer = answer
        self.asked: list[Request] = []

    def __call__(self, request: Request) -> None:
        self.asked.append(request)
        if self._answer is not None:
            request.complete([self._answer()], 0.0, None)


def trial(candidate: Candidate, **terms: float) -> Trial:
    shadow = Shadow.model_validate({"fraction": 1.0, "questions": 4, **terms})
    return Trial(shadow, ask=candidate)


def test_agreement_is_of_spans_and_of_their_words() -> None:
    answers = iter(["fast pump", "pump", "fast pump", "tank"])
    candidate = Candidate(lambda: outcome(next(answers), 20.0))
    made = trial(candidate, min_agreement=0.6)
    for _ in range(4):
        made.observe([TASK], [outcome("fast pump", 10.0)])
    assert made.wait(0)
    scores = made.scores
    assert (scores.questions, scores.wanted) == (4, 4)
    assert scores.exact_agreement == 0.5
    assert scores.f1_agreement == pytest.approx((1 + 2 / 3 + 1 + 0) / 4, abs=1e-4)
    assert scores.latency_ratio == 2.0
    made.judge()


@pytest.mark.parametrize(
    ("answer", "terms", "code"),
    [
        (outcome("tank"), {"min_agreement": 0.5}, "shadow_disagrees"),
        (outcome("fast pump", 31.0), {"max_latency_ratio": 3.0}, "shadow_slow"),
        (refused("inference_failed", "not finite"), {}, "shadow_disagrees"),
        (refused("model_crashed", "it died"), {}, "shadow_disagrees"),
    ],
)
def test_what_does_not_hold_is_refused(answer: Outcome, terms: dict[str, float], code: str) -> None:
    made = trial(Candidate(lambda: answer), **terms)
    for _ in range(4):
        made.observe([TASK], [outcome("fast pump")])
    assert made.wait(0)
    with pytest.raises(GateError) as caught:
        made.judge()
    assert caught.value.code == code


def test_too_few_questions_in_time_end_it() -> None:
    made = trial(Candidate(lambda: outcome("pump")), timeout_s=0.01)
    made.observe([TASK], [outcome("pump")])
    with pytest.raises(GateError) as caught:
        made.wait(0.05)
    assert caught.value.code == "shadow_timeout"
    assert "1 of 4" in str(caught.value)


def test_a_candidate_that_is_busy_is_asked_nothing_more() -> None:
    candidate = Candidate(None)
    made = trial(candidate)
    for _ in range(10):
        made.observe([TASK], [outcome("pump")])
    assert len(candidate.asked) == 1
    candidate.asked[0].complete([outcome("pump")], 0.0, None)
    made.observe([TASK], [outcome("pump")])
    assert len(candidate.asked) == 2


def test_refused_questions_are_not_compared_and_nothing_is_asked_after_the_end() -> None:
    candidate = Candidate(lambda: outcome("pump"))
    made = trial(candidate)
    made.observe([TASK], [refused("expired", "late")])
    assert not candidate.asked
    for _ in range(9):
        made.observe([TASK], [outcome("pump")])
    assert len(candidate.asked) == 4


@given(fraction=st.floats(0.01, 1), live=st.integers(0, 300))
def test_no_more_than_the_fraction_is_sampled(fraction: float, live: int) -> None:
    candidate = Candidate(lambda: outcome("pump"))
    made = trial(candidate, fraction=fraction, questions=1000)
    for _ in range(live):
        made.observe([TASK], [outcome("pump")])
    assert abs(len(candidate.asked) - fraction * live) <= 1.01
