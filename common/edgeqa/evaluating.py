"""Waiting for the result of an evaluation that was ordered.

The device sends it with the order's id as Correlation Data: the record itself, or a reply that says
why there is none.
"""

from __future__ import annotations

import queue
import secrets
import time
from typing import Any, Self

from pydantic import ValidationError

from edgeqa.broker import Broker
from edgeqa.codes import exit_code_of_swap
from edgeqa.errors import AnswerError, AnswerTimeoutError
from edgeqa.model_messages import CommandReply
from edgeqa.mqtt import MqttLink
from edgeqa.packets import Delivery, Subscription
from edgeqa.questions import checked_name
from edgeqa.telemetry_messages import Evaluation, RecordKind
from edgeqa.topics import DeviceTopics
from edgeqa.transport import Limits

# A record is a few kilobytes; the broker keeps larger messages from us.
_MAX_PACKET_BYTES = 256 << 10
# Results of others' orders that come between; the newest are the ones that matter.
_MAX_WAITING = 256


class EvaluationWatch:
    """The results of a device's evaluations. Enter it before the order is given, to miss nothing.

    Args:
        broker: a connection of its own is made to it.
        device: whose results.
        log: of the connection.
    """

    def __init__(self, *, broker: Broker, device: str, log: Any) -> None:
        self._device = checked_name(device, "device")
        self._arrived: queue.Queue[tuple[str, bytes, bytes]] = queue.Queue(_MAX_WAITING)
        topics = DeviceTopics(self._device)
        self._record_topic = topics.record(RecordKind.EVALUATION)
        self._link = MqttLink(
            broker=broker,
            client_id=f"edgeqa-{secrets.token_hex(8)}",
            subscriptions=[
                Subscription(topic, self._on_message)
                for topic in (self._record_topic, topics.answers)
            ],
            log=log,
            limits=Limits(max_packet_bytes=_MAX_PACKET_BYTES),
        )

    def __enter__(self) -> Self:
        self._link.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._link.stop()

    def result(self, order_id: str, *, timeout_s: float) -> Evaluation:
        """What came of an order.

        Args:
            order_id: the `id` of the command and its reply.
            timeout_s: from now.

        Raises:
            AnswerError: it came to nothing, with the device's code.
            AnswerTimeoutError: nothing came in time; it may yet come to the cloud.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                left_s = max(0.0, deadline - time.monotonic())
                topic, payload, correlation = self._arrived.get(timeout=left_s)
            except queue.Empty:
                raise AnswerTimeoutError(
                    f"device {self._device} has not sent its evaluation after {timeout_s:g} s; it "
                    "waits while others ask, and while it is hot"
                ) from None
            if correlation == order_id.encode():
                return self._read(topic, payload)

    def _read(self, topic: str, payload: bytes) -> Evaluation:
        try:
            if topic == self._record_topic:
                return Evaluation.model_validate_json(payload)
            reply = CommandReply.model_validate_json(payload)
        except ValidationError as error:
            raise AnswerError(
                f"device {self._device} sent no valid evaluation", code="invalid_answer"
            ) from error
        code = reply.error.code if reply.error else "evaluation_ended"
        why = reply.error.message if reply.error else "it gives no reason"
        raise AnswerError(
            f"device {self._device} did not evaluate: {why}",
            code=code,
            exit_code=exit_code_of_swap(code),
        )

    def _on_message(self, delivery: Delivery) -> None:
        self._link.acknowledge(delivery)
        if delivery.correlation is None:
            return
        while True:
            try:
                entry = (delivery.topic, delivery.payload, delivery.correlation)
                self._arrived.put_nowait(entry)
            except queue.Full:
                self._drop_oldest()
            else:
                return

    def _drop_oldest(self) -> None:
        try:
            self._arrived.get_nowait()
        except queue.Empty:
            pass  # whoever waits has just taken it
