"""How paho-mqtt is set up for a link: bounds, credentials, connect properties and backoff."""

from __future__ import annotations

import contextlib
import random
import socket
import ssl
import threading
import time
from dataclasses import dataclass
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from edgeqa.broker import Broker
from edgeqa.packets import Outgoing

# Full jitter between the bounds keeps a fleet from returning in step after a broker restart.
# Source: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
BACKOFF_FIRST_S = 0.5
BACKOFF_MAX_S = 30.0
_CONNECT_TIMEOUT_S = 5.0
# Several repeats on a slow mobile network, and less than a person waits for a device.
UNACKNOWLEDGED_MS = 30_000
# What a PUBLISH holds beside payload and topic: fixed header, lengths and our properties, of which
# only the response topic (at most 1024 bytes) is large.
_PACKET_OVERHEAD_BYTES = 2048
# PUBLISH and PUBACK at QoS 1, of which paho itself does nothing once they are sent.
_SENT_AT_ONCE = frozenset({paho.PUBLISH, paho.PUBACK})


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of a link.

    Attributes:
        session_expiry_s: how long the broker keeps our session, and the messages for us, when we
            are gone.
        receive_maximum: unacknowledged messages that the broker may have open with us.
        max_queued: publications that may wait for the broker before `publish` refuses.
        max_packet_bytes: larger packets are dropped by the broker, unseen by us.
    """

    session_expiry_s: int = 0
    receive_maximum: int = 1000
    max_queued: int = 2000
    max_packet_bytes: int = 32 << 20


class Backoff:
    """How long to wait before the next attempt: full jitter under a doubling ceiling."""

    def __init__(self) -> None:
        self._attempts = 0

    def reset(self) -> None:
        """An attempt succeeded."""
        self._attempts = 0

    def next_s(self) -> float:
        """Count an attempt and give the wait before the next."""
        ceiling = min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2**self._attempts)
        self._attempts = min(self._attempts + 1, 16)
        return random.uniform(BACKOFF_FIRST_S / 2, ceiling)  # noqa: S311  jitter, not a secret


class Client(paho.Client):
    """A paho client that sends at once, pings seldom, and knows why a connection broke.

    paho has its network thread send everything: a wake-up for each packet, which on a small
    processor costs more than the packet. Here the thread that has one sends it, where it can
    without waiting; what is left is the network thread's as ever.

    paho 2 means to ping only when nothing else was sent for the keep-alive's time, and leaves its
    method before it notes that it sent something: it pings at every interval, whatever is sent,
    which costs an idle device a third of its traffic. And it tells nobody what the socket said,
    which with TLS 1.3 is where a broker says that it refuses a certificate: after the handshake.

    Attributes:
        broke: what the socket said last, of this connection.
    """

    broke: OSError | None = None

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._write_lock = threading.Lock()  # no two packets in one another

    def use_tls(self, context: ssl.SSLContext) -> None:
        """Make the connections to come with this context."""
        if self._ssl_context is None:
            self.tls_set_context(context)
        self._ssl_context = context

    def _create_socket(self) -> Any:
        self.broke = None
        try:
            return super()._create_socket()
        except ValueError as error:
            # Of a host that can be none. paho's thread would end over it.
            if isinstance(error, OSError):
                raise
            raise OSError(f"{self._host!r} is no host name: {error}") from error

    def _ssl_wrap_socket(self, tcp_sock: socket.socket) -> ssl.SSLSocket:
        # As paho does it, and closing what has failed. Our contexts check the host's name.
        if self._ssl_context is None:
            raise OSError("TLS without a context")
        wrapped = self._ssl_context.wrap_socket(
            tcp_sock, server_hostname=self._host, do_handshake_on_connect=False
        )
        try:
            wrapped.settimeout(self._connect_timeout)
            wrapped.do_handshake()
        except BaseException:
            wrapped.close()
            raise
        return wrapped

    def _sock_recv(self, bufsize: int) -> bytes:
        try:
            return super()._sock_recv(bufsize)
        except BlockingIOError:
            raise
        except OSError as error:
            self.broke = self.broke or error
            raise

    def _packet_queue(
        self,
        command: int,
        packet: bytes | bytearray,
        mid: int,
        qos: int,
        info: paho.MQTTMessageInfo | None = None,
    ) -> MQTTErrorCode:
        if qos == 1 and command & 0xF0 in _SENT_AT_ONCE and self._send_now(packet):
            return MQTTErrorCode.MQTT_ERR_SUCCESS
        return super()._packet_queue(command, packet, mid, qos, info)

    def _send_now(self, packet: bytes | bytearray) -> bool:
        """Send a whole packet, if it would be the next one and there is room for it."""
        if not (self.is_connected() and self._may_write()):
            return False
        if not self._write_lock.acquire(blocking=False):
            return False
        try:
            if self._out_packet:
                return False
            sent = self._sock_send(packet)
            if sent < len(packet):
                # What is left is next; the network thread, woken, sends it.
                self._out_packet.appendleft(_rest(packet, sent))
        except (OSError, AttributeError, ValueError):
            return False  # nothing was sent: no room, or a connection whose end paho will note
        finally:
            self._write_lock.release()
        if sent < len(packet):
            self._wake()
        with self._msgtime_mutex:
            self._last_msg_out = time.monotonic()
        return True

    def _may_write(self) -> bool:
        # OpenSSL takes no reading and writing of one connection at the same time.
        return self._ssl_context is None or threading.current_thread() is self._thread

    def _wake(self) -> None:
        """Have whoever runs the loop write, as paho does it."""
        if self._sockpairW is not None:
            with contextlib.suppress(BlockingIOError):
                self._sockpairW.send(b"0")
        self._call_socket_register_write()

    def _packet_write(self) -> MQTTErrorCode:
        sends = bool(self._out_packet)
        with self._write_lock:
            code = super()._packet_write()
        if sends and code == MQTTErrorCode.MQTT_ERR_SUCCESS:
            with self._msgtime_mutex:
                self._last_msg_out = time.monotonic()
        return code


def _rest(packet: bytes | bytearray, sent: int) -> Any:
    """A packet of which some bytes are sent, as paho queues it."""
    return {
        "command": packet[0],
        "mid": 0,
        "qos": 1,
        "pos": sent,
        "to_process": len(packet) - sent,
        "packet": packet,
        "info": None,
    }


def new_client(
    broker: Broker,
    *,
    client_id: str,
    will: Outgoing | None,
    limits: Limits,
    kind: type[paho.Client] = Client,
) -> paho.Client:
    """A paho client, not yet connected and without callbacks."""
    client = kind(
        CallbackAPIVersion.VERSION2, client_id=client_id, protocol=paho.MQTTv5, manual_ack=True
    )
    client.max_queued_messages_set(limits.max_queued)
    client.max_inflight_messages_set(limits.max_queued)
    client.connect_timeout = _CONNECT_TIMEOUT_S
    set_reconnect_delay(client, BACKOFF_FIRST_S)
    if broker.username is not None:
        client.username_pw_set(broker.username, broker.password)
    if broker.tls is not None:
        client.tls_set_context(broker.tls.first)
    if will is not None:
        client.will_set(will.topic, will.payload, qos=1, retain=will.retain)
    return client


def set_reconnect_delay(client: paho.Client, delay_s: float) -> None:
    """The wait before paho's next attempt."""
    client.reconnect_delay_set(delay_s, delay_s)  # type: ignore[arg-type]  # typed int, used as seconds


