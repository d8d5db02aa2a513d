"""Ranges of numbered records."""

from __future__ import annotations

from collections.abc import Iterable

from edgeqa.telemetry_messages import SeqRange


def merged(ranges: Iterable[SeqRange]) -> list[tuple[str, int, int]]:
    """Each record once: what overlaps or touches made one; what ends before it begins left out."""
    merged: list[tuple[str, int, int]] = []
    for one in sorted((r.boot_id, r.first, r.last) for r in ranges if r.first <= r.last):
        if merged and merged[-1][0] == one[0] and one[1] <= merged[-1][2] + 1:
            boot_id, first, last = merged[-1]
            merged[-1] = (boot_id, first, max(last, one[2]))
        else:
            merged.append(one)
    return merged
