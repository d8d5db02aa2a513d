"""What became of a batch, and a record with its place."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from edgeqa_cloud.identities import Boot
from edgeqa_cloud.reading import Message, Refused


@dataclass(slots=True)
class Stored:
    """What became of a batch.

    Attributes:
        new: records that were not there before.
        counts: messages newly stored, by kind.
        duplicates: messages that were there already, by kind.
        refused: what went to quarantine.
        dropped: rows that left quarantine for room.
    """

    new: list[Any] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    duplicates: Counter[str] = field(default_factory=Counter)
    refused: list[Refused] = field(default_factory=list)
    dropped: int = 0


@dataclass(slots=True)
class Placed:
    """A record with its key, its boot and its time by our clock."""

    key: tuple[int, int]
    message: Message
    boot: Boot
    time_ms: int
