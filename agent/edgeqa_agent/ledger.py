"""Which questions are being answered or have been, so that none is inferred twice.

A question is known by where its answer goes, its correlation data and its whole payload, which
holds its id. The payload is part of it because small clients count their ids from 1 again after
a restart: the same id with another question is another question.
"""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto

from edgeqa.packets import Delivery, Outgoing


class Progress(Enum):
    """How far a question is."""

    RUNNING = auto()
    ANSWERED = auto()  # the answer is with our MQTT client
    UNSENT = auto()  # the answer is known, but the MQTT client's queue was full
    DELIVERED = auto()  # the broker has the answer


@dataclass(slots=True)
class Entry:
    """One question, and the deliveries of it that its answer acknowledges.

    Attributes:
        since: by the ledger's clock, when it was begun; when it was answered, from then on.
        answered: questions in it that have an answer, no refusal.
    """

    key: bytes
    deliveries: list[Delivery]
    progress: Progress = Progress.RUNNING
    answer: Outgoing | None = None
    since: float = field(default=0.0)
    answered: int = 0


class Ledger:
    """Bounded in number and time; questions under way are never forgotten.

    Thread: callers hold the router's lock.
    """

    def __init__(
        self, *, capacity: int, keep_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._capacity = capacity
        self._keep_s = keep_s
        self._clock = clock
        self._running: dict[bytes, Entry] = {}
        self._finished: OrderedDict[bytes, Entry] = OrderedDict()

    def find(self, key: bytes) -> Entry | None:
        """The entry of a question seen before."""
        self._forget()
        return self._running.get(key) or self._finished.get(key)

    def begin(self, key: bytes, delivery: Delivery) -> Entry:
        """Note a new question."""
        self._finished.pop(key, None)
        entry = Entry(key, [delivery], since=self._clock())
        self._running[key] = entry
        return entry

    def finish(self, entry: Entry, answer: Outgoing) -> None:
        """Note its answer."""
        entry.progress, entry.answer, entry.since = Progress.ANSWERED, answer, self._clock()
        if self._running.get(entry.key) is entry:
            del self._running[entry.key]
        self._finished[entry.key] = entry
        self._finished.move_to_end(entry.key)
        self._forget()

    def drop(self, entry: Entry) -> None:
        """Forget a question that was refused before it was begun, so that it may be tried again."""
        if self._running.get(entry.key) is entry:
            del self._running[entry.key]

    def _forget(self) -> None:
        oldest_kept = self._clock() - self._keep_s
        while self._finished:
            first = next(iter(self._finished.values()))
            if len(self._finished) <= self._capacity and first.since >= oldest_kept:
                return
            self._finished.popitem(last=False)


def key_of(delivery: Delivery, reply_topic: str) -> bytes:
    """What makes two deliveries the same question."""
    digest = hashlib.blake2b(digest_size=16)
    for part in (delivery.correlation or b"", reply_topic.encode(), delivery.payload):
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.digest()
