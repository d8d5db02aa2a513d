"""Which questions came from Home Assistant, and what was answered to them.

They are ordinary questions on the ordinary topic, known by how their id begins; their answers go
where all answers go. This only listens, in the network's and the dispatcher's threads, and must
cost next to nothing there: a look at a short payload for each question, and a look at an answer
while one is awaited.
"""

from __future__ import annotations

import json
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from pydantic import ValidationError

from edgeqa.home_assistant_messages import (
    MAX_STATE_CHARS,
    MAX_TEXT_CHARS,
    AnswerDetails,
    HomeAnswer,
    cut,
)
from edgeqa.messages import Answer
from edgeqa.packets import Delivered, Delivery, Outgoing
from edgeqa_agent.home_assistant_discovery import ID_PREFIX
from edgeqa_agent.router import Publisher

# A field there takes 255 characters, of at most 12 bytes each in JSON.
_MAX_PAYLOAD_BYTES = 8 << 10
# Nobody types faster; what is not answered in this time was refused by the broker, or died with it.
_MAX_AWAITED = 64
_AWAITED_S = 300.0
_MARK = ID_PREFIX.encode()
# Home Assistant reads these as "unknown"; an answer that says so is told apart by its quotes.
_NO_STATES = {"None"}


@dataclass(frozen=True, slots=True)
class _Asked:
    question: str
    context_id: str | None
    at: float


class HomeQuestions:
    """Remembers questions from Home Assistant until they are answered. Thread: any."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._awaited: OrderedDict[str, _Asked] = OrderedDict()

    def asked(self, delivery: Delivery) -> None:
        """A question came, from whomever."""
        payload = delivery.payload
        if len(payload) > _MAX_PAYLOAD_BYTES or _MARK not in payload:
            return
        try:
            ask = json.loads(payload)
            question_id, question = ask["id"], ask["question"]
            context_id = ask.get("context_id")
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return  # the router refuses it
        if not (isinstance(question_id, str) and question_id.startswith(ID_PREFIX)):
            return
        if not (isinstance(question, str) and question):
            return
        context_id = context_id if isinstance(context_id, str) else None
        with self._lock:
            self._awaited[question_id] = _Asked(question, context_id, self._clock())
            while len(self._awaited) > _MAX_AWAITED:
                self._awaited.popitem(last=False)

    def answered(self, message: Outgoing) -> HomeAnswer | None:
        """What Home Assistant is told of a message that was published; None: nothing."""
        if not self._awaited or _MARK not in message.payload:
            return None
        try:
            answer = Answer.model_validate_json(message.payload)
        except ValidationError:
            return None
        with self._lock:
            self._forget_old()
            asked = self._awaited.pop(answer.id or "", None)
        return None if asked is None else _told(asked, answer)

    def _forget_old(self) -> None:
        oldest = self._clock() - _AWAITED_S
        while self._awaited and next(iter(self._awaited.values())).at < oldest:
            self._awaited.popitem(last=False)


class Overheard:
    """A link whose publications somebody hears, after they were handed over."""

    def __init__(self, link: Publisher, hear: Callable[[Outgoing], None]) -> None:
        self._link = link
        self._hear = hear

    def publish(self, message: Outgoing, delivered: Delivered | None = None) -> None:
        """See `MqttLink.publish`."""
        self._link.publish(message, delivered)
        self._hear(message)

    def acknowledge(self, delivery: Delivery) -> None:
        """See `MqttLink.acknowledge`."""
        self._link.acknowledge(delivery)


def _told(asked: _Asked, answer: Answer) -> HomeAnswer:
    best = answer.answers[0] if answer.answers else None
    model = answer.model
    text = best.text if best else None
    return HomeAnswer(
        answer=None if text is None else _state(text),
        attributes=AnswerDetails(
            question=cut(asked.question, MAX_TEXT_CHARS),
            context_id=asked.context_id,
            text=None if text is None else cut(text, MAX_TEXT_CHARS),
            score=best.score if best else None,
            model=f"{model.name} {model.version}" if model else None,
            inference_ms=answer.inference_ms,
            error=answer.error.code if answer.error else None,
            reason=answer.error.message if answer.error else None,
        ),
    )


def _state(text: str) -> str:
    return f"“{text}”" if text in _NO_STATES else cut(text, MAX_STATE_CHARS)
