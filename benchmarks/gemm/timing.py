"""Sides that take turns, and what a turn of each took."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence

Run = Callable[[], object]

# Threads of a library go on spinning for a while after their work; the next side needs their cores.
_PAUSE_S = 0.003


def turns(sides: Mapping[str, Run], rounds: int, turn_s: float) -> dict[str, list[float]]:
    """Seconds a call, one value a round and side; each round begins with another side."""
    for run in sides.values():
        run()
    taken: dict[str, list[float]] = {name: [] for name in sides}
    order = list(sides)
    for _ in range(rounds):
        for name in order:
            time.sleep(_PAUSE_S)
            sides[name]()
            taken[name].append(turn(sides[name], turn_s))
        order.append(order.pop(0))
    return taken


def turn(run: Run, turn_s: float) -> float:
    """Seconds a call, over as many calls as a turn has room for, and one at least."""
    calls = 0
    begun = time.perf_counter()
    while True:
        run()
        calls += 1
        gone = time.perf_counter() - begun
        if gone >= turn_s:
            return gone / calls


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Lower quartile, median and upper quartile."""
    if len(values) == 1:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high
