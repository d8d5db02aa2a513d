"""An MQTT 5 connection that stays up: paho-mqtt with the edges taken off.

What this adds to paho: callbacks that cannot kill the network thread, jittered backoff,
subscriptions and birth renewed at every connect (then `on_ready` is called), acknowledgement by
the application and in order, a notice when the broker has a publication, bounds on what waits, and
no Nagle delay.

Thread: handlers run in paho's network thread and must not block. Everything public may be called
from any thread.
"""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions
from structlog.typing import FilteringBoundLogger

from edgeqa.acks import OrderedAcks
from edgeqa.attempts import Attempts
from edgeqa.broker import Broker
from edgeqa.errors import BrokerError
from edgeqa.notices import DeliveryNotices
from edgeqa.packets import (
    Delivered,
    Delivery,
    Handler,
    Outgoing,
    Subscription,
    delivery_from,
    publish_properties,
)
from edgeqa.transport import (
    Limits,
    connect,
    new_client,
    packet_bytes,
    tune_socket,
)

__all__ = ["Limits", "MqttLink"]


def _guarded(callback: Callable[..., None]) -> Callable[..., None]:
    """An exception in a paho callback would end its network thread: log it instead."""

    @functools.wraps(callback)
    def guard(link: MqttLink, *args: Any) -> None:
        try:
            callback(link, *args)
        except Exception:
            link.log.exception("mqtt_callback_failed", callback=callback.__name__)

    return guard


