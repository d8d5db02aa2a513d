"""Opening a socket to the broker without waiting for it."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from edgeqa.broker import Broker
from edgeqa.errors import BrokerError
from edgeqa_cloud.simulate.loop import EventLoop, Timer, Turnstile

# As long as paho itself waits for a connection, transport.py.
_CONNECT_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Network:
    """What all connections share."""

    loop: EventLoop
    turnstile: Turnstile
    broker: Broker
    address: tuple[Any, ...]
    family: socket.AddressFamily

    @classmethod
    def to(cls, broker: Broker, *, loop: EventLoop, connect_rate: float) -> Network:
        """The way to a broker, whose name is looked up once.

        Raises:
            BrokerError: there is no such name.
        """
        try:
            found = socket.getaddrinfo(broker.host, broker.port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise BrokerError(f"{broker.host}: {error.strerror or error}") from error
        family, _, _, _, address = found[0]
        return cls(loop, Turnstile(loop=loop, rate=connect_rate), broker, address, family)


class Dial:
    """One attempt at a time.

    Args:
        network: where to.
        made: takes the connected socket.
        failed: told why it does not come to that.
    """

    def __init__(
        self,
        *,
        network: Network,
        made: Callable[[socket.socket], None],
        failed: Callable[[str], None],
    ) -> None:
        self._network = network
        self._made = made
        self._failed = failed
        self._sock: socket.socket | None = None
        self._timer: Timer | None = None

    @property
    def under_way(self) -> bool:
        """Whether an attempt is."""
        return self._sock is not None

    def begin(self) -> None:
        """Try."""
        sock = socket.socket(self._network.family, socket.SOCK_STREAM)
        sock.setblocking(False)
        code = sock.connect_ex(self._network.address)
        if code not in {0, errno.EINPROGRESS}:
            sock.close()
            self._failed(os.strerror(code))
            return
        self._sock = sock
        self._network.loop.watch(sock, self._on_ready, write=True)
        self._timer = self._network.loop.call_later(
            _CONNECT_TIMEOUT_S, lambda: self._on_failed("no connection in time")
        )

    def abandon(self) -> None:
        """Give an attempt up; idempotent."""
        sock = self._release()
        if sock is not None:
            sock.close()

    def _on_ready(self, _mask: int) -> None:
        if self._sock is None:
            return
        if code := self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._on_failed(os.strerror(code))
            return
        sock = self._release()
        if sock is not None:
            self._made(sock)

    def _on_failed(self, reason: str) -> None:
        self.abandon()
        self._failed(reason)

    def _release(self) -> socket.socket | None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        sock, self._sock = self._sock, None
        if sock is not None:
            self._network.loop.forget(sock)
        return sock
