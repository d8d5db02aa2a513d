"""What the collector listens on: shared, so that collectors of one group divide the messages.

A shared subscription gets no retained messages, so presence and reports from before the collector
was there are read once at the start, by a connection of its own that subscribes plainly.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable

from structlog.typing import FilteringBoundLogger

from edgeqa.acks import Receipt
from edgeqa.broker import Broker
from edgeqa.mqtt import MqttLink
from edgeqa.packets import Delivery, Handler, Subscription
from edgeqa.topics import Kind, of_all_devices, shared
from edgeqa_cloud.inbox import Inbox
from edgeqa_cloud.reading import Arrival

COLLECTED = (Kind.TELEMETRY, Kind.EVALUATION, Kind.SWAP, Kind.HEARTBEAT, Kind.STATUS,
             Kind.REPORTED)  # fmt: skip
_RETAINED = (Kind.STATUS, Kind.REPORTED)
# The broker sends what it keeps at once and in one go; a second of silence is its end.
_QUIET_S = 1.0
_MOST_S = 60.0
_LOOK_S = 0.05


def shared_subscriptions(share: str, handler: Handler) -> list[Subscription]:
    """Of a collector; `share` is what `share_name` gives its group."""
    return [Subscription(shared(share, of_all_devices(kind)), handler) for kind in COLLECTED]


def arrival_of(
    topic: str, payload: bytes, *, most_bytes: int, now_ms: int, receipt: Receipt | None = None
) -> Arrival:
    """A message as it waits for the writer; of one that is too large, only the beginning."""
    size = len(payload)
    return Arrival(
        topic, payload if size <= most_bytes else payload[:most_bytes], size, now_ms, receipt
    )


def read_retained(
    *,
    broker: Broker,
    inbox: Inbox,
    most_bytes: int,
    now_ms: Callable[[], int],
    log: FilteringBoundLogger,
    stop: threading.Event,
) -> int:
    """Put every device's retained presence and report into the inbox; how many there were.

    Raises:
        BrokerError: no connection, or the broker refused a subscription.
    """
    count = 0
    last = time.monotonic()

    def take(delivery: Delivery) -> None:
        nonlocal count, last
        # This connection's own thread: it may wait for room, and the broker waits with it.
        while len(inbox) >= inbox.most // 2 and not stop.is_set() and not inbox.closed:
            time.sleep(_LOOK_S)
        if delivery.retain:
            count += 1
            last = time.monotonic()
            inbox.put(
                arrival_of(delivery.topic, delivery.payload, most_bytes=most_bytes, now_ms=now_ms())
            )
        link.acknowledge(delivery)

    link = MqttLink(
        broker=broker,
        client_id=f"edgeqa-{secrets.token_hex(8)}",
        subscriptions=[Subscription(of_all_devices(kind), take) for kind in _RETAINED],
        log=log,
    )
    link.start()
    try:
        deadline = time.monotonic() + _MOST_S
        while time.monotonic() < min(deadline, last + _QUIET_S) and not stop.wait(_LOOK_S):
            pass
    finally:
        link.stop()
    return count
