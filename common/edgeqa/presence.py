"""Reading once what the broker retains of a device."""

from __future__ import annotations

import queue
import secrets
import time
from typing import Any

from pydantic import ValidationError

from edgeqa.broker import Broker
from edgeqa.messages import Status, WireT
from edgeqa.mqtt import MqttLink
from edgeqa.packets import Delivery, Subscription
from edgeqa.topics import DeviceTopics


def read_retained(
    kind: type[WireT], broker: Broker, topic: str, log: Any, timeout_s: float
) -> WireT | None:
    """The message that the broker holds under a topic; None if it sends nothing valid in time.

    A connection of its own: a subscription for one message would otherwise stay on the client's.

    Raises:
        BrokerError: no connection.
    """
    payloads: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    deadline = time.monotonic() + timeout_s

    def keep(delivery: Delivery) -> None:
        link.acknowledge(delivery)
        payloads.put(delivery.payload)

    link = MqttLink(
        broker=broker.within(timeout_s),
        client_id=f"edgeqa-{secrets.token_hex(8)}",
        subscriptions=[Subscription(topic, keep)],
        log=log,
    )
    link.start()
    try:
        payload = payloads.get(timeout=max(0.0, deadline - time.monotonic()))
        return kind.model_validate_json(payload)
    except (queue.Empty, ValidationError):
        return None
    finally:
        link.stop()


def read_status(broker: Broker, device: str, log: Any, timeout_s: float) -> Status | None:
    """A device's presence, as `read_retained`."""
    return read_retained(Status, broker, DeviceTopics(device).status, log, timeout_s)


def presence_in_words(status: Status | None) -> str:
    """For messages to people, about a device that they call `it`."""
    if status is None:
        return "the broker holds no status of it: check the name"
    if status.status == "offline":
        return f"it is offline ({status.reason or 'unknown reason'})"
    return "it is online"
