"""From outcomes to the answer message."""

from __future__ import annotations

import time
from dataclasses import dataclass

from edgeqa.errors import PayloadError
from edgeqa.messages import Answer, Fault, Item, ModelRef, Result, Span
from edgeqa.packets import Outgoing
from edgeqa_agent.jobs import Outcome


@dataclass(frozen=True, slots=True)
class ReplyTo:
    """Where the answer to a question goes."""

    topic: str
    correlation: bytes | None


@dataclass(frozen=True, slots=True)
class Asked:
    """What a reply must know of its question."""

    reply_to: ReplyTo
    id: str | None
    items: list[Item]
    batch: bool
    received_at: float


class Replies:
    """Builds the messages that this device answers with."""

    def __init__(self, *, device: str) -> None:
        self._device = device

    def answer(
        self,
        asked: Asked,
        outcomes: list[Outcome],
        begun_at: float,
        model: ModelRef | None,
        *,
        choice: str | None = None,
    ) -> Outgoing:
        """The reply to a question, or to a batch in its order.

        Args:
            asked: what is replied to.
            outcomes: of its questions.
            begun_at: `time.monotonic()` when the first inference began.
            model: that gave the outcomes; None where no model was asked.
            choice: why it was that one, on a device that has two.
        """
        results = [
            _result(outcome, item.id) for outcome, item in zip(outcomes, asked.items, strict=True)
        ]
        single = None if asked.batch else results[0]
        answer = Answer(
            status="error" if single and single.error else "ok",
            id=asked.id,
            device=self._device,
            model=model,
            answers=single and single.answers,
            no_answer_score=single and single.no_answer_score,
            windows=single and single.windows,
            cached=single and single.cached,
            results=results if asked.batch else None,
            choice=choice,
            error=single and single.error,
            inference_ms=round(sum(outcome.inference_ms for outcome in outcomes), 3),
            queue_ms=_ms(begun_at - asked.received_at),
            total_ms=_ms(time.monotonic() - asked.received_at),
        )
        return Outgoing(
            asked.reply_to.topic, answer.to_json(), correlation=asked.reply_to.correlation
        )

    def refusal(self, reply_to: ReplyTo, question_id: str | None, error: PayloadError) -> Outgoing:
        """The reply to a question that is not taken."""
        answer = Answer(
            status="error",
            id=question_id,
            device=self._device,
            error=Fault(code=error.code, message=str(error)),
        )
        return Outgoing(reply_to.topic, answer.to_json(), correlation=reply_to.correlation)

    def too_large(self, answer: Outgoing, reason: str) -> Outgoing:
        """What is said in place of an answer that the broker does not take."""
        question_id = Answer.model_validate_json(answer.payload).id
        reply_to = ReplyTo(answer.topic, answer.correlation)
        return self.refusal(reply_to, question_id, PayloadError(reason, code="packet_too_large"))


def _result(outcome: Outcome, item_id: str | None) -> Result:
    if outcome.error is not None:
        code, message = outcome.error
        return Result(id=item_id, error=Fault(code=code, message=message))
    return Result(
        id=item_id,
        answers=[
            # Scores of equal texts are added up, which may round to a hair above 1.
            Span(text=text, start=start, end=end, score=round(min(score, 1.0), 6))
            for text, start, end, score in outcome.spans
        ],
        no_answer_score=round(outcome.no_answer_score, 6),
        windows=outcome.windows,
        inference_ms=round(outcome.inference_ms, 3),
        cached=outcome.cached or None,
    )


def _ms(seconds: float) -> float:
    return round(max(0.0, 1000 * seconds), 3)
