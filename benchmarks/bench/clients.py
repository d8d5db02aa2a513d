"""MQTT clients that ask an agent: as fast as it answers, or at times of their own.

Thread: answers come in the network thread of each connection; a lock guards what they share.
"""

from __future__ import annotations

import json
import os
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import structlog

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


@dataclass(frozen=True, slots=True)
class _Asked:
    example: Example
    due_at: float


class Clients:
    """Connections to one broker. Use it in a `with` block.

    Args:
        url: of the broker.
        count: of the connections.
    """

    def __init__(self, url: str, count: int) -> None:
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._expected = 0
        self._open: dict[bytes, _Asked] = {}
        self._next: Iterator[Example] = iter(())
        self._trips: list[Trip] = []
        self._connections = [_Connection(url, self) for _ in range(count)]

    def __enter__(self) -> Self:
        for connection in self._connections:
            connection.link.start()
        return self

    def __exit__(self, *_: object) -> None:
        for connection in self._connections:
            connection.link.stop()

    def ask(self, examples: Sequence[Example]) -> list[Trip]:
        """Ask them all, each client the next one when its last is answered.

        Raises:
            DataError: an answer did not come.
        """
        self._begin(len(examples))
        self._next = iter(examples)
        for connection in self._connections:
            self._ask_next(connection)
        return self._end()

    def ask_at(self, examples: Sequence[Example], times_s: Sequence[float]) -> list[Trip]:
        """Ask each at its time from now, whatever is still open.

        Raises:
            DataError: an answer did not come.
        """
        self._begin(len(examples))
        begun = time.perf_counter() + 0.05
        for number, (example, after) in enumerate(zip(examples, times_s, strict=True)):
            due_at = begun + after
            time.sleep(max(0.0, due_at - time.perf_counter()))
            self._send(self._connections[number % len(self._connections)], example, due_at)
        return self._end()

    def await_answer(self, example: Example, timeout_s: float) -> None:
        """Ask until somebody answers.

        Raises:
            DataError: nobody did.
        """
        give_up = time.perf_counter() + timeout_s
        while time.perf_counter() < give_up:
            self._begin(1)
            fate = self._send(self._connections[0], example, time.perf_counter())
            if fate.wait_taken() and self._ended.wait(_LOST_AFTER_S):
                return
        raise DataError("the agent does not come online; see its log in the output folder")

    def _begin(self, expected: int) -> None:
        with self._lock:
            self._open.clear()
            self._trips = []
            self._next = iter(())
            self._expected = expected
            self._ended.clear()

    def _end(self) -> list[Trip]:
        before = -1
        while not self._ended.wait(_LOST_AFTER_S):
            if len(self._trips) == before:
                raise DataError(f"a question was not answered within {_LOST_AFTER_S:.0f} s")
            before = len(self._trips)
        return self._trips

    def _ask_next(self, connection: _Connection) -> None:
        with self._lock:
            example = next(self._next, None)
        if example is not None:
            self._send(connection, example, time.perf_counter())

    def _send(self, connection: _Connection, example: Example, due_at: float) -> _Fate:
        correlation = os.urandom(8)
        with self._lock:
            self._open[correlation] = _Asked(example, due_at)
        return connection.send(correlation, example)

    def took(self, connection: _Connection, delivery: Delivery) -> None:
        """An answer came."""
        now = time.perf_counter()
        connection.link.acknowledge(delivery)
        answer = json.loads(delivery.payload)
        best = next(iter(answer.get("answers") or []), {"text": ""})
        with self._lock:
            asked = self._open.pop(delivery.correlation or b"", None)
            if asked is None:
                return
            self._trips.append(
                Trip(
                    asked.example.id,
                    asked.due_at,
                    now,
                    answer.get("inference_ms") or 0.0,
                    best["text"],
                    bool(answer.get("cached")),
                    None if answer["status"] == "ok" else answer["error"]["code"],
                )
            )
            if len(self._trips) == self._expected:
                self._ended.set()
        self._ask_next(connection)


class _Fate:
    """Whether the broker had somebody to give a question to."""

    def __init__(self) -> None:
        self._told = threading.Event()
        self._reason: str | None = None

    def tell(self, reason: str | None) -> None:
        self._reason = reason
        self._told.set()

    def wait_taken(self) -> bool:
        return self._told.wait(_LOST_AFTER_S) and self._reason is None


class _Connection:
    def __init__(self, url: str, clients: Clients) -> None:
        self._topic = client_answers(uuid.uuid4().hex[:12])
        self.link = MqttLink(
            broker=resolve_broker(BrokerSettings(broker=url)),
            client_id=self._topic.split("/")[-2],
            subscriptions=[Subscription(self._topic, lambda came: clients.took(self, came))],
            log=structlog.get_logger(),
        )

    def send(self, correlation: bytes, example: Example) -> _Fate:
        payload = {"question": example.question, "context": example.context}
        fate = _Fate()
        self.link.publish(
            Outgoing(
                DeviceTopics(DEVICE).ask,
                json.dumps(payload).encode(),
                response_topic=self._topic,
                correlation=correlation,
            ),
            fate.tell,
        )
        return fate
