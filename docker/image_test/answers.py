"""Do two architectures answer alike? The same questions, to a container of each.

The integer parts of an int8 model compute the same everywhere. What is in between, such as GELU and
layer normalisation, differs in its last bit. Now and then such a bit decides how a number is
rounded to eight, and after some layers scores differ by hundredths. Spans are the same, except
where a device has two that are all but equal to choose from. Those are ties and are shown; all else
is a fault.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from edgeqa.client import Client
from edgeqa.errors import AnswerError
from edgeqa.evaluation_set import load
from edgeqa.messages import Answer
from edgeqa.squad import Example, best, exact
from image_test.asking import ANSWER_TIMEOUT_S
from image_test.shell import ImageTestError

COUNT = 200
# Asked at once: enough that no core waits.
_AT_ONCE = 4
# Scores of a best and a second answer that are so near to each other are a tie.
TIE = 0.1


@dataclass(frozen=True)
class Given:
    """The best answer to a question, its score and that of none, and the second best.

    Offsets are of code points.
    """

    span: tuple[str, int, int]
    score: float
    no_answer: float
    second: tuple[str, int, int] | None
    second_score: float


@dataclass(frozen=True)
class Likeness:
    """What two lists of answers to the same questions have in common.

    Attributes:
        questions: that were asked.
        same: spans.
        largest: difference of a score.
        median: difference of a score.
        right: exact matches of the one and the other.
        ties: where each took the other's second best, in words.
        faults: all other spans that differ, in words.
    """

    questions: int
    same: int
    largest: float
    median: float
    right: tuple[int, int]
    ties: list[str]
    faults: list[str]


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
                one.question,
                device=device,
                context=one.context,
                top_k=2,
                timeout_s=ANSWER_TIMEOUT_S,
            )
            for one in examples[begin : begin + _AT_ONCE]
        ]
        given += [_given(future) for future in futures]
    return given


def compare(examples: Sequence[Example], one: Sequence[Given], other: Sequence[Given]) -> Likeness:
    """Compare answers to the same questions."""
    pairs = list(zip(one, other, strict=True))
    differing = [
        (f"{example.question} {_in_words(a)}; {_in_words(b)}", _tied(a, b) and _tied(b, a))
        for example, (a, b) in zip(examples, pairs, strict=True)
        if a.span != b.span
    ]
    differences = [
        max(abs(a.score - b.score), abs(a.no_answer - b.no_answer))
        for a, b in pairs
        if a.span == b.span
    ]
    return Likeness(
        questions=len(pairs),
        same=len(pairs) - len(differing),
        largest=max(differences),
        median=statistics.median(differences),
        right=(_right(examples, one), _right(examples, other)),
        ties=[words for words, tie in differing if tie],
        faults=[words for words, tie in differing if not tie],
    )


def _right(examples: Sequence[Example], given: Sequence[Given]) -> int:
    pairs = zip(examples, given, strict=True)
    return sum(int(best(exact, example.answers, one.span[0])) for example, one in pairs)


def _tied(one: Given, other: Given) -> bool:
    """Whether what the other took is this one's second best, and nearly its best."""
    return one.second == other.span and one.score - one.second_score <= TIE


def _in_words(given: Given) -> str:
    second = "" if given.second is None else f", {given.second[0]!r} {given.second_score:.3f}"
    return f"{given.span[0]!r} {given.score:.3f}{second}"


def _given(future: Future[Answer]) -> Given:
    try:
        answer = future.result(ANSWER_TIMEOUT_S)
    except (AnswerError, TimeoutError) as error:
        raise ImageTestError(f"a question was not answered: {error}") from error
    if not answer.answers or answer.no_answer_score is None:
        raise ImageTestError(f"an answer without a span: {answer}")
    first, *others = answer.answers
    second = others[0] if others else None
    return Given(
        span=(first.text, first.start, first.end),
        score=first.score,
        no_answer=answer.no_answer_score,
        second=None if second is None else (second.text, second.start, second.end),
        second_score=0.0 if second is None else second.score,
    )
