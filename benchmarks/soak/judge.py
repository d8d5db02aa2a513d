"""What became of every question: lost, answered twice, wrong, refused, or answered well."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from soak.truth import Span, Truth

# A question without an answer after this is lost, seconds.
LOST_AFTER_S = 60.0
_EXAMPLES = 20


@dataclass(frozen=True, slots=True)
class Sent:
    """A question that a client sent; `at` is `time.monotonic()`, which processes share."""

    id: str
    question: int
    at: float


@dataclass(frozen=True, slots=True)
class Came:
    """A message that came to a client, whatever it is."""

    id: str
    at: float
    digest: str | None
    span: Span | None
    error: str | None


@dataclass(frozen=True, slots=True)
class Trip:
    """A question and its first answer."""

    sent_at: float
    came_at: float
    digest: str


@dataclass
class Verdict:
    """How many of which, and some examples of what is not as it should be.

    Attributes:
        lost: no answer within `LOST_AFTER_S`; one that came later is also in `late`.
        doubled: messages beyond the first with the correlation data of one question.
        wrong: not what the model that the answer names gives offline.
        refused: answered with an error.
        unasked: messages that belong to no question.
        trips: of the questions that were answered well or wrong.
    """

    asked: int = 0
    answered: int = 0
    lost: int = 0
    late: int = 0
    doubled: int = 0
    wrong: int = 0
    without_digest: int = 0
    refused: int = 0
    unasked: int = 0
    by_digest: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)
    trips: list[Trip] = field(default_factory=list)

    @property
    def faults(self) -> int:
        """Everything that must not be."""
        return (
            self.lost + self.doubled + self.wrong + self.without_digest + self.refused
            + self.unasked
        )  # fmt: skip

    def note(self, text: str) -> None:
        """Keep an example, if there are not too many."""
        if len(self.examples) < _EXAMPLES:
            self.examples.append(text)


def judge(sent: Iterable[Sent], came: Iterable[Came], truth: Truth) -> Verdict:
    """Match messages with questions, once no more are to come."""
    verdict = Verdict()
    answers = defaultdict(list)
    for message in came:
        answers[message.id].append(message)
    for question in sent:
        verdict.asked += 1
        own = sorted(answers.pop(question.id, []), key=lambda message: message.at)
        verdict.doubled += max(0, len(own) - 1)
        for again in own[1:]:
            verdict.note(f"{question.id}: answered again after {again.at - own[0].at:.3f} s")
        if not own or own[0].at - question.at > LOST_AFTER_S:
            verdict.lost += 1
            verdict.late += bool(own)
            verdict.note(f"{question.id}: no answer within {LOST_AFTER_S:.0f} s")
        else:
            _judge_answer(verdict, question, own[0], truth)
    for name, strange in answers.items():
        verdict.unasked += len(strange)
        verdict.note(f"{name}: nobody asked that")
    return verdict


def _judge_answer(verdict: Verdict, question: Sent, answer: Came, truth: Truth) -> None:
    verdict.answered += 1
    if answer.error is not None:
        verdict.refused += 1
        verdict.note(f"{question.id}: refused [{answer.error}]")
    elif answer.digest is None:
        verdict.without_digest += 1
        verdict.note(f"{question.id}: does not name its model")
    else:
        verdict.by_digest[answer.digest] += 1
        verdict.trips.append(Trip(question.at, answer.at, answer.digest))
        expected = truth.expected.get(answer.digest)
        if expected is None:
            verdict.wrong += 1
            verdict.note(f"{question.id}: named {answer.digest}, which nobody wished for")
        elif answer.span is None or not expected[question.question].allows(answer.span):
            verdict.wrong += 1
            spans = expected[question.question].spans
            verdict.note(f"{question.id}: {answer.digest} said {answer.span}, offline {spans}")
