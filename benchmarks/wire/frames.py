"""From the frames on a cable to what each of them was for."""

from __future__ import annotations

import struct
from collections import defaultdict
from dataclasses import dataclass, field

from edgeqa.topics import device_in

_ETHERNET_BYTES = 14
_ETHERTYPE_IPV4, _PROTOCOL_TCP = 0x0800, 6
_SYN, _FIN, _RST = 0x02, 0x01, 0x04
_PUBLISH, _PUBACK = 3, 4
# MQTT 5, section 2.1.2.
_NAMES = {
    1: "connecting",
    2: "connecting",
    8: "subscribing",
    9: "subscribing",
    12: "keep-alive",
    13: "keep-alive",
    14: "disconnecting",
}
ACKNOWLEDGEMENTS = "TCP acknowledgements alone"
CONNECTION = "TCP connection"
REPEATS = "TCP repeats"
ADDRESSES = "ARP"


@dataclass(slots=True)
class Tally:
    """What was seen of one kind: MQTT packets, frames, and their bytes with all headers."""

    messages: int = 0
    frames: int = 0
    up_bytes: int = 0
    down_bytes: int = 0


@dataclass(slots=True)
class _Stream:
    """One direction of one TCP connection."""

    expected: int | None = None
    buffer: bytes = b""
    left: int = 0  # bytes still to come of the packet that the last frame ended in
    kind: str = ""


@dataclass(slots=True)
class Frames:
    """Counts frames by what they are for. `device` is the device's address."""

    device: bytes
    tallies: dict[str, Tally] = field(default_factory=lambda: defaultdict(Tally))
    _streams: dict[bytes, _Stream] = field(default_factory=lambda: defaultdict(_Stream))
    _published: dict[tuple[bool, int], str] = field(default_factory=dict)

    def add(self, frame: bytes) -> None:
        """Count a frame, Ethernet header included."""
        ethertype = int.from_bytes(frame[12:14], "big")
        packet = frame[_ETHERNET_BYTES:]
        if ethertype != _ETHERTYPE_IPV4 or packet[9] != _PROTOCOL_TCP:
            self._count(ADDRESSES, frame, up=packet[14:18] == self.device)  # who asks or replies
            return
        header = 4 * (packet[0] & 0x0F)
        # A short frame may be padded: the IP header says how long the packet is.
        packet = packet[: int.from_bytes(packet[2:4], "big")]
        up, segment = packet[12:16] == self.device, packet[header:]
        flags, payload = segment[13], segment[4 * (segment[12] >> 4) :]
        stream = self._streams[packet[12:16] + segment[0:4]]
        sequence = int.from_bytes(segment[4:8], "big")
        if flags & (_SYN | _FIN | _RST):
            stream.expected = (sequence + len(payload) + 1) & 0xFFFFFFFF
            self._count(CONNECTION, frame, up=up)
        elif not payload:
            self._count(ACKNOWLEDGEMENTS, frame, up=up)
        elif stream.expected not in (None, sequence):
            self._count(REPEATS, frame, up=up)
        else:
            stream.expected = (sequence + len(payload)) & 0xFFFFFFFF
            self._payload(stream, frame, payload, up=up)

    def _payload(self, stream: _Stream, frame: bytes, payload: bytes, *, up: bool) -> None:
        """The headers count for the first packet in a frame, and each packet for itself."""
        parts: list[tuple[str, int]] = []
        if stream.left:
            size = min(stream.left, len(payload))
            stream.left -= size
            parts.append((stream.kind, size))
            payload = payload[size:]
        stream.buffer += payload
        while stream.buffer and (whole := _packet_bytes(stream.buffer)) is not None:
            here = min(whole, len(stream.buffer))
            stream.kind = self._kind(stream.buffer[:here], up=up)
            self.tallies[stream.kind].messages += 1
            parts.append((stream.kind, here))
            stream.left, stream.buffer = whole - here, stream.buffer[here:]
        headers = len(frame) - sum(size for _, size in parts)
        for number, (kind, size) in enumerate(parts):
            tally = self.tallies[kind]
            tally.frames += number == 0
            sent = size + (headers if number == 0 else 0)
            tally.up_bytes += sent if up else 0
            tally.down_bytes += 0 if up else sent

    def _kind(self, packet: bytes, *, up: bool) -> str:
        control = packet[0] >> 4
        body = packet[_header_bytes(packet) :]
        if control == _PUBLISH:
            (length,) = struct.unpack_from(">H", body)
            topic = body[2 : 2 + length].decode()
            device = device_in(topic) or ""
            kind = topic.partition(f"/{device}/")[2] or topic
            self._published[up, int.from_bytes(body[2 + length : 4 + length], "big")] = kind
            return kind
        if control == _PUBACK:
            return self._published.get((not up, int.from_bytes(body[:2], "big")), "PUBACK")
        return _NAMES.get(control, f"MQTT {control}")

    def _count(self, kind: str, frame: bytes, *, up: bool) -> None:
        tally = self.tallies[kind]
        tally.frames += 1
        tally.up_bytes += len(frame) if up else 0
        tally.down_bytes += 0 if up else len(frame)


def _header_bytes(packet: bytes) -> int:
    """Of the fixed header: a byte, and a length of one to four."""
    size = 1
    while packet[size] & 0x80:
        size += 1
    return size + 1


def _packet_bytes(stream: bytes) -> int | None:
    """The size of the packet that a stream begins with; None where its header is not all there.

    Source: MQTT 5, section 1.5.5, Variable Byte Integer.
    """
    length = 0
    for place, byte in enumerate(stream[1:5]):
        length |= (byte & 0x7F) << (7 * place)
        if not byte & 0x80:
            return 2 + place + length
    return None