def connect(client: paho.Client, broker: Broker, limits: Limits) -> None:
    """Say where to connect and how; paho's loop then does it."""
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho leaves it untyped
    properties.SessionExpiryInterval = limits.session_expiry_s
    properties.ReceiveMaximum = limits.receive_maximum
    properties.MaximumPacketSize = limits.max_packet_bytes
    client.connect_async(
        broker.host,
        broker.port,
        keepalive=broker.keepalive_s,
        clean_start=limits.session_expiry_s == 0,
        properties=properties,
    )


def disable_nagle(sock: Any) -> None:
    """Send small packets at once.

    Nagle's algorithm holds a small packet until the one before is acknowledged, up to 40 ms with
    delayed ACKs: as long as a whole inference.
    """
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def tune_socket(sock: Any) -> None:
    """Send small packets at once, and end the connection when what was sent is not acknowledged.

    A broker that is gone without a word would else be noticed by the keep-alive alone, which takes
    up to twice its interval. This costs no packet.

    Source: tcp(7), TCP_USER_TIMEOUT, which Linux has.
    """
    disable_nagle(sock)
    option = getattr(socket, "TCP_USER_TIMEOUT", None)
    if option is not None:
        sock.setsockopt(socket.IPPROTO_TCP, option, UNACKNOWLEDGED_MS)


def packet_bytes(message: Outgoing) -> int:
    """An upper bound of the size of the packet that carries a message."""
    return len(message.payload) + len(message.topic.encode()) + _PACKET_OVERHEAD_BYTES
