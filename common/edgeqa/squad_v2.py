"""SQuAD v2.0: questions that their text does not answer, and when to say so.

Pure Python like `squad`, so that an agent may use it. A reader gives its best span and how likely
the text holds no answer; one threshold, the *null threshold*, decides between the two.
Source: Rajpurkar et al. 2018 and the official `evaluate-v2.0.py`, whose `na_prob` is our null
score; a test demands exact agreement with `transformers.data.metrics.squad_metrics`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgeqa.squad import Example, best, exact, f1

# The text answers a question if its best span is at least as likely as no answer. In the terms of
# BERT's run_squad.py (Devlin et al. 2019, section 4.3) this is null_score_diff_threshold = 0.
EVEN = 0.5


@dataclass(frozen=True, slots=True)
class Verdict:
    """What counts as the answer to one question, and what it scores; EM and F1 from 0 to 1."""

    prediction: str
    exact_match: float
    f1: float


@dataclass(frozen=True, slots=True)
class Candidate:
    """One question as the search for the best threshold sees it.

    Attributes:
        score: EM or F1 of the span, from 0 to 1, as if no threshold was there.
        null_score: of the question.
        answerable: its text holds an answer.
        empty: the reader gave no span at all.
    """

    score: float
    null_score: float
    answerable: bool
    empty: bool = False


def null_score(span_score: float, no_answer_score: float) -> float:
    """Share of no answer in no answer and best span together, from 0 to 1; even where both are 0.

    Its logit is ln(no answer) - ln(span), for a single window exactly BERT's difference of the
    null logits to those of the span: a difference of d is a null score of 1 / (1 + exp(-d)).
    """
    both = span_score + no_answer_score
    return no_answer_score / both if both > 0 else EVEN


def judge(example: Example, span: str, null: float, threshold: float | None) -> Verdict:
    """Score a span, or the empty answer where the null score is above the threshold.

    Args:
        example: the question with its accepted answers.
        span: the reader's best span; empty if it gave none.
        null: the null score.
        threshold: None scores as SQuAD v1.1 does, the span whatever the null score is.
    """
    if threshold is not None and null > threshold:
        # As the official script: not scored against golds that normalise to nothing.
        right = float(not example.answers)
        return Verdict("", right, right)
    return Verdict(span, best(exact, example.answers, span), best(f1, example.answers, span))


def best_threshold(candidates: Sequence[Candidate]) -> tuple[float, float]:
    """The threshold with the highest total score, as the official script searches it.

    All questions are taken as unanswered, then answered one by one in the order of their null
    scores. Equal null scores are passed singly, as there, so that a score within a run of equal
    ones may be named that no threshold gives.

    Args:
        candidates: all questions.

    Returns:
        The score in percent, and the threshold; threshold 0 if none is better than no answers.
    """
    current = best_score = float(sum(not one.answerable for one in candidates))
    threshold = 0.0
    for one in sorted(candidates, key=lambda candidate: candidate.null_score):
        current += one.score if one.answerable else float(one.empty) - 1
        if current > best_score:
            best_score, threshold = current, one.null_score
    return 100 * best_score / max(1, len(candidates)), threshold
