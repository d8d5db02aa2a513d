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
_OUTSIDE = 50.0  # a pixel outside the frame is as bad as so many covered ones


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
        costs = [_cost(box, [*fixed, *placed], frame) for box in choices]
        placed.append(choices[costs.index(min(costs))])
    return [(left, bottom) for left, bottom, _, _ in placed]


def _boxes(spot: Spot) -> list[Box]:
    r = spot.radius
    circle = (spot.x - r, spot.y - r, spot.x + r, spot.y + r)
    return [circle, (spot.x - 5, spot.low, spot.x + 5, spot.high)]


def _choices(spot: Spot) -> list[Box]:
    """Right, left, then around the circle in two distances."""
    found = []
    for distance in (spot.radius + _GAP, spot.radius + 4 * _GAP):
        for degrees in (0, 180, 25, -25, 155, -155, 50, -50, 130, -130, 90, -90):
            angle = math.radians(degrees)
            x = spot.x + distance * math.cos(angle)
            y = spot.y + distance * math.sin(angle)
            # The label grows away from the circle: from its left edge on the right side.
            left = x - spot.width * (1 - math.cos(angle)) / 2
            bottom = y - spot.height * (1 - math.sin(angle)) / 2
            found.append((left, bottom, left + spot.width, bottom + spot.height))
    return found


def _cost(box: Box, others: Sequence[Box], frame: Box) -> float:
    covered = sum(_overlap(box, other) for other in others)
    outside = max(0.0, frame[0] - box[0]) + max(0.0, box[2] - frame[2])
    outside += max(0.0, frame[1] - box[1]) + max(0.0, box[3] - frame[3])
    return covered + _OUTSIDE * outside


def _overlap(one: Box, other: Box) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(0.0, width) * max(0.0, height)
