"""Which records of a boot are missing. Pure.

A range is a pair of sequence numbers, both included. Ranges of a list do not overlap and rise.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

Range = tuple[int, int]


def missing(present: Iterable[int], first: int, last: int) -> list[Range]:
    """What lacks between `first` and `last`.

    Args:
        present: rising numbers.
        first: of the range.
        last: of the range.
    """
    lacking = []
    expected = first
    for number in present:
        if number < expected:
            continue
        if number > last:
            break
        if number > expected:
            lacking.append((expected, number - 1))
        expected = number + 1
    if expected <= last:
        lacking.append((expected, last))
    return lacking


def without(ranges: Iterable[Range], taken: Sequence[Range]) -> list[Range]:
    """The parts of ranges that lie in none of others."""
    left = []
    for low, last in ranges:
        first = low
        for taken_first, taken_last in sorted(taken):
            if taken_last < first or taken_first > last:
                continue
            if taken_first > first:
                left.append((first, taken_first - 1))
            first = taken_last + 1
        if first <= last:
            left.append((first, last))
    return left


def within(ranges: Iterable[Range], first: int, last: int) -> list[Range]:
    """The parts of ranges that lie in one."""
    return [
        (max(low, first), min(high, last)) for low, high in ranges if low <= last and high >= first
    ]


def count(ranges: Iterable[Range]) -> int:
    """How many numbers."""
    return sum(last - first + 1 for first, last in ranges)
