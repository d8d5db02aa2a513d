"""What the collector tells whoever counts: one call for a batch, none for a message.

Thread: the writer's, but for `broker`, `gap` and `asked_again`.
"""

from __future__ import annotations

from typing import Protocol

from edgeqa_cloud.metrics import CollectorMetrics, GapEvent
from edgeqa_cloud.stored import Stored


class Watcher(Protocol):
    """Who counts."""

    def stored(self, stored: Stored, *, messages: int, seconds: float) -> None:
        """A batch was committed."""

    def acknowledged(self, messages: int) -> None:
        """The broker was told of them."""

    def commit_failed(self) -> None:
        """A transaction failed; its messages wait."""

    def broker(self, *, connected: bool) -> None:
        """The state of the connection; told several times a second."""

    def gap(self, event: GapEvent, records: int) -> None:
        """Records were found missing, or are no longer."""

    def asked_again(self) -> None:
        """A device was asked to send records again."""


class Unwatched:
    """Nobody counts."""

    def stored(self, stored: Stored, *, messages: int, seconds: float) -> None:
        """Not counted."""

    def acknowledged(self, messages: int) -> None:
        """Not counted."""

    def commit_failed(self) -> None:
        """Not counted."""

    def broker(self, *, connected: bool) -> None:
        """Not counted."""

    def gap(self, event: GapEvent, records: int) -> None:
        """Not counted."""

    def asked_again(self) -> None:
        """Not counted."""


class Watched:
    """Prometheus counts."""

    def __init__(self, metrics: CollectorMetrics) -> None:
        self._metrics = metrics

    def stored(self, stored: Stored, *, messages: int, seconds: float) -> None:
        """A batch was committed."""
        self._metrics.committed(messages=messages, seconds=seconds)
        received = stored.counts + stored.duplicates
        for kind, count in received.items():
            self._metrics.received(kind, count)
        for kind, count in stored.counts.items():
            self._metrics.stored(kind, count)
        for kind, count in stored.duplicates.items():
            self._metrics.duplicate(kind, count)
        for refused in stored.refused:
            self._metrics.received(refused.topic_kind)
            self._metrics.quarantined(refused.code)
        self._metrics.count(*stored.new)

    def acknowledged(self, messages: int) -> None:
        """The broker was told of them."""
        self._metrics.acknowledged(messages)

    def commit_failed(self) -> None:
        """A transaction failed; its messages wait."""
        self._metrics.commit_failed()

    def broker(self, *, connected: bool) -> None:
        """The state of the connection."""
        self._metrics.broker(connected=connected)

    def gap(self, event: GapEvent, records: int) -> None:
        """Records were found missing, or are no longer."""
        self._metrics.gap(event, records)

    def asked_again(self) -> None:
        """A device was asked to send records again."""
        self._metrics.asked_again()
