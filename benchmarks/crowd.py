"""Clients that ask an agent over raw sockets, in one thread: each waiting for its answers, or not.

A client of the field is another machine. A client library in this process would take as much of the
cores that are measured as the agent itself; these clients speak just enough MQTT 5.
"""

from __future__ import annotations

import json
import os
import selectors
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

from load_packets import variable_byte_integer

from edgeqa.errors import DataError
from edgeqa.topics import DeviceTopics, client_answers

_LOST_AFTER_S = 120.0
_KEEPALIVE_S = 600
_ASK_AGAIN_S = 0.5  # nobody may have heard it; longer than a question takes
# MQTT 5, sections 3.3.2.3.5 and 3.3.2.3.6: identifiers of properties.
_RESPONSE_TOPIC, _CORRELATION = 0x08, 0x09


@dataclass(frozen=True, slots=True)
class Came:
    """An answer.

    Attributes:
        number: of the question.
        due_at: `time.perf_counter()` when it was to be asked; it is late against this.
        at: when it came.
        answer: the message.
    """

    number: int
    due_at: float
    at: float
    answer: dict[str, object]


class Crowd:
    """Connections to one broker, each of which asks one agent. Use it in a `with` block.

    Args:
        url: of the broker, without TLS.
        device: that is asked.
        clients: connections.
    """

    def __init__(self, url: str, device: str, clients: int) -> None:
        self._to = (urlsplit(url).hostname or "localhost", urlsplit(url).port or 1883)
        self._topic = DeviceTopics(device).ask.encode()
        self._count = clients
        self._clients: list[_Client] = []
        self._selector = selectors.SelectSelector()  # epoll waits whole milliseconds
        self._due: dict[int, float] = {}

    def __enter__(self) -> Self:
        for _ in range(self._count):
            client = _Client(self._to, self._topic)
            self._clients.append(client)
            self._selector.register(client.sock, selectors.EVENT_READ, client)
        return self

    def __exit__(self, *_: object) -> None:
        for client in self._clients:
            client.sock.close()
        self._selector.close()

    def ask(self, payloads: Sequence[bytes]) -> list[Came]:
        """Ask them all, each client its next question when its last is answered.

        Raises:
            DataError: an answer did not come.
        """
        waiting = iter(enumerate(payloads))
        for client in self._clients:
            self._ask_next(client, waiting)
        came: list[Came] = []
        while len(came) < len(payloads):
            for client, one in self._answers(_LOST_AFTER_S):
                came.append(one)
                self._ask_next(client, waiting)
        return came

    def ask_at(self, payloads: Sequence[bytes], times_s: Sequence[float]) -> list[Came]:
        """Ask each at its time from now, whatever is still open.

        Raises:
            DataError: an answer did not come.
        """
        came: list[Came] = []
        begun = time.perf_counter()
        number = 0
        while len(came) < len(payloads):
            wait_s = _LOST_AFTER_S
            if number < len(payloads):
                due_at = begun + times_s[number]
                wait_s = due_at - time.perf_counter()
                if wait_s <= 0:
                    client = self._clients[number % len(self._clients)]
                    self._ask(client, number, payloads[number], due_at)
                    number += 1
                    continue
            came += [one for _, one in self._answers(wait_s)]
        return came

    def wait_online(self, payload: bytes, *, timeout_s: float) -> None:
        """Ask until somebody answers.

        Raises:
            DataError: nobody did.
        """
        give_up = time.perf_counter() + timeout_s
        while time.perf_counter() < give_up:
            self._ask(self._clients[0], 0, payload, time.perf_counter())
            again_at = time.perf_counter() + _ASK_AGAIN_S
            while (left_s := again_at - time.perf_counter()) > 0:
                if list(self._answers(left_s)):
                    return
        raise DataError("the agent does not come online")

    def _ask_next(self, client: _Client, waiting: Iterator[tuple[int, bytes]]) -> None:
        number, payload = next(waiting, (-1, b""))
        if number >= 0:
            self._ask(client, number, payload, time.perf_counter())

    def _ask(self, client: _Client, number: int, payload: bytes, due_at: float) -> None:
        self._due[number] = due_at
        client.ask(number, payload)

    def _answers(self, wait_s: float) -> Iterator[tuple[_Client, Came]]:
        events = self._selector.select(wait_s)
        if not events and wait_s >= _LOST_AFTER_S:
            raise DataError(f"a question was not answered within {_LOST_AFTER_S:.0f} s")
        for key, _ in events:
            for number, payload in key.data.received():
                at = time.perf_counter()
                yield key.data, Came(number, self._due[number], at, json.loads(payload))


class _Client:
    def __init__(self, to: tuple[str, int], topic: bytes) -> None:
        self._topic = topic
        name = os.urandom(6).hex()
        self._answers = client_answers(name).encode()
        self._packet_id = 0
        self._buffer = b""
        self.sock = socket.create_connection(to)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connect = b"\x00\x04MQTT\x05\x02" + _KEEPALIVE_S.to_bytes(2, "big") + b"\x00"
        self.sock.sendall(_packet(0x10, connect + _text(name.encode())))
        subscribe = b"\x00\x01\x00" + _text(self._answers) + b"\x01"
        self.sock.sendall(_packet(0x82, subscribe))
        while not any(kind >> 4 == 9 for kind, _ in self._packets()):  # SUBACK
            pass

    def ask(self, number: int, payload: bytes) -> None:
        self._packet_id = self._packet_id % 65_535 + 1
        properties = bytes((_RESPONSE_TOPIC,)) + _text(self._answers)
        properties += bytes((_CORRELATION,)) + _text(number.to_bytes(4, "big") + os.urandom(4))
        head = _text(self._topic) + self._packet_id.to_bytes(2, "big")
        self.sock.sendall(
            _packet(0x32, head + variable_byte_integer(len(properties)) + properties + payload)
        )

    def received(self) -> Iterator[tuple[int, bytes]]:
        """Number of the question and payload, of all answers that have come."""
        for kind, body in self._packets():
            if kind >> 4 != 3:  # PUBLISH
                continue
            at = 2 + int.from_bytes(body[:2], "big")
            packet_id = body[at : at + 2]
            size, at = _number(body, at + 2)
            properties, payload = body[at : at + size], body[at + size :]
            self.sock.sendall(_packet(0x40, packet_id))
            # The agent sends no other property before it.
            where = properties.index(bytes((_CORRELATION, 0, 8)))
            yield int.from_bytes(properties[where + 3 : where + 7], "big"), payload

    def _packets(self) -> Iterator[tuple[int, bytes]]:
        came = self.sock.recv(1 << 18)
        if not came:
            raise DataError("the broker has closed a client's connection")
        self._buffer += came
        while True:
            try:
                size, at = _number(self._buffer, 1)
            except IndexError:
                return
            if len(self._buffer) < at + size:
                return
            kind, body = self._buffer[0], self._buffer[at : at + size]
            self._buffer = self._buffer[at + size :]
            yield kind, body


def _packet(kind: int, body: bytes) -> bytes:
    return bytes((kind,)) + variable_byte_integer(len(body)) + body


def _text(value: bytes) -> bytes:
    return len(value).to_bytes(2, "big") + value


def _number(source: bytes, at: int) -> tuple[int, int]:
    """A variable byte integer, and where it ends. MQTT 5, section 1.5.5."""
    value = shift = 0
    while True:
        byte = source[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
