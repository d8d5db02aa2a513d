"""How long answers took in steady times and during swaps.

A question that was open at any moment of a swap counts as asked while swapping: from the wish to
the report `active` and the second of drain behind it. A question belongs to the steady time of the
model that its answer names if no swap touched it. Both are of the same run, in turns.

The two models differ in speed, so the whole is compared with like in two ways: with the slower
model's steady p99, and with the steady times of both, weighted as the two models answered while
swapping.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

from soak.device import Swap
from soak.judge import Trip


def latencies(
    trips: Iterable[Trip], swaps: Sequence[Swap], *, drain_s: float, begin: float, end: float
) -> dict[str, Any]:
    """Median, p99 and maximum in ms, steady by model and swapping by direction, and the ratios.

    Args:
        trips: of all questions.
        swaps: in their order, not overlapping.
        drain_s: added to each.
        begin: of what is measured, as are `end` and all times: `time.monotonic()`.
        end: of what is measured.
    """
    steady: dict[str, list[float]] = {}
    swapping: dict[tuple[str, str], list[float]] = {}
    models: Counter[str] = Counter()
    starts = [swap.begun_at for swap in swaps]
    for trip in trips:
        if trip.sent_at < begin or trip.came_at > end:
            continue
        took_ms = 1000 * (trip.came_at - trip.sent_at)
        # The last swap that had begun when the answer came: did the question overlap it?
        number = bisect_left(starts, trip.came_at) - 1
        if number >= 0 and trip.sent_at <= swaps[number].ended_at + drain_s:
            swap = swaps[number]
            swapping.setdefault((swap.source, swap.target), []).append(took_ms)
            models[trip.digest] += 1
        else:
            steady.setdefault(trip.digest, []).append(took_ms)
    return _table(steady, swapping, models)


def _table(
    steady: dict[str, list[float]],
    swapping: dict[tuple[str, str], list[float]],
    models: Counter[str],
) -> dict[str, Any]:
    every = [took for times in swapping.values() for took in times]
    table: dict[str, Any] = {
        "steady": {digest: _row(times) for digest, times in steady.items()},
        "swapping": [
            {"from": source, "to": target, **_row(times)}
            for (source, target), times in swapping.items()
        ],
        "swapping_all": _row(every) if every else None,
    }
    if every and set(models) <= set(steady):
        p99 = quantile(every, 0.99)
        slower = max(quantile(times, 0.99) for times in steady.values())
        mixed = quantile(
            [took for digest in models for took in steady[digest]],
            0.99,
            weights=[
                models[digest] / len(steady[digest]) for digest in models for _ in steady[digest]
            ],
        )
        table["reference_p99_ms"] = round(slower, 1)
        table["ratio"] = round(p99 / slower, 2)
        table["ratio_of_worse_direction"] = round(
            max(quantile(times, 0.99) for times in swapping.values()) / slower, 2
        )
        table["mixed_reference_p99_ms"] = round(mixed, 1)
        table["ratio_to_mixed"] = round(p99 / mixed, 2)
    return table


def silences(
    trips: Iterable[Trip], swaps: Sequence[Swap], *, drain_s: float, begin: float, end: float
) -> dict[str, float]:
    """The longest time in which no answer came, ms, in steady times and touching a swap."""
    longest = {"steady_ms": 0.0, "swapping_ms": 0.0}
    starts = [swap.begun_at for swap in swaps]
    times = sorted(trip.came_at for trip in trips if begin <= trip.came_at <= end)
    for before, after in pairwise(times):
        number = bisect_left(starts, after) - 1
        touches = number >= 0 and before <= swaps[number].ended_at + drain_s
        kind = "swapping_ms" if touches else "steady_ms"
        longest[kind] = max(longest[kind], round(1000 * (after - before), 1))
    return longest


def quantile(
    values: Sequence[float], share: float, *, weights: Sequence[float] | None = None
) -> float:
    """The least value that is not exceeded by `share` of the weight."""
    pairs = sorted(zip(values, weights or [1.0] * len(values), strict=True))
    # A hair less, so that rounding in the sum does not pass over the value.
    wanted = share * sum(weight for _, weight in pairs) * (1 - 1e-9)
    reached = 0.0
    for value, weight in pairs:
        reached += weight
        if reached >= wanted:
            return value
    return pairs[-1][0]


def _row(times: list[float]) -> dict[str, float]:
    return {
        "questions": len(times),
        "p50_ms": round(quantile(times, 0.5), 1),
        "p99_ms": round(quantile(times, 0.99), 1),
        "max_ms": round(max(times), 1),
    }
