"""Telling a publisher that the broker has its message.

The broker's acknowledgement may come before the publisher could say whom to tell: paho gives the
packet id only when `publish` returns, and its network thread is quicker at times.
"""

from __future__ import annotations

import threading
import time

from edgeqa.packets import Delivered


class DeliveryNotices:
    """Whom to tell, by packet id. Thread: any; `delivered` is called without a lock."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[int, Delivered | None] = {}
        self._early: dict[int, str | None] = {}

    def expect(self, packet_id: int, delivered: Delivered | None) -> None:
        """Tell `delivered` as soon as the broker has the packet."""
        with self._lock:
            if packet_id not in self._early:
                self._waiting[packet_id] = delivered
                return
            reason = self._early.pop(packet_id)
        if delivered is not None:
            delivered(reason)

    def arrived(self, packet_id: int, reason: str | None) -> None:
        """The broker has the packet, or refused it for a reason."""
        with self._lock:
            if packet_id not in self._waiting:
                self._early[packet_id] = reason
                return
            delivered = self._waiting.pop(packet_id)
        if delivered is not None:
            delivered(reason)

    def wait_until_none(self, *, timeout_s: float) -> bool:
        """Wait until the broker has every packet; False if it took longer."""
        deadline = time.monotonic() + timeout_s
        while self._waiting:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        return True
