"""Requests and replies over one connection, matched by MQTT 5 Correlation Data.

A request waits here while the connection is down, is published with what is left of its time as
Message Expiry, and, if it is a question, is published again after a reconnect if it was not
answered: agents answer a repeat once. What was handed to a connection that was dead but not yet
known to be is the exception: paho sends it again by itself, so an agent may reply although nobody
waits any longer; that reply is ignored. A thread of its own ends the requests whose time is over.
"""

from __future__ import annotations

import math
import threading
import time
from typing import Any

from edgeqa.broker import Broker
from edgeqa.errors import AnswerError, AnswerTimeoutError, BrokerError, EdgeqaError, ExitCode
from edgeqa.mqtt import MqttLink
from edgeqa.packets import Delivered, Delivery, Outgoing, Subscription
from edgeqa.pending import Pending, Request
from edgeqa.topics import client_answers
from edgeqa.transport import BACKOFF_MAX_S, Limits

# After a broker's restart the agents come back one by one, the last after its longest wait: until
# then nobody listening may be for now only, and is tried again.
_NO_AGENT_GRACE_S = BACKOFF_MAX_S
_NO_AGENT_RETRY_S = 0.5
# Requests that were given up wait for their PUBACK beside those that are pending. MQTT has 65,535
# packet ids.
_MAX_QUEUED = 60_000
# MQTT 5, section 2.4: PUBACK reason code 0x10.
NO_SUBSCRIBERS = "No matching subscribers"


class Exchange:
    """The machinery of a client. Thread: all public methods from any thread."""

    def __init__(self, *, broker: Broker, client_id: str, max_pending: int, log: Any) -> None:
        self.reply_topic = client_answers(client_id, user=broker.username)
        self._log = log
        self._pending = Pending(limit=max_pending)
        self._wake = threading.Condition()
        self._retry_at: float | None = None
        self._grace_until = 0.0
        self._running = False
        self._timer = threading.Thread(target=self._expire, name="edgeqa-client", daemon=True)
        self._link = MqttLink(
            broker=broker,
            client_id=client_id,
            subscriptions=[Subscription(self.reply_topic, self._on_answer)],
            log=log,
            on_ready=self._on_ready,
            limits=Limits(max_queued=min(2 * max_pending + 100, _MAX_QUEUED)),
        )

    def start(self) -> None:
        """Connect; once only.

        Raises:
            BrokerError: no connection.
        """
        self._link.start()
        self._running = True
        self._timer.start()

    def stop(self) -> None:
        """Disconnect; what is not answered yet fails with `client_stopped`."""
        with self._wake:
            self._running = False
            self._wake.notify_all()
        self._timer.join()
        self._settle_all()
        self._link.stop()

    def submit(self, request: Request[Any]) -> None:
        """Publish a request; its future gets the outcome.

        Raises:
            AnswerError: `too_many_pending`.
            BrokerError: `queue_full`, `packet_too_large`.
        """
        is_next = self._pending.add(request)
        request.future.add_done_callback(lambda _: self._pending.take(request.correlation))
        if is_next:
            with self._wake:
                self._wake.notify_all()
        try:
            self._publish(request)
        except BrokerError:
            self._pending.take(request.correlation)
            raise
        if not self._running:
            self._settle_all()  # stopped between our caller's check and now

    def publish(self, message: Outgoing, delivered: Delivered) -> None:
        """Publish something else.

        Raises:
            BrokerError: `queue_full`, `packet_too_large`.
        """
        self._link.publish(message, delivered)

    def _publish(self, request: Request[Any]) -> None:
        # While the connection is down the request waits here, not in the link: there it would be
        # sent even when nobody waits for its reply any longer.
        if not self._link.connected or not self._pending.claim(request):
            return
        left_s = request.deadline - time.monotonic()
        message = Outgoing(
            topic=request.message.topic,
            payload=request.message.payload,
            response_topic=request.message.response_topic,
            correlation=request.correlation,
            expiry_s=max(1, math.ceil(left_s)),
        )
        self._link.publish(message, lambda reason: self._on_delivered(request, reason))

    def _on_delivered(self, request: Request[Any], reason: str | None) -> None:
        if reason is None:
            self._pending.delivered(request)
        elif reason == NO_SUBSCRIBERS and time.monotonic() < self._grace_until:
            self._pending.unsend(request)
            with self._wake:
                self._retry_at = time.monotonic() + _NO_AGENT_RETRY_S
                self._wake.notify_all()
        elif self._pending.take(request.correlation) is not None:
            request.settle(_undelivered(request, reason))

    def _on_ready(self) -> None:
        if self._link.connects > 1:
            self._grace_until = time.monotonic() + _NO_AGENT_GRACE_S
        self._publish_unsent(after_reconnect=True)

    def _publish_unsent(self, *, after_reconnect: bool) -> None:
        for request in self._pending.unsent(after_reconnect=after_reconnect):
            try:
                self._publish(request)
            except BrokerError as error:
                self._pending.take(request.correlation)
                request.settle(error)

    def _on_answer(self, delivery: Delivery) -> None:
        self._link.acknowledge(delivery)
        request = self._pending.take(delivery.correlation or b"")
        if request is None:
            self._log.debug("late_answer_ignored")
        else:
            request.settle(request.read(delivery.payload))

    def _expire(self) -> None:
        while self._running:
            with self._wake:
                times = [t for t in (self._pending.next_deadline(), self._retry_at) if t]
                if self._running:
                    wait_s = max(0.0, min(times) - time.monotonic()) if times else None
                    self._wake.wait(wait_s)
            now = time.monotonic()
            for request in self._pending.take_overdue(now):
                request.settle(
                    AnswerTimeoutError(
                        f"no answer from {request.target} in {request.timeout_s:g} s"
                    )
                )
            if self._retry_at is not None and self._retry_at <= now:
                self._retry_at = None
                self._publish_unsent(after_reconnect=False)

    def _settle_all(self) -> None:
        for request in self._pending.take_all():
            request.settle(AnswerError("the client was stopped", code="client_stopped"))


def _undelivered(request: Request[Any], reason: str) -> EdgeqaError:
    if reason == NO_SUBSCRIBERS:
        return AnswerError(
            f"no agent listens on {request.message.topic}: check the name of {request.target}, "
            "and that its agent runs and is connected to this broker",
            code="no_agent",
            exit_code=ExitCode.UNREACHABLE,
        )
    return BrokerError(
        f"the broker refused the request for {request.target}: {reason}", code="publish_refused"
    )
