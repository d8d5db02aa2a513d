"""An agent that keeps our contract without a model: the answer is the context's first word.

It answers by Response Topic and Correlation Data, or on the answers topic of its device; refuses
with the contract's codes; keeps contexts; repeats the answer to a repeated question. What a test
wants to go wrong is said by `behaviour`.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import structlog

from edgeqa.broker import Broker
from edgeqa.errors import PayloadError
from edgeqa.messages import (
    Answer,
    Ask,
    Fault,
    Item,
    ModelRef,
    Result,
    Span,
    Status,
    parse_payload,
)
from edgeqa.mqtt import MqttLink
from edgeqa.packets import Delivery, Outgoing, Subscription
from edgeqa.topics import DeviceTopics, group_ask_filter

MODEL = ModelRef(name="fake", version="1.0.0", digest="sha256:" + "0" * 64)


class DropError(Exception):
    """Raised by a behaviour: give no answer at all."""


def answer_at_once(delivery: Delivery) -> None:
    """The default behaviour."""


@dataclass
class FakeAgent:
    """Runs in the link's own thread. `behaviour` may block, raise PayloadError or `DropError`."""

    broker: Broker
    device: str = "pi5"
    groups: tuple[str, ...] = ()
    behaviour: Callable[[Delivery], None] = answer_at_once
    asked: list[Delivery] = field(default_factory=list)
    contexts: dict[str, str] = field(default_factory=dict)
    changed: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        self.topics = DeviceTopics(self.device)
        self.link = MqttLink(
            broker=self.broker,
            client_id=f"fake-{secrets.token_hex(4)}",
            subscriptions=[
                Subscription(self.topics.ask, self._on_ask),
                Subscription(self.topics.all_contexts, self._on_context),
                *(Subscription(group_ask_filter(group), self._on_ask) for group in self.groups),
            ],
            log=structlog.get_logger(),
            birth=lambda: self._presence("online"),
            will=Outgoing(
                self.topics.status,
                Status(status="offline", device=self.device, reason="lost").to_json(),
                retain=True,
            ),
        )
        self.link.start()

    def stop(self) -> None:
        self.link.stop(self._presence("offline"))

    def _presence(self, status: str) -> Outgoing:
        payload = Status.model_validate(
            {
                "status": status,
                "device": self.device,
                "model": MODEL,
                "reason": "stopped" if status == "offline" else None,
            }
        ).to_json()
        return Outgoing(self.topics.status, payload, retain=True)

    def _on_context(self, delivery: Delivery) -> None:
        self.link.acknowledge(delivery)
        context_id = self.topics.context_id(delivery.topic) or ""
        if delivery.payload:
            self.contexts[context_id] = delivery.payload.decode()
        else:
            self.contexts.pop(context_id, None)
        self.changed.set()

    def _on_ask(self, delivery: Delivery) -> None:
        self.asked.append(delivery)
        try:
            self.behaviour(delivery)
            answer = self._answer(delivery)
        except DropError:
            self.link.acknowledge(delivery)
            return
        except PayloadError as error:
            fault = Fault(code=error.code, message=str(error))
            answer = Answer(status="error", device=self.device, error=fault)
        reply = Outgoing(
            topic=delivery.response_topic or self.topics.answers,
            payload=answer.to_json(),
            correlation=delivery.correlation,
        )
        self.link.publish(reply)
        self.link.acknowledge(delivery)

    def _answer(self, delivery: Delivery) -> Answer:
        ask = parse_payload(Ask, delivery.payload)
        common = {"status": "ok", "id": ask.id, "device": self.device, "model": MODEL,
                  "inference_ms": 1.5, "queue_ms": 0.1, "total_ms": 2.0}  # fmt: skip
        if ask.questions is None:
            spans = self._spans(ask.items()[0])
            return Answer.model_validate(common | {"answers": spans, "windows": 1})
        return Answer.model_validate(common | {"results": [self._result(i) for i in ask.items()]})

    def _result(self, item: Item) -> Result:
        try:
            return Result(id=item.id, answers=self._spans(item), inference_ms=1.5)
        except PayloadError as error:
            return Result(id=item.id, error=Fault(code=error.code, message=str(error)))

    def _spans(self, item: Item) -> list[Span]:
        context = item.context
        if context is None:
            context = self.contexts.get(item.context_id or "")
        if context is None:
            raise PayloadError(f"no context {item.context_id!r}", code="unknown_context")
        spans = []
        for word in context.split()[: item.top_k or 1]:
            start = context.index(word)
            spans.append(Span(text=word, start=start, end=start + len(word), score=0.9))
        return spans
