"""A bare MQTT client that tries what it may not, and says what came of it."""

from __future__ import annotations

import secrets
import socket
import threading
import time
from typing import Any, Self

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edgeqa.broker import BrokerSettings, resolve_broker

WAIT_S = 10.0
NOT_AUTHORIZED = 135  # MQTT 5, section 3.4.2.1
# PUBACK 0x10: taken, and nobody listens.
TAKEN = {0, 16}


class Probe:
    """Use it in a `with` block.

    Args:
        broker: with or without credentials.
        client_id: a random one if not said.
        will: topic of a last will; its payload is `will`.
        keep_s: how long the broker keeps the session; 0: it begins and ends with the connection.
        version: of MQTT.

    Attributes:
        heard: topic and payload of what came.
        refused: why there is no connection; None: there is one, or was.
    """

    def __init__(
        self,
        broker: BrokerSettings,
        *,
        client_id: str | None = None,
        will: str | None = None,
        keep_s: int = 0,
        version: MQTTProtocolVersion = MQTTProtocolVersion.MQTTv5,
    ) -> None:
        self.heard: list[tuple[str, bytes]] = []
        self.refused: str | None = None
        self.lost = threading.Event()
        self._broker = resolve_broker(broker)
        self._keep_s = keep_s
        self._changed = threading.Condition()
        self._acknowledged: dict[int, int] = {}
        self._connected: ReasonCode | None = None
        self.client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id or f"probe-{secrets.token_hex(8)}",
            protocol=version,
            reconnect_on_failure=False,
        )
        self.client.max_inflight_messages_set(1000)
        if self._broker.username is not None:
            self.client.username_pw_set(self._broker.username, self._broker.password)
        if self._broker.tls is not None:
            self.client.tls_set_context(self._broker.tls.context())
        if will is not None:
            self.client.will_set(will, b"will", qos=1, retain=True)
        self.client.on_connect = self._on_connect
        self.client.on_disconnect = self._on_disconnect
        self.client.on_publish = self._on_acknowledged
        self.client.on_subscribe = self._on_subscribed
        self.client.on_message = self._on_message

    def __enter__(self) -> Self:
        options: dict[str, Any] = {}
        if self.client.protocol == MQTTProtocolVersion.MQTTv5:
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho's
            properties.SessionExpiryInterval = self._keep_s
            options = {"clean_start": self._keep_s == 0, "properties": properties}
        try:
            self.client.connect(self._broker.host, self._broker.port, **options)
        except OSError as error:
            self.refused = str(error)
            return self
        self.client.loop_start()
        self._wait(lambda: self._connected is not None or self.lost.is_set())
        if self._connected is None:
            self.refused = "connection closed"
        elif self._connected.is_failure:
            self.refused = str(self._connected)
        return self

    def __exit__(self, *_: object) -> None:
        self.client.disconnect()
        self.client.loop_stop()

    def vanish(self) -> None:
        """Without a word, so that the broker publishes the will."""
        sock = self.client.socket()
        assert sock is not None
        sock.shutdown(socket.SHUT_RDWR)
        self.lost.wait(WAIT_S)

    def send(self, topic: str, payload: bytes = b"x", *, retain: bool = False) -> int:
        """Publish without waiting; the number to `reason` it by."""
        return self.client.publish(topic, payload, qos=1, retain=retain).mid

    def reason(self, number: int) -> int:
        """The broker's reason code for a publication."""
        self._wait(lambda: number in self._acknowledged)
        return self._acknowledged[number]

    def publish(self, topic: str, payload: bytes = b"x", *, retain: bool = False) -> int:
        """Publish; the broker's reason code."""
        return self.reason(self.send(topic, payload, retain=retain))

    def subscribe(self, *filters: str) -> None:
        """Subscribe, and wait until the broker has said something to it."""
        _, number = self.client.subscribe([(one, 1) for one in filters])
        assert number is not None
        self._wait(lambda: number in self._acknowledged)

    def hear(self, payload: bytes) -> None:
        """Wait until this came: what the broker had before it has come too."""
        self._wait(lambda: any(one == payload for _, one in self.heard))

    def topics(self, payload: bytes) -> set[str]:
        """Where this payload came from."""
        return {topic for topic, one in self.heard if one == payload}

    def _wait(self, true: Any) -> None:
        with self._changed:
            assert self._changed.wait_for(true, WAIT_S), "the broker says nothing"

    def _tell(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _on_connect(self, _c: Any, _d: Any, _f: Any, reason: ReasonCode, _p: Any) -> None:
        self._connected = reason
        self._tell()

    def _on_disconnect(self, client: paho.Client, *_: Any) -> None:
        self.lost.set()
        client.disconnect()  # not again
        self._tell()

    def _on_acknowledged(self, _c: Any, _d: Any, mid: int, reason: ReasonCode, _p: Any) -> None:
        self._acknowledged[mid] = reason.value
        self._tell()

    def _on_subscribed(self, _c: Any, _d: Any, mid: int, *_: Any) -> None:
        self._acknowledged[mid] = 0
        self._tell()

    def _on_message(self, _c: Any, _d: Any, message: paho.MQTTMessage) -> None:
        self.heard.append((message.topic, message.payload))
        self._tell()


def eventually(true: Any, what: str) -> None:
    """Wait for something that the broker does in its own time."""
    deadline = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < deadline, f"not in time: {what}"
        time.sleep(0.02)
