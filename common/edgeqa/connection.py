"""One connection to a broker for whoever asks or orders: opened once, shared by many threads.

What the client of questions and the operator's side have in common: requests with replies,
retained messages, and what a device's presence says about a timeout.
"""

from __future__ import annotations

import logging
import secrets
from concurrent.futures import Future
from typing import Any

import structlog
from pydantic import ValidationError

from edgeqa.broker import Broker, BrokerSettings, resolve_broker
from edgeqa.errors import AnswerTimeoutError, BrokerError, ConfigError
from edgeqa.exchange import NO_SUBSCRIBERS, Exchange
from edgeqa.messages import Status, WireT
from edgeqa.packets import Outgoing
from edgeqa.pending import ReplyT, Request
from edgeqa.presence import presence_in_words, read_retained, read_status

# How long a timeout may look for the device's presence, to say why nothing came.
_EXPLAIN_S = 1.0


class Connection:
    """A connection that is opened by `start`, closed by `stop`, and may be opened again.

    Thread: all methods from any thread.
    """

    def __init__(self, *, broker: str | BrokerSettings, max_pending: int) -> None:
        self.client_id = f"edgeqa-{secrets.token_hex(8)}"
        self.log = _library_log()
        self._settings = broker
        self._max_pending = max_pending
        self._open: tuple[Broker, Exchange] | None = None

    @property
    def reply_topic(self) -> str:
        """The Response Topic of requests.

        Raises:
            BrokerError: `not_started`.
        """
        return self.opened()[1].reply_topic

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
            broker=broker, client_id=self.client_id, max_pending=self._max_pending, log=self.log
        )
        exchange.start()
        self._open = broker, exchange

    def stop(self) -> None:
        """Disconnect; what is not answered yet fails with `client_stopped`."""
        opened, self._open = self._open, None
        if opened is not None:
            opened[1].stop()

    def opened(self) -> tuple[Broker, Exchange]:
        """The parts of the open connection.

        Raises:
            BrokerError: `not_started`.
        """
        if self._open is None:
            raise BrokerError(
                "the client is not started: use it in a `with` block or call start",
                code="not_started",
            )
        return self._open

    def submit(self, request: Request[ReplyT]) -> Future[ReplyT]:
        """Publish a request; the future gets the reply.

        Raises:
            AnswerError: `too_many_pending`.
            BrokerError: `not_started`, `queue_full`, `packet_too_large`.
        """
        _, exchange = self.opened()
        exchange.submit(request)
        return request.future

    def result(self, future: Future[ReplyT], device: str | None) -> ReplyT:
        """Wait for a reply.

        Raises:
            EdgeqaError: why there is none; a timeout with what the device's presence says.
        """
        try:
            return future.result()
        except AnswerTimeoutError as error:
            raise self.explain(error, device) from None
        except BaseException:
            future.cancel()  # Ctrl-C: forget the request
            raise

    def retain(self, topic: str, payload: bytes, *, what: str, timeout_s: float) -> None:
        """Have the broker keep a message for whoever listens, now or later.

        Args:
            topic: where.
            payload: empty to delete.
            what: it is, for messages to people.
            timeout_s: how long the broker may take.

        Raises:
            AnswerTimeoutError: the broker did not take it in time; it may yet.
            BrokerError: `publish_refused`, `queue_full`, `packet_too_large`, `not_started`.
        """
        _, exchange = self.opened()
        taken: Future[str | None] = Future()
        exchange.publish(Outgoing(topic=topic, payload=payload, retain=True), taken.set_result)
        try:
            reason = taken.result(timeout_s)
        except TimeoutError:
            raise AnswerTimeoutError(
                f"the broker did not take the {what} in {timeout_s:g} s"
            ) from None
        if reason not in {None, NO_SUBSCRIBERS}:  # nobody listens: the device is offline
            raise BrokerError(f"the broker refused the {what}: {reason}", code="publish_refused")

    def retained(self, kind: type[WireT], topic: str, timeout_s: float) -> WireT | None:
        """What the broker holds under a topic; None if it sends nothing valid in time.

        Raises:
            BrokerError: `not_started`, or no connection.
        """
        broker, _ = self.opened()
        return read_retained(kind, broker, topic, self.log, timeout_s)

    def status(self, device: str, timeout_s: float) -> Status:
        """The device's retained presence.

        Raises:
            AnswerTimeoutError: the broker holds none: the device was never online.
            BrokerError: `not_started`, or no connection.
        """
        broker, _ = self.opened()
        status = read_status(broker, device, self.log, timeout_s)
        if status is None:
            raise AnswerTimeoutError(
                f"the broker holds no status of device {device}: check the name, and that its "
                "agent was ever connected to this broker"
            )
        return status

    def explain(self, error: AnswerTimeoutError, device: str | None) -> AnswerTimeoutError:
        """The same timeout with what the device's presence says about the reason."""
        if device is None or self._open is None:
            return error
        try:
            status = read_status(self._open[0], device, self.log, _EXPLAIN_S)
        except BrokerError:
            return AnswerTimeoutError(f"{error}; the broker cannot be reached just now")
        online = status is not None and status.status == "online"
        advice = ": it may be busy, try a longer timeout" if online else ""
        return AnswerTimeoutError(f"{error}; {presence_in_words(status)}{advice}")


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
