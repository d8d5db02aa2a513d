"""One device's MQTT connection: a real paho client, driven by the shared loop without a thread.

paho opens sockets blocking, which would stop ten thousand devices while one waits for a broker that
does not answer. So the socket is opened here, and handed to paho once it is connected; with TLS the
handshake alone still blocks.
"""

from __future__ import annotations

import errno
import functools
import os
import selectors
import socket
from collections.abc import Sequence
from typing import Any, Protocol

import paho.mqtt.client as paho
from paho.mqtt.reasoncodes import ReasonCode

from edgeqa.errors import BrokerError
from edgeqa.packets import Delivered, Delivery, Outgoing, delivery_from, publish_properties
from edgeqa.transport import Backoff, Limits, connect, disable_nagle, new_client
from edgeqa_cloud.simulate.dial import Dial, Network
from edgeqa_cloud.simulate.loop import Timer

# A session ends with its connection: what a simulated device misses, it asks for or is sent again.
_LIMITS = Limits(session_expiry_s=0, receive_maximum=100, max_queued=1000, max_packet_bytes=1 << 20)


class Owner(Protocol):
    """Whose connection it is."""

    def on_up(self) -> None:
        """Connected and subscribed."""

    def on_down(self) -> None:
        """The connection is gone; it comes back by itself unless it was to end."""

    def on_message(self, delivery: Delivery) -> None:
        """A message came; it is acknowledged when this returns."""


class Connection:
    """A client that stays connected from `open` to `close` or `drop`.

    Args:
        network: shared with the others.
        client_id: of its own.
        will: published by the broker when the connection breaks.
        filters: subscribed to at each connect.
        owner: told of what happens.
    """

    def __init__(
        self,
        *,
        network: Network,
        client_id: str,
        will: Outgoing,
        filters: Sequence[str],
        owner: Owner,
    ) -> None:
        self.connected = False
        self.connects = 0
        # Why the last attempt failed.
        self.refusal: str | None = None
        self._network = network
        self._loop = network.loop
        self._filters = [(topic_filter, 1) for topic_filter in filters]
        self._owner = owner
        self._backoff = Backoff()
        self._wanted = False
        self._dial = Dial(network=network, made=self._on_dialled, failed=self._on_refused)
        self._made: socket.socket | None = None
        self._waiting: dict[int, Delivered | None] = {}
        self._dirty = False
        self._full = False
        self._timer: Timer | None = None
        self._client = self._build(client_id, will)

    @property
    def in_flight(self) -> int:
        """Publications that the broker has not acknowledged."""
        return len(self._waiting)

    def open(self) -> None:
        """Connect as soon as it is our turn, and again whenever the connection breaks."""
        if not self._wanted:
            self._wanted = True
            self._network.turnstile.enter(self._begin)

    def publish(self, message: Outgoing, delivered: Delivered | None = None) -> None:
        """Hand a message over; what the broker does not acknowledge is sent again after a break.

        Raises:
            BrokerError: `queue_full`.
        """
        info = self._client.publish(
            message.topic,
            message.payload,
            qos=1,
            retain=message.retain,
            properties=publish_properties(message),
        )
        if info.rc == paho.MQTT_ERR_QUEUE_SIZE:
            raise BrokerError("too many publications wait for the broker", code="queue_full")
        self._waiting[info.mid] = delivered

    def close(self) -> None:
        """End politely: the broker drops the will."""
        self._wanted = False
        self._stop_timer()
        self._dial.abandon()
        self._client.disconnect()

    def drop(self) -> None:
        """End as by a power cut: the broker publishes the will."""
        self._wanted = False
        self._stop_timer()
        self._dial.abandon()
        sock: Any = self._client.socket()
        if sock is not None:
            sock.shutdown(socket.SHUT_RDWR)

    def _build(self, client_id: str, will: Outgoing) -> paho.Client:
        client = new_client(
            broker=self._network.broker, client_id=client_id, will=will, limits=_LIMITS
        )
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        client.on_publish = self._on_publish
        client.on_socket_open = self._on_socket_open
        client.on_socket_close = self._on_socket_close
        client.on_socket_register_write = self._on_register_write
        connect(client, self._network.broker, _LIMITS)
        # The one step of paho's connecting that waits.
        client._create_socket_connection = self._take_socket  # type: ignore[method-assign]  # noqa: SLF001  see above
        return client

    # Opening the socket.

    def _begin(self) -> None:
        if self._wanted and not self._dial.under_way and self._client.socket() is None:
            self._dial.begin()

    def _on_dialled(self, sock: socket.socket) -> None:
        self._made = sock
        try:
            self._client.reconnect()
        except OSError as error:  # of the TLS handshake
            sock.close()
            self._on_refused(error.strerror or str(error))

    def _on_refused(self, reason: str) -> None:
        self.refusal = reason
        self._try_again()

    def _try_again(self) -> None:
        enter = functools.partial(self._network.turnstile.enter, self._begin)
        self._timer = self._loop.call_later(self._backoff.next_s(), enter)

    def _take_socket(self) -> socket.socket:
        sock, self._made = self._made, None
        if sock is None:
            raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))
        return sock

    # Driving paho.

    def _on_socket_open(self, _client: paho.Client, _data: Any, sock: Any) -> None:
        disable_nagle(sock)
        self._full = False
        self._loop.watch(sock, self._on_ready)
        self._tick()

    def _on_socket_close(self, _client: paho.Client, _data: Any, sock: Any) -> None:
        self._loop.forget(sock)
        self._stop_timer()

    def _on_register_write(self, _client: paho.Client, _data: Any, _sock: Any) -> None:
        if not self._dirty:
            self._dirty = True
            self._loop.call_soon(self._write)

    def _on_ready(self, mask: int) -> None:
        if mask & selectors.EVENT_READ:
            self._client.loop_read()
            self._drain_tls()
        if mask & selectors.EVENT_WRITE:
            self._write()

    def _drain_tls(self) -> None:
        # What TLS has decrypted already, no selector reports.
        sock: Any = self._client.socket()
        while self._network.broker.tls is not None and sock is not None and sock.pending():
            self._client.loop_read()
            sock = self._client.socket()

    def _write(self) -> None:
        self._dirty = False
        self._client.loop_write()
        sock: Any = self._client.socket()
        full = self._client.want_write()
        if sock is not None and full != self._full:
            self._full = full
            self._loop.watch(sock, self._on_ready, write=full)

    def _tick(self) -> None:
        self._client.loop_misc()
        if self._client.socket() is not None:
            self._timer = self._loop.call_later(self._network.broker.keepalive_s / 4, self._tick)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # What paho tells.

    def _on_connect(
        self, client: paho.Client, _data: Any, _flags: Any, reason: ReasonCode, _props: Any
    ) -> None:
        if reason.is_failure:
            self.refusal = str(reason)
        else:
            client.subscribe(self._filters)

    def _on_subscribe(self, *_: Any) -> None:
        self.connected = True
        self.connects += 1
        self._backoff.reset()
        self._owner.on_up()

    def _on_disconnect(self, *_: Any) -> None:
        was, self.connected = self.connected, False
        if was:
            self._owner.on_down()
        if self._wanted:
            self._try_again()

    def _on_message(self, client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        self._owner.on_message(delivery_from(message, None))
        if message.qos:
            client.ack(message.mid, message.qos)

    def _on_publish(
        self, _client: paho.Client, _data: Any, mid: int, reason: ReasonCode, _props: Any
    ) -> None:
        delivered = self._waiting.pop(mid, None)
        if delivered is not None:
            delivered(str(reason) if reason.value != 0 else None)
