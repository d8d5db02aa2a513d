"""paho-mqtt with a quick path for the messages that come by the thousand.

paho reads a packet with four system calls, builds its properties and looks its topic up in a tree,
and sends each acknowledgement alone: some 100 microseconds a message, more than all the rest of its
way into the database. Here what the socket has is read at once; of a publication at QoS 1 below a
known prefix only topic, packet id and payload are taken out, and it goes to one function. All other
packets go the ordinary way: paho reads them from the same buffer.

Thread: paho's network thread.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Any

from paho.mqtt.enums import MQTTErrorCode

from edgeqa.transport import Client

# What one look at the socket may bring: some hundred messages.
_READ_BYTES = 256 << 10
# MQTT 5, section 3.3: PUBLISH at QoS 1, with or without the flags DUP (8) and RETAIN (1).
_PUBLISH_QOS_1 = frozenset({0x32, 0x33, 0x3A, 0x3B})
_RETAIN = 0x01
_PUBACK = 0x40
# Section 1.5.5: a variable length takes at most four bytes.
_LENGTH_BYTES = 4

# Topic, payload, packet id.
Publication = Callable[[bytes, bytes, int], None]


class BufferedSocket:
    """A socket whose bytes are read ahead; what paho needs of a socket, and no more."""

    def __init__(self, sock: Any) -> None:
        self._sock = sock
        self.buffer = bytearray()
        self.incomplete = False

    def recv(self, size: int) -> bytes:
        """As of a socket; first what was read ahead."""
        if self.buffer:
            some = bytes(self.buffer[:size])
            del self.buffer[:size]
            return some
        return bytes(self._sock.recv(size))

    def fill(self) -> bool:
        """Read what there is; False at the end of the connection.

        Raises:
            OSError: the connection broke.
        """
        try:
            some = self._sock.recv(_READ_BYTES)
        except (BlockingIOError, ssl.SSLWantReadError):
            return True
        self.buffer += some
        return bool(some)

    def pending(self) -> int:
        """Bytes that can be worked on without waiting for the network."""
        held = self._sock.pending() if isinstance(self._sock, ssl.SSLSocket) else 0
        return held or (0 if self.incomplete else len(self.buffer))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


class FastClient(Client):
    """A client; set `prefix` and `on_publication` before connecting."""

    prefix: bytes = b""
    on_publication: Publication | None = None

    def loop_read(self, max_packets: int = 1) -> MQTTErrorCode:
        """Called by paho's loop when there is something to read."""
        sock = self._sock
        if not isinstance(sock, BufferedSocket) or self.on_publication is None:
            return super().loop_read(max_packets)
        try:
            alive = sock.fill()
        except OSError as error:
            self.broke = self.broke or error
            alive = False
        code = self._work_off(sock, max_packets)
        if alive or code != MQTTErrorCode.MQTT_ERR_SUCCESS:
            return code
        sock.buffer.clear()
        return super().loop_read(max_packets)  # it sees the end, and says so

    def _work_off(self, sock: BufferedSocket, max_packets: int) -> MQTTErrorCode:
        buffer = sock.buffer
        position = 0
        sock.incomplete = False
        while position < len(buffer):
            end = _packet_end(buffer, position)
            if end is None:
                sock.incomplete = True
                break
            if not self._take(buffer, position, end):
                del buffer[:position]
                position = 0
                code = super().loop_read(max_packets)
                if code != MQTTErrorCode.MQTT_ERR_SUCCESS or self._sock is not sock:
                    return code
                continue
            position = end
        del buffer[:position]
        return MQTTErrorCode.MQTT_ERR_SUCCESS

    def _take(self, buffer: bytearray, start: int, end: int) -> bool:
        """Hand a publication on; False if the packet is something else."""
        if buffer[start] not in _PUBLISH_QOS_1 or self.on_publication is None:
            return False
        at = start + 2
        while buffer[at - 1] & 0x80:
            at += 1
        topic_end = at + 2 + (buffer[at] << 8 | buffer[at + 1])
        topic = bytes(buffer[at + 2 : topic_end])
        if not topic.startswith(self.prefix):
            return False
        packet_id = buffer[topic_end] << 8 | buffer[topic_end + 1]
        at = topic_end + 2
        length, shift = 0, 0
        while True:
            byte = buffer[at]
            at += 1
            length |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                break
        self.on_publication(topic, bytes(buffer[at + length : end]), packet_id)
        return True

    def acknowledge(self, packet_ids: list[int]) -> None:
        """Send PUBACKs, many in one piece. Thread: any."""
        piece = b"".join(
            bytes((_PUBACK, 2, packet_id >> 8, packet_id & 0xFF)) for packet_id in packet_ids
        )
        self._packet_queue(_PUBACK, piece, 0, 0)

    def _create_socket(self) -> Any:
        return BufferedSocket(super()._create_socket())


def _packet_end(buffer: bytearray, start: int) -> int | None:
    """Where the packet at `start` ends; None if it is not whole yet."""
    length = 0
    for index in range(_LENGTH_BYTES):
        at = start + 1 + index
        if at >= len(buffer):
            return None
        length |= (buffer[at] & 0x7F) << (7 * index)
        if not buffer[at] & 0x80:
            end = at + 1 + length
            return end if end <= len(buffer) else None
    return start  # malformed: for paho to say so
