"""Asking questions from Python.

A `Client` keeps one connection; many threads may ask through it at once. Answers to questions that
were given up are ignored.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from typing import Self, Unpack

from edgeqa.broker import BrokerSettings
from edgeqa.connection import Connection
from edgeqa.errors import AnswerTimeoutError, PayloadError
from edgeqa.messages import Answer, Item, Status
from edgeqa.questions import DEFAULT_TIMEOUT_S, AskOptions, build_question, checked_name
from edgeqa.topics import DeviceTopics

MAX_PENDING = 10_000


class Client:
    """Asks the agents on a broker. Use it in a `with` block, or call `start` and `stop`.

    Args:
        broker: URL such as `mqtt://pi5.local`, or settings with credentials and certificates.
        max_pending: questions that may wait for their answers at once.

    Thread: all methods from any thread, but not from a callback of a future that `submit` gave:
    those run in the network thread and must not block.
    """

    def __init__(
        self,
        *,
        broker: str | BrokerSettings = "mqtt://localhost:1883",
        max_pending: int = MAX_PENDING,
    ) -> None:
        self._connection = Connection(broker=broker, max_pending=max_pending)
        self.client_id = self._connection.client_id

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Connect.

        Raises:
            ConfigError: the broker's settings are wrong.
            BrokerError: no connection in `broker_connect_timeout_s`, or the broker refused it.
        """
        self._connection.start()

    def stop(self) -> None:
        """Disconnect; what is not answered yet fails with `client_stopped`."""
        self._connection.stop()

    def ask(self, question: str, **options: Unpack[AskOptions]) -> Answer:
        """Ask one question and wait for its answer.

        Args:
            question: in the model's language.
            **options: `AskOptions`: one of `device` and `group`, one of `context` and
                `context_id`, and `top_k`, `deadline_ms`, `quality`, `timeout_s`.

        Raises:
            PayloadError: the question cannot be asked like this.
            AnswerError: refused, with the agent's code; or `no_agent`, nobody listens.
            AnswerTimeoutError: no answer in time.
            BrokerError: too much waits for the broker, or the question is too large for it.
        """
        return self._connection.result(self.submit(question, **options), options.get("device"))

    def ask_batch(self, items: Sequence[str | Item], **options: Unpack[AskOptions]) -> Answer:
        """Ask several questions in one message; their outcomes are in `results`, in order.

        A question that was refused has its `error` there; only a refusal of the whole batch is
        raised. Arguments and errors are those of `ask`; `context`, `context_id` and `top_k` stand
        for the items that do not say their own.
        """
        return self._connection.result(self.submit(items, **options), options.get("device"))

    def submit(
        self, question: str | Sequence[str | Item], **options: Unpack[AskOptions]
    ) -> Future[Answer]:
        """Ask without waiting: the future gets what `ask` or `ask_batch` would return or raise.

        Cancelling the future forgets the question.

        Raises:
            PayloadError: as `ask`.
            BrokerError: as `ask`.
            AnswerError: `too_many_pending`.
        """
        self._connection.opened()
        response_topic = self._connection.reply_topic
        return self._connection.submit(
            build_question(question, options, response_topic=response_topic)
        )

    def store_context(
        self, device: str, context_id: str, text: str, *, timeout_s: float = DEFAULT_TIMEOUT_S
    ) -> None:
        """Store a text for a device; the broker keeps it, so the device may be offline.

        Raises:
            PayloadError: a name is none, or the text is empty.
            AnswerTimeoutError: the broker did not take it in time.
        """
        if not text.strip():
            raise PayloadError("the context is empty", code="empty_context")
        self._retain_context(device, context_id, text.encode(), timeout_s)

    def delete_context(
        self, device: str, context_id: str, *, timeout_s: float = DEFAULT_TIMEOUT_S
    ) -> None:
        """Delete a stored text; no error if there is none.

        Raises:
            PayloadError: a name is none.
            AnswerTimeoutError: the broker did not take it in time.
        """
        self._retain_context(device, context_id, b"", timeout_s)

    def status(self, device: str, *, timeout_s: float = 2.0) -> Status:
        """The device's retained presence.

        Raises:
            AnswerTimeoutError: the broker holds none: the device was never online.
        """
        return self._connection.status(checked_name(device, "device"), timeout_s)

    def explain_timeout(self, error: AnswerTimeoutError, device: str | None) -> AnswerTimeoutError:
        """The same timeout with what the device's presence says about the reason."""
        return self._connection.explain(error, device)

    def _retain_context(
        self, device: str, context_id: str, payload: bytes, timeout_s: float
    ) -> None:
        topics = DeviceTopics(checked_name(device, "device"))
        topic = topics.context(checked_name(context_id, "context_id"))
        self._connection.retain(topic, payload, what="context", timeout_s=timeout_s)
