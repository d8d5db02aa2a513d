"""What goes over an MQTT link: messages to publish, messages that came, and subscriptions.

The only place that knows how these map to paho's objects.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from edgeqa.acks import Receipt


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to publish at QoS 1."""

    topic: str
    payload: bytes
    retain: bool = False
    response_topic: str | None = None
    correlation: bytes | None = None
    expiry_s: int | None = None


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message that came; `receipt` is None for QoS 0, which needs no acknowledgement."""

    topic: str
    payload: bytes
    retain: bool
    redelivered: bool
    response_topic: str | None
    correlation: bytes | None
    expiry_s: int | None
    received_at: float
    receipt: Receipt | None


Handler = Callable[[Delivery], None]
# Called once the broker has the message (None) or refused it (its reason).
Delivered = Callable[[str | None], None]


@dataclass(frozen=True, slots=True)
class Subscription:
    """A topic filter and what to do with its messages; filters of one link must not overlap."""

    topic_filter: str
    handler: Handler
    no_local: bool = False

    @property
    def matches(self) -> str:
        """The filter as messages see it: a shared one without its group."""
        if self.topic_filter.startswith("$share/"):
            return self.topic_filter.split("/", 2)[2]
        return self.topic_filter


def publish_properties(message: Outgoing) -> Properties | None:
    """The MQTT 5 properties of a publication; None where it needs none."""
    if message.response_topic is None and message.correlation is None and message.expiry_s is None:
        return None
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]  # paho leaves it untyped
    if message.response_topic is not None:
        properties.ResponseTopic = message.response_topic
    if message.correlation is not None:
        properties.CorrelationData = message.correlation
    if message.expiry_s is not None:
        properties.MessageExpiryInterval = message.expiry_s
    return properties


def delivery_from(message: paho.MQTTMessage, receipt: Receipt | None) -> Delivery:
    """A message as paho gives it, with the time of its arrival."""
    properties = message.properties
    return Delivery(
        topic=message.topic,
        payload=bytes(message.payload),
        retain=message.retain,
        redelivered=message.dup,
        response_topic=getattr(properties, "ResponseTopic", None),
        correlation=getattr(properties, "CorrelationData", None),
        expiry_s=getattr(properties, "MessageExpiryInterval", None),
        received_at=time.monotonic(),
        receipt=receipt,
    )
