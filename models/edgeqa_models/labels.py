"""Placing labels beside circles so that they cover neither each other nor another circle.

Pure geometry in pixels. Greedy: each label takes the free-est of places around its circle, in the
order given; with the handful of models of a comparison that is enough, and it is repeatable.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

Box = tuple[float, float, float, float]  # left, bottom, right, top

_GAP = 8.0
_LATER = 10.0  # covered pixels that one place further down the list is as bad as
_OUTSIDE = 50.0  # a pixel outside the frame, or a part of the first one, is as so many covered


@dataclass(frozen=True, slots=True)
class Spot:
    """A circle and the size of its label, in pixels.

    Attributes:
        x, y, radius: of the circle.
        width, height: of its label.
        low, high: the ends of its upright whisker.
    """

    x: float
    y: float
    radius: float
    width: float
    height: float
    low: float
    high: float


def place_labels(spots: Sequence[Spot], frame: Box) -> list[tuple[float, float]]:
    """Left bottom corner of each label."""
    fixed = [box for spot in spots for box in _boxes(spot)]
    placed: list[Box] = []
    for spot in spots:
        choices = _choices(spot)
        costs = [
            _cost(box, [*fixed, *placed], frame) + _LATER * rank for rank, box in enumerate(choices)
        ]
        placed.append(choices[costs.index(min(costs))])
    return [(left, bottom) for left, bottom, _, _ in placed]


def _boxes(spot: Spot) -> list[Box]:
    r = spot.radius
    circle = (spot.x - r, spot.y - r, spot.x + r, spot.y + r)
    return [circle, (spot.x - 5, spot.low, spot.x + 5, spot.high)]


def _choices(spot: Spot) -> list[Box]:
    """Beside, above and below the circle, then beside it a label or two higher or lower."""
    right = spot.x + spot.radius + _GAP
    left = spot.x - spot.radius - _GAP - spot.width
    centre = spot.x - spot.width / 2
    middle = spot.y - spot.height / 2
    step = spot.height + _GAP
    corners = [(right, middle), (left, middle)]
    corners += [(centre, max(spot.high, spot.y + spot.radius) + _GAP)]
    corners += [(centre, min(spot.low, spot.y - spot.radius) - _GAP - spot.height)]
    corners += [(centre, spot.y + spot.radius + _GAP)]
    corners += [(centre, spot.y - spot.radius - _GAP - spot.height)]
    for steps in (0.5, 1.0, 1.5, 2.0, 2.5, 3.0):
        for x in (right, left):
            corners += [(x, middle + steps * step), (x, middle - steps * step)]
    return [(x, y, x + spot.width, y + spot.height) for x, y in corners]


def _cost(box: Box, others: Sequence[Box], frame: Box) -> float:
    covered = sum(_overlap(box, other) for other in others)
    outside = max(0.0, frame[0] - box[0]) + max(0.0, box[2] - frame[2])
    outside += max(0.0, frame[1] - box[1]) + max(0.0, box[3] - frame[3])
    return covered + _OUTSIDE * math.ceil(outside)


def _overlap(one: Box, other: Box) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(0.0, width) * max(0.0, height)
