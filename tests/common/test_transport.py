"""Packets leave at once where they can, and never in one another."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion, _ConnectionState

from edgeqa.transport import Client

LARGE = bytes(1 << 20)


class Wire:
    """A connected client as its network thread has it, and the broker's end of its socket."""

    def __init__(self) -> None:
        self.client = Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5, manual_ack=True)
        ours, self.broker = socket.socketpair()
        ours.setblocking(False)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 14)
        self.broker.settimeout(10)
        self.client._sock = ours
        self.client._state = _ConnectionState.MQTT_CS_CONNECTED
        self.client._thread = threading.Thread()
        self._got = b""

    def publish(self, topic: str, payload: bytes = b"x") -> None:
        self.client.publish(topic, payload, qos=1)

    def hears(self, bytes_: int) -> None:
        while len(self._got) < bytes_:
            self._got += self.broker.recv(1 << 16)

    def waiting(self) -> int:
        """Packets left to the network thread."""
        return len(self.client._out_packet)

    def topics(self) -> list[str]:
        """Of all packets that have come, each whole."""
        found, at = [], 0
        while at < len(self._got):
            assert self._got[at] == paho.PUBLISH | 2
            size, shift, at = 0, 0, at + 1
            while True:
                byte = self._got[at]
                size, shift, at = size | (byte & 127) << shift, shift + 7, at + 1
                if byte < 128:
                    break
            length = int.from_bytes(self._got[at : at + 2], "big")
            found.append(self._got[at + 2 : at + 2 + length].decode())
            at += size
        assert at == len(self._got)
        return found


@pytest.fixture
def wire() -> Iterator[Wire]:
    made = Wire()
    yield made
    made.client._sock_close()
    made.broker.close()


def test_a_packet_leaves_in_the_thread_that_has_it(wire: Wire) -> None:
    wire.publish("a")
    wire.client.ack(7, 1)
    assert wire.waiting() == 0
    assert wire.broker.recv(1 << 16).endswith(b"x\x40\x02\x00\x07")


def test_a_packet_that_the_socket_takes_in_parts_is_not_interrupted(wire: Wire) -> None:
    wire.publish("large", LARGE)
    assert wire.waiting() == 1
    wire.publish("second")
    wire.hears(1000)  # there is room again
    wire.publish("third")
    assert wire.waiting() == 3
    reader = threading.Thread(target=wire.hears, args=(len(LARGE) + 40,))
    reader.start()
    while wire.waiting():
        wire.client.loop_write()
    reader.join()
    assert wire.topics() == ["large", "second", "third"]


def test_a_packet_waits_while_another_thread_writes(wire: Wire) -> None:
    with wire.client._write_lock:
        wire.publish("a")
        assert wire.waiting() == 1
    wire.client.loop_write()
    assert wire.waiting() == 0


def test_a_packet_for_a_connection_that_broke_waits_for_the_next(wire: Wire) -> None:
    wire.client._sock_close()
    wire.publish("a")
    assert len(wire.client._out_messages) == 1
