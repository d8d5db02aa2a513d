"""Reading a device's retained status once."""

from __future__ import annotations

import queue
import secrets
import time
from typing import Any

from pydantic import ValidationError

from edgeqa.broker import Broker
from edgeqa.messages import Status
from edgeqa.mqtt import MqttLink
from edgeqa.packets import Delivery, Subscription
from edgeqa.topics import DeviceTopics


def read_status(broker: Broker, device: str, log: Any, timeout_s: float) -> Status | None:
    """What the broker holds of a device; None if it sends nothing valid in time.

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
        subscriptions=[Subscription(DeviceTopics(device).status, keep)],
        log=log,
    )
    link.start()
    try:
        payload = payloads.get(timeout=max(0.0, deadline - time.monotonic()))
        return Status.model_validate_json(payload)
    except (queue.Empty, ValidationError):
        return None
    finally:
        link.stop()
