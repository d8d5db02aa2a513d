"""Do two architectures answer alike? The same questions, to a container of each."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from edgeqa.client import Client
from edgeqa.errors import AnswerError
from edgeqa.evaluation_set import load
from edgeqa.messages import Answer
from edgeqa.squad import Example
from image_test.asking import ANSWER_TIMEOUT_S
from image_test.shell import ImageTestError

COUNT = 200
# Asked at once: enough that no core waits.
_AT_ONCE = 4


@dataclass(frozen=True)
class Given:
    """One best answer; offsets of code points, and both scores."""

    text: str
    start: int
    end: int
    score: float
    no_answer: float


@dataclass(frozen=True)
class Likeness:
    """What two lists of answers to the same questions have in common."""

    questions: int
    same_spans: int
    largest_score_difference: float
    other: list[str]


def sample(count: int = COUNT) -> list[Example]:
    """Questions of the embedded evaluation set, from all of its texts."""
    examples = load()
    return [examples[number * len(examples) // count] for number in range(count)]


def answers(client: Client, device: str, examples: Sequence[Example]) -> list[Given]:
    """The device's best answers.

    Raises:
        ImageTestError: a question was refused.
    """
    given: list[Given] = []
    for begin in range(0, len(examples), _AT_ONCE):
        futures = [
            client.submit(
                one.question, device=device, context=one.context, timeout_s=ANSWER_TIMEOUT_S
            )
            for one in examples[begin : begin + _AT_ONCE]
        ]
        given += [_given(future) for future in futures]
    return given


def compare(examples: Sequence[Example], one: Sequence[Given], other: Sequence[Given]) -> Likeness:
    """Compare answers to the same questions."""
    pairs = list(zip(one, other, strict=True))
    return Likeness(
        questions=len(pairs),
        same_spans=sum(_span(a) == _span(b) for a, b in pairs),
        largest_score_difference=max(
            max(abs(a.score - b.score), abs(a.no_answer - b.no_answer)) for a, b in pairs
        ),
        other=[
            f"{example.question} {a.text!r} ({a.score:.3f}), {b.text!r} ({b.score:.3f})"
            for example, (a, b) in zip(examples, pairs, strict=True)
            if _span(a) != _span(b)
        ],
    )


def _span(given: Given) -> tuple[str, int, int]:
    return given.text, given.start, given.end


def _given(future: Future[Answer]) -> Given:
    try:
        answer = future.result(ANSWER_TIMEOUT_S)
    except (AnswerError, TimeoutError) as error:
        raise ImageTestError(f"a question was not answered: {error}") from error
    if not answer.answers or answer.no_answer_score is None:
        raise ImageTestError(f"an answer without a span: {answer}")
    best = answer.answers[0]
    return Given(best.text, best.start, best.end, best.score, answer.no_answer_score)