class MqttLink:
    """One client's connection. `start` connects, `stop` ends; both may be called again."""

    def __init__(
        self,
        *,
        broker: Broker,
        client_id: str,
        subscriptions: Sequence[Subscription],
        log: FilteringBoundLogger,
        birth: Callable[[], Outgoing] | None = None,
        on_ready: Callable[[], None] | None = None,
        will: Outgoing | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.log = log
        self.connects = 0
        self._broker = broker
        self._subscriptions = list(subscriptions)
        self._birth = birth
        self._on_ready = on_ready
        self._limits = limits or Limits()
        self._acks = OrderedAcks(send=self._send_acks)
        self._notices = DeliveryNotices()
        self._subscribes: dict[int, list[str]] = {}
        self._ready = threading.Event()
        self._attempts = Attempts(broker, log)
        self._max_packet_bytes: int | None = None
        self._network_thread: threading.Thread | None = None
        self._client = self._build(client_id, will)

    @property
    def connected(self) -> bool:
        """Connected and subscribed."""
        return self._client.is_connected() and self._ready.is_set()

    @property
    def alive(self) -> bool:
        """Whether the network thread runs, connected or trying to be."""
        return self._network_thread is not None and self._network_thread.is_alive()

    def start(self) -> None:
        """Connect and subscribe, waiting at most the broker's `connect_timeout_s`.

        Raises:
            BrokerError: no connection in that time, or the broker refused it or a subscription;
                `certificate_refused`, by it or by us.
        """
        self._attempts.begin()
        before = set(threading.enumerate())
        connect(self._client, self._broker, self._limits)
        self._client.loop_start()
        started = [thread for thread in threading.enumerate() if thread not in before]
        self._network_thread = next((t for t in started if "paho" in t.name), None)
        deadline = time.monotonic() + self._broker.connect_timeout_s
        while not self._ready.wait(0.05):
            if self._attempts.final or time.monotonic() > deadline:
                self._client.disconnect()
                self._client.loop_stop()
                raise self._attempts.as_error()

    def publish(self, message: Outgoing, delivered: Delivered | None = None) -> None:
        """Hand a message over; while the connection is down it waits for it.

        Args:
            message: what to publish.
            delivered: called in the network thread once the broker acknowledged it.

        Raises:
            BrokerError: `queue_full`, more than `max_queued` publications wait;
                `packet_too_large`, the broker would close the connection over it, again and again.
        """
        if self._max_packet_bytes is not None and packet_bytes(message) > self._max_packet_bytes:
            raise BrokerError(
                f"{len(message.payload)} bytes are more than the broker takes "
                f"({self._max_packet_bytes} a packet)",
                code="packet_too_large",
            )
        info = self._client.publish(
            message.topic,
            message.payload,
            qos=1,
            retain=message.retain,
            properties=publish_properties(message),
        )
        if info.rc == MQTTErrorCode.MQTT_ERR_QUEUE_SIZE:
            raise BrokerError("too many publications wait for the broker", code="queue_full")
        self._notices.expect(info.mid, delivered)

    def acknowledge(self, delivery: Delivery) -> None:
        """Tell the broker that it need not send this message again."""
        if delivery.receipt is not None:
            self._acks.acknowledge(delivery.receipt)

    def wait_delivered(self, *, timeout_s: float) -> bool:
        """Wait until the broker has acknowledged every publication; False if it took longer."""
        return self._notices.wait_until_none(timeout_s=timeout_s)

    def unsubscribe(self) -> None:
        """Take no new messages; those that the broker already queued for us still come."""
        self._client.unsubscribe([s.topic_filter for s in self._subscriptions])

    def stop(self, farewell: Outgoing | None = None, *, timeout_s: float = 5.0) -> None:
        """Publish the farewell, wait for what is under way, disconnect."""
        if farewell is not None and self._client.is_connected():
            done = threading.Event()
            self.publish(farewell, lambda _: done.set())
            done.wait(timeout_s)
        self._client.disconnect()
        self._client.loop_stop()
        if (left := self._client.socket()) is not None:
            left.close()  # it came up just when it was to end
        self._ready.clear()

    def _build(self, client_id: str, will: Outgoing | None) -> paho.Client:
        client = self._new_client(client_id, will)
        client.on_pre_connect = self._on_pre_connect
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe
        client.on_publish = self._on_publish
        client.on_socket_open = self._on_socket_open
        for subscription in self._subscriptions:
            client.message_callback_add(
                subscription.matches, functools.partial(self._on_message, subscription.handler)
            )
        return client

    def _new_client(self, client_id: str, will: Outgoing | None) -> paho.Client:
        return new_client(self._broker, client_id=client_id, will=will, limits=self._limits)

    def _send_acks(self, packet_ids: list[int]) -> None:
        for packet_id in packet_ids:
            self._client.ack(packet_id, 1)

    @_guarded
    def _on_pre_connect(self, client: paho.Client, _data: Any) -> None:
        self._attempts.before(client)

    @_guarded
    def _on_connect(
        self, client: paho.Client, _data: Any, _flags: Any, reason: ReasonCode, props: Any
    ) -> None:
        if reason.is_failure:
            self._attempts.refused(str(reason))
            self.log.warning("mqtt_refused", reason=str(reason))
            return
        self.connects += 1
        self._attempts.accepted()
        self._max_packet_bytes = getattr(props, "MaximumPacketSize", None)
        self._acks.new_connection()
        if self._birth is not None:
            self.publish(self._birth())
        if not self._subscriptions:
            self._now_ready()
            return
        wanted = [(s.topic_filter, SubscribeOptions(1, s.no_local)) for s in self._subscriptions]
        _, packet_id = client.subscribe(wanted)
        if packet_id is not None:
            self._subscribes[packet_id] = [topic_filter for topic_filter, _ in wanted]

    @_guarded
    def _on_subscribe(
        self, _client: paho.Client, _data: Any, mid: int, reasons: list[ReasonCode], _props: Any
    ) -> None:
        filters = self._subscribes.pop(mid, [])
        refused = [
            f"{topic_filter} ({reason})"
            for topic_filter, reason in zip(filters, reasons, strict=False)
            if reason.is_failure
        ]
        if refused:
            self._attempts.refused(f"subscription refused: {', '.join(refused)}")
            self.log.error("mqtt_subscription_refused", filters=refused)
            return
        self._now_ready()

    def _now_ready(self) -> None:
        self._ready.set()
        self.log.info("mqtt_connected", host=self._broker.host, connects=self.connects)
        if self._on_ready is not None:
            self._on_ready()

    @_guarded
    def _on_disconnect(
        self, client: paho.Client, _data: Any, _flags: Any, reason: ReasonCode, _props: Any
    ) -> None:
        self._ready.clear()
        self._attempts.ended(client, reason)

    @_guarded
    def _on_connect_fail(self, client: paho.Client, _data: Any) -> None:
        self._attempts.failed(client)

    @_guarded
    def _on_socket_open(self, _client: paho.Client, _data: Any, sock: Any) -> None:
        tune_socket(sock)

    @_guarded
    def _on_publish(
        self, _client: paho.Client, _data: Any, mid: int, reason: ReasonCode, _props: Any
    ) -> None:
        # "No matching subscribers" (0x10) is a success code that a caller wants to know of.
        why = str(reason) if reason.value != 0 else None
        self._notices.arrived(mid, why)

    @_guarded
    def _on_message(
        self, handler: Handler, _client: paho.Client, _data: Any, message: paho.MQTTMessage
    ) -> None:
        receipt = self._acks.receive(message.mid) if message.qos else None
        delivery = delivery_from(message, receipt)
        try:
            handler(delivery)
        except Exception:
            # Left unacknowledged it would come back at each reconnect and fail again.
            self.log.exception("message_handler_failed", topic=message.topic)
            self.acknowledge(delivery)
