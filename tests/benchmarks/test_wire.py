"""Frames are counted for what they carry, however packets and frames fall."""

from __future__ import annotations

import socket
import struct

import pytest
from wire.frames import ACKNOWLEDGEMENTS, ADDRESSES, CONNECTION, REPEATS, Frames

DEVICE, BROKER = socket.inet_aton("10.213.0.2"), socket.inet_aton("10.213.0.1")
HEADERS = 14 + 20 + 32  # Ethernet, IP, and TCP with a timestamp


def frame(payload: bytes, *, up: bool, at: int, flags: int = 0x18, pad: int = 0) -> bytes:
    source, target = (DEVICE, BROKER) if up else (BROKER, DEVICE)
    ports = (40000, 1883) if up else (1883, 40000)
    tcp = struct.pack(">HHIIBBHHH", *ports, at, 0, 8 << 4, flags, 500, 0, 0) + bytes(12)
    length = 20 + len(tcp) + len(payload)
    ip = struct.pack(">BBHHHBBH", 0x45, 0, length, 1, 0, 64, 6, 0) + source + target
    return bytes(12) + b"\x08\x00" + ip + tcp + payload + bytes(pad)


def publish(topic: str, payload: bytes, packet_id: int) -> bytes:
    body = struct.pack(">H", len(topic)) + topic.encode() + struct.pack(">HB", packet_id, 0)
    size = len(body) + len(payload)
    length = bytes([size]) if size < 128 else bytes([0x80 | size & 0x7F, size >> 7])
    return b"\x32" + length + body + payload


@pytest.fixture
def frames() -> Frames:
    return Frames(DEVICE)


def test_publication_and_its_acknowledgement_count_for_its_topic(frames: Frames) -> None:
    sent = publish("edgeqa/v1/devices/pi/model/reported", b"{}", 7)
    frames.add(frame(sent, up=True, at=100))
    frames.add(frame(b"\x40\x02\x00\x07", up=False, at=900))
    frames.add(frame(b"", up=True, at=100 + len(sent), flags=0x10))

    tally = frames.tallies["model/reported"]
    assert (tally.messages, tally.frames) == (2, 2)
    assert tally.up_bytes == HEADERS + len(sent)
    assert tally.down_bytes == HEADERS + 4
    assert frames.tallies[ACKNOWLEDGEMENTS].up_bytes == HEADERS


def test_packet_in_several_frames_is_one_message(frames: Frames) -> None:
    sent = publish("edgeqa/v1/devices/pi/telemetry", b"x" * 3000, 1)
    for at in range(0, len(sent), 1448):
        frames.add(frame(sent[at : at + 1448], up=True, at=100 + at))

    tally = frames.tallies["telemetry"]
    assert (tally.messages, tally.frames) == (1, 3)
    assert tally.up_bytes == 3 * HEADERS + len(sent)


def test_packets_in_one_frame_count_each_for_itself_and_headers_once(frames: Frames) -> None:
    first = publish("edgeqa/v1/devices/pi/heartbeat", b"{}", 1)
    second = b"\xc0\x00"
    frames.add(frame(first + second, up=True, at=100))

    assert frames.tallies["heartbeat"].up_bytes == HEADERS + len(first)
    assert frames.tallies["keep-alive"].up_bytes == 2
    assert sum(tally.frames for tally in frames.tallies.values()) == 1


def test_rest_of_a_packet_and_the_next_one_in_a_frame(frames: Frames) -> None:
    first = publish("edgeqa/v1/devices/pi/telemetry", b"x" * 100, 1)
    second = publish("edgeqa/v1/devices/pi/heartbeat", b"y" * 50, 2)
    stream = first + second
    frames.add(frame(stream[:60], up=True, at=0))
    frames.add(frame(stream[60:], up=True, at=60))

    assert frames.tallies["telemetry"].messages == frames.tallies["heartbeat"].messages == 1
    assert frames.tallies["heartbeat"].up_bytes == len(second)
    total = sum(tally.up_bytes for tally in frames.tallies.values())
    assert total == 2 * HEADERS + len(stream)


def test_repeat_is_no_second_message(frames: Frames) -> None:
    sent = frame(publish("edgeqa/v1/devices/pi/telemetry", b"x", 1), up=True, at=100)
    frames.add(sent)
    frames.add(sent)

    assert frames.tallies["telemetry"].messages == 1
    assert frames.tallies[REPEATS].frames == 1


def test_connection_padding_and_addresses(frames: Frames) -> None:
    frames.add(frame(b"", up=True, at=99, flags=0x02))
    frames.add(frame(b"\x10\x00", up=True, at=100))
    frames.add(frame(b"\xd0\x00", up=False, at=5, pad=6))
    arp = bytes(12) + b"\x08\x06" + struct.pack(">HHBBH", 1, 0x0800, 6, 4, 1) + bytes(6)
    frames.add(arp + DEVICE + bytes(6) + BROKER)

    assert frames.tallies[CONNECTION].frames == frames.tallies["connecting"].messages == 1
    assert frames.tallies["keep-alive"].down_bytes == HEADERS + 2 + 6
    assert frames.tallies[ADDRESSES].up_bytes == 42
