"""Asking questions from Python.

A `Client` keeps one connection; many threads may ask through it at once. Answers to questions that
were given up are ignored.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any, Self, Unpack

import structlog
from pydantic import ValidationError

from edgeqa.broker import Broker, BrokerSettings, resolve_broker
from edgeqa.errors import AnswerTimeoutError, BrokerError, ConfigError, PayloadError
from edgeqa.exchange import NO_SUBSCRIBERS, Exchange
from edgeqa.messages import Answer, Item, Status
from edgeqa.packets import Outgoing
from edgeqa.presence import read_status
from edgeqa.questions import DEFAULT_TIMEOUT_S, AskOptions, build_question, checked_name
from edgeqa.topics import DeviceTopics, client_answers

MAX_PENDING = 10_000
# How long a timeout may look for the device's presence, to say why nothing came.
_EXPLAIN_S = 1.0


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
        self.client_id = f"edgeqa-{secrets.token_hex(8)}"
        self._settings = broker
        self._max_pending = max_pending
        self._log = _library_log()
        self._open: tuple[Broker, Exchange] | None = None

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
        if self._open is not None:
            return
        broker = resolve_broker(_settings(self._settings))
        exchange = Exchange(
            broker=broker, client_id=self.client_id, max_pending=self._max_pending, log=self._log
        )
        exchange.start()
        self._open = broker, exchange

    def stop(self) -> None:
        """Disconnect; what is not answered yet fails with `client_stopped`."""
        opened, self._open = self._open, None
        if opened is not None:
            opened[1].stop()

    def ask(self, question: str, **options: Unpack[AskOptions]) -> Answer:
        """Ask one question and wait for its answer.

        Args:
            question: in the model's language.
            **options: `AskOptions`: one of `device` and `group`, one of `context` and
                `context_id`, and `top_k`, `deadline_ms`, `timeout_s`.

        Raises:
            PayloadError: the question cannot be asked like this.
            AnswerError: refused, with the agent's code; or `no_agent`, nobody listens.
            AnswerTimeoutError: no answer in time.
            BrokerError: too much waits for the broker, or the question is too large for it.
        """
        return self._result(self.submit(question, **options), options.get("device"))

    def ask_batch(self, items: Sequence[str | Item], **options: Unpack[AskOptions]) -> Answer:
        """Ask several questions in one message; their outcomes are in `results`, in order.

        A question that was refused has its `error` there; only a refusal of the whole batch is
        raised. Arguments and errors are those of `ask`; `context`, `context_id` and `top_k` stand
        for the items that do not say their own.
        """
        return self._result(self.submit(items, **options), options.get("device"))

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
        _, exchange = self._opened()
        made = build_question(question, options, response_topic=client_answers(self.client_id))
        exchange.submit(made)
        return made.future

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
        broker, _ = self._opened()
        status = read_status(broker, checked_name(device, "device"), self._log, timeout_s)
        if status is None:
            raise AnswerTimeoutError(
                f"the broker holds no status of device {device}: check the name, and that its "
                "agent was ever connected to this broker"
            )
        return status

    def explain_timeout(self, error: AnswerTimeoutError, device: str | None) -> AnswerTimeoutError:
        """The same timeout with what the device's presence says about the reason."""
        if device is None or self._open is None:
            return error
        try:
            status = read_status(self._open[0], device, self._log, _EXPLAIN_S)
        except BrokerError:
            return AnswerTimeoutError(f"{error}; the broker cannot be reached just now")
        if status is None:
            why = "the broker holds no status of it: check the name"
        elif status.status == "offline":
            why = f"it is offline ({status.reason or 'unknown reason'})"
        else:
            why = "it is online: it may be busy with longer questions, try a longer timeout"
        return AnswerTimeoutError(f"{error}; {why}")

    def _opened(self) -> tuple[Broker, Exchange]:
        if self._open is None:
            raise BrokerError(
                "the client is not started: use it in a `with` block or call start",
                code="not_started",
            )
        return self._open

    def _result(self, future: Future[Answer], device: str | None) -> Answer:
        try:
            return future.result()
        except AnswerTimeoutError as error:
            raise self.explain_timeout(error, device) from None
        except BaseException:
            future.cancel()  # Ctrl-C: forget the question
            raise

    def _retain_context(
        self, device: str, context_id: str, payload: bytes, timeout_s: float
    ) -> None:
        _, exchange = self._opened()
        topics = DeviceTopics(checked_name(device, "device"))
        topic = topics.context(checked_name(context_id, "context_id"))
        taken: Future[str | None] = Future()
        exchange.publish(Outgoing(topic=topic, payload=payload, retain=True), taken.set_result)
        try:
            reason = taken.result(timeout_s)
        except TimeoutError:
            raise AnswerTimeoutError(
                f"the broker did not take the context in {timeout_s:g} s"
            ) from None
        if reason not in {None, NO_SUBSCRIBERS}:  # nobody listens: the device is offline
            raise BrokerError(f"the broker refused the context: {reason}", code="publish_refused")


def _settings(broker: str | BrokerSettings) -> BrokerSettings:
    if isinstance(broker, BrokerSettings):
        return broker
    try:
        return BrokerSettings(broker=broker)
    except ValidationError as error:
        reason = error.errors(include_url=False, include_input=False)[0]["msg"]
        raise ConfigError(f"broker: {reason.removeprefix('Value error, ')}") from error


def _library_log() -> Any:
    """A library is silent unless its user configures the logger `edgeqa`."""
    logger = logging.getLogger("edgeqa.client")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
    return structlog.wrap_logger(
        logger,
        wrapper_class=structlog.stdlib.BoundLogger,
        processors=[structlog.stdlib.filter_by_level, structlog.stdlib.render_to_log_kwargs],
    )
