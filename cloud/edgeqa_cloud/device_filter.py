"""Which devices a list shows, and in which order."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from edgeqa_cloud.presence import Presence

if TYPE_CHECKING:
    from edgeqa_cloud.targets.query import Query

MAX_PAGE = 100_000


class DeviceSort(StrEnum):
    """By what a list is sorted; what is not known comes last."""

    DEVICE = "device"
    PRESENCE = "presence"
    SEEN = "seen"
    MODEL = "model"
    EXACT_MATCH = "em"
    F1 = "f1"
    P95 = "p95"
    TEMPERATURE = "temperature"


@dataclass(frozen=True, slots=True)
class DeviceFilter:
    """Which devices; None lets all through.

    Attributes:
        presence: one of these.
        model: its name, or `NAME@VERSION`.
        group: that they are in.
        text: is part of the id, the board or the model's name; capitals do not matter.
        tag: that they have.
        query: that holds of them, beside all of the above.
    """

    presence: frozenset[Presence] | None = None
    model: str | None = None
    group: str | None = None
    text: str | None = None
    tag: str | None = None
    query: Query | None = None


ALL_DEVICES = DeviceFilter()
