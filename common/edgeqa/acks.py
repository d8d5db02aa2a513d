"""Acknowledging QoS 1 messages late, and yet in the order in which they came.

MQTT 5, section 4.6, demands PUBACKs in the order of the PUBLISHes. Answers finish in another
order (a refusal is quicker than an inference), so an acknowledgement waits here until all earlier
ones are due. Packet ids are only meaningful on the connection they came on: after a reconnect the
broker sends the messages again, and old acknowledgements are forgotten.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field


@dataclass(slots=True)
class Receipt:
    """The right to acknowledge one message, once."""

    generation: int
    packet_id: int
    due: bool = field(default=False)


class OrderedAcks:
    """Releases acknowledgements in order of arrival.

    Thread: any; `send` is called under the lock, which is what keeps the order.
    """

    def __init__(self, *, send: Callable[[list[int]], None]) -> None:
        self._send = send
        self._lock = threading.Lock()
        self._generation = 0
        self._open: deque[Receipt] = deque()

    def new_connection(self) -> None:
        """Forget all receipts of the connection before."""
        with self._lock:
            self._generation += 1
            self._open.clear()

    def receive(self, packet_id: int) -> Receipt:
        """Note a message in its order."""
        with self._lock:
            receipt = Receipt(self._generation, packet_id)
            self._open.append(receipt)
            return receipt

    def acknowledge(self, receipt: Receipt) -> None:
        """Acknowledge now, or as soon as everything before it is acknowledged."""
        self.acknowledge_all((receipt,))

    def acknowledge_all(self, receipts: Iterable[Receipt]) -> None:
        """The same for many at once."""
        with self._lock:
            for receipt in receipts:
                receipt.due = receipt.generation == self._generation
            packet_ids = []
            while self._open and self._open[0].due:
                packet_ids.append(self._open.popleft().packet_id)
            if packet_ids:
                self._send(packet_ids)

    def __len__(self) -> int:
        with self._lock:
            return len(self._open)
