"""Publishes telemetry as fast as a broker takes it, over raw sockets, in a process of its own.

A client library would cost more than everything that is measured. QoS 1: each packet's PUBACK is
waited for, with a window. The parent says how many messages are committed; the generator is never
more than a bound ahead of that, so that the broker's queue does not grow.
"""

from __future__ import annotations

import socket
import time
from collections import deque
from ctypes import c_bool, c_longlong
from multiprocessing import Process, Value
from typing import Any, Self

from load_packets import packets, templates

_WINDOW = 1000  # PUBLISH packets without PUBACK, per connection
_CHUNK = 50  # packets in one send
_CONNACK_BYTES = 4
_PUBACK_BYTES = 4
_KEEPALIVE_S = 600
_IDLE_S = 0.001


class Load:
    """A context manager: it publishes inside the block."""

    def __init__(
        self, *, port: int, devices: int, boot_id: str, ahead: int, connections: int = 4
    ) -> None:
        self._committed: Any = Value(c_longlong, 0)
        self._sent: Any = Value(c_longlong, 0)
        self._stop: Any = Value(c_bool, False)
        self._process = Process(
            target=_run,
            args=(port, devices, boot_id, ahead, connections, self._committed, self._sent,
                  self._stop),
            daemon=True,
        )  # fmt: skip

    @property
    def sent(self) -> int:
        """Messages that the broker acknowledged so far."""
        return int(self._sent.value)

    def committed(self, messages: int) -> None:
        """Say how many are in the database."""
        self._committed.value = messages

    def stop(self) -> None:
        """Send no more; all that was sent is acknowledged when this returns."""
        self._stop.value = True
        self._process.join(60)

    def __enter__(self) -> Self:
        self._process.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._process.kill()
        self._process.join()


def _run(
    port: int,
    devices: int,
    boot_id: str,
    ahead: int,
    connections: int,
    committed: Any,
    sent: Any,
    stop: Any,
) -> None:
    sockets = [_connect(port, number) for number in range(connections)]
    open_packets = [0] * connections
    ids = [0] * connections
    turn: deque[int] = deque(range(connections))
    source = packets(templates(devices, boot_id, seed=1), time_ms=int(time.time() * 1000))
    published = acknowledged = 0
    while not stop.value or any(open_packets):
        moved = False
        for number in list(turn):
            taken = _acknowledged(sockets[number])
            open_packets[number] -= taken
            acknowledged += taken
            room = min(_CHUNK, _WINDOW - open_packets[number], ahead + committed.value - published)
            if stop.value or room <= 0:
                continue
            pieces = []
            for _ in range(room):
                _, template, tail = next(source)
                ids[number] = ids[number] % 65_535 + 1
                pieces += [template.head, ids[number].to_bytes(2, "big"), tail]
            sockets[number].setblocking(True)
            sockets[number].sendall(b"".join(pieces))
            sockets[number].setblocking(False)
            open_packets[number] += room
            published += room
            moved = True
        sent.value = acknowledged
        if not moved:
            time.sleep(_IDLE_S)
    for one in sockets:
        one.close()


def _connect(port: int, number: int) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port))
    name = f"load-{number}".encode()
    body = b"\x00\x04MQTT\x04\x02" + _KEEPALIVE_S.to_bytes(2, "big")
    body += len(name).to_bytes(2, "big") + name
    sock.sendall(bytes((0x10, len(body))) + body)
    got = b""
    while len(got) < _CONNACK_BYTES:
        got += sock.recv(_CONNACK_BYTES - len(got))
    if got[3]:
        raise RuntimeError(f"the broker refuses the connection: {got[3]}")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    sock.setblocking(False)
    return sock


_partial: dict[int, int] = {}


def _acknowledged(sock: socket.socket) -> int:
    """PUBACKs that came; MQTT 3.1.1 has them at four bytes each."""
    try:
        got = len(sock.recv(1 << 16))
    except BlockingIOError:
        return 0
    whole, _partial[sock.fileno()] = divmod(_partial.get(sock.fileno(), 0) + got, _PUBACK_BYTES)
    return whole
