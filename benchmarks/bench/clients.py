"""What asks an agent: a crowd of clients, and one that waits for the agent's first answer."""

from __future__ import annotations

import json
import os
import threading
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import structlog
from crowd import Came, Crowd

from edgeqa.broker import BrokerSettings, resolve_broker
from edgeqa.errors import DataError
from edgeqa.mqtt import MqttLink
from edgeqa.packets import Delivery, Outgoing, Subscription
from edgeqa.squad import Example
from edgeqa.topics import DeviceTopics, client_answers

DEVICE = "bench"
_LOST_AFTER_S = 120.0


@dataclass(frozen=True, slots=True)
class Trip:
    """One question that was answered, or refused.

    Attributes:
        due_at: when it was to be asked; answers are late against this, whenever it was sent.
        text: of the best answer; empty where there is none.
        error: the code of the refusal.
    """

    id: str
    due_at: float
    came_at: float
    inference_ms: float = 0.0
    text: str = ""
    cached: bool = False
    error: str | None = None

    @property
    def ms(self) -> float:
        """From when it was due to its answer."""
        return 1000 * (self.came_at - self.due_at)


class Clients:
    """Connections to one broker. Use it in a `with` block.

    Args:
        url: of the broker.
        count: of the connections.
    """

    def __init__(self, url: str, count: int) -> None:
        self._crowd = Crowd(url, DEVICE, count)

    def __enter__(self) -> Self:
        self._crowd.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._crowd.__exit__(None, None, None)

    def ask(self, examples: Sequence[Example]) -> list[Trip]:
        """Ask them all, each client the next one when its last is answered.

        Raises:
            DataError: an answer did not come.
        """
        came = self._crowd.ask([_payload(example) for example in examples])
        return [_trip(one, examples[one.number]) for one in came]

    def ask_at(self, examples: Sequence[Example], times_s: Sequence[float]) -> list[Trip]:
        """Ask each at its time from now, whatever is still open.

        Raises:
            DataError: an answer did not come.
        """
        came = self._crowd.ask_at([_payload(example) for example in examples], times_s)
        return [_trip(one, examples[one.number]) for one in came]


class FirstAnswer:
    """A client that is connected before the agent is there. Use it in a `with` block."""

    def __init__(self, url: str) -> None:
        self._topic = client_answers(uuid.uuid4().hex[:12])
        self._answered = threading.Event()
        self._link = MqttLink(
            broker=resolve_broker(BrokerSettings(broker=url)),
            client_id=self._topic.split("/")[-2],
            subscriptions=[Subscription(self._topic, self._take)],
            log=structlog.get_logger(),
        )

    def __enter__(self) -> Self:
        self._link.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._link.stop()

    def wait(self, example: Example, timeout_s: float) -> None:
        """Ask until the broker has somebody to give the question to, and wait for the answer.

        Raises:
            DataError: nobody answered.
        """
        self._answered.clear()
        give_up = time.monotonic() + timeout_s
        while time.monotonic() < give_up:
            told = threading.Event()
            refused: list[str] = []

            def tell(
                reason: str | None, told: threading.Event = told, refused: list[str] = refused
            ) -> None:
                if reason is not None:
                    refused.append(reason)
                told.set()

            self._link.publish(
                Outgoing(
                    DeviceTopics(DEVICE).ask,
                    _payload(example),
                    response_topic=self._topic,
                    correlation=os.urandom(8),
                ),
                tell,
            )
            if told.wait(_LOST_AFTER_S) and not refused:
                if self._answered.wait(_LOST_AFTER_S):
                    return
                break
        raise DataError("the agent does not answer; see its log in the output folder")

    def _take(self, delivery: Delivery) -> None:
        self._link.acknowledge(delivery)
        self._answered.set()


def _payload(example: Example) -> bytes:
    return json.dumps({"question": example.question, "context": example.context}).encode()


def _trip(came: Came, example: Example) -> Trip:
    answer = came.answer
    found = answer.get("answers")
    best = found[0] if isinstance(found, list) and found else {"text": ""}
    fault = answer.get("error")
    inference_ms = answer.get("inference_ms")
    return Trip(
        id=example.id,
        due_at=came.due_at,
        came_at=came.at,
        inference_ms=inference_ms if isinstance(inference_ms, float | int) else 0.0,
        text=best["text"],
        cached=bool(answer.get("cached")),
        error=str(fault["code"]) if isinstance(fault, dict) else None,
    )
