"""Latency through the broker: one client alone, and a load of its own that does not wait.

The load comes at random times (a Poisson process) at a share of what the agent can answer, whether
or not it has answered before; an answer's time counts from when its question was due. A client that
waits for its answers would ask less just when the agent is slow, and hide it.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.agents import running_agent
from bench.clients import Clients, FirstAnswer, Trip
from bench.questions import Questions
from bench.tasks import Turn

_AGENT_TIMEOUT_S = 300.0
_CAPACITY_S = 5.0


@dataclass(frozen=True)
class Load:
    """What is measured.

    Attributes:
        share: of the agent's capacity that is asked for.
        turn_s: length of a turn; a tenth more is spent on the single client.
        seed: of the times.
    """

    package: Path
    threads: int
    questions: Questions
    url: str
    log: Path
    clients: int
    share: float
    turn_s: float
    seed: int

    @contextmanager
    def open(self, about: dict[str, Any]) -> Iterator[Turn]:
        """An agent, its clients, and its capacity, measured once."""
        with (
            running_agent(self.url, self.package, self.threads, self.log),
            FirstAnswer(self.url) as first,
            Clients(self.url, 1) as one,
            Clients(self.url, self.clients) as many,
        ):
            first.wait(self.questions.warm_up[0], _AGENT_TIMEOUT_S)
            many.ask(self.questions.warm_up)
            if "capacity_per_s" not in about:
                about["capacity_per_s"] = round(self._capacity(many), 3)
            rate = self.share * about["capacity_per_s"]

            def turn(before: list[dict[str, Any]]) -> dict[str, Any]:
                begin = sum(len(v["trips_ms"]) + len(v["alone_ms"]) for v in before)
                times = _times(rate, self.turn_s, self.seed + len(before))
                trips = many.ask_at(self.questions.block(begin, len(times)), times)
                alone = one.ask(
                    self.questions.block(
                        begin + len(times),
                        max(2, round(about["capacity_per_s"] * self.turn_s / 20)),
                    )
                )
                return {
                    "trips_ms": _ms(trips),
                    "alone_ms": _ms(alone),
                    "added_ms": [round(t.ms - t.inference_ms, 3) for t in alone if not t.error],
                    "refused": sum(t.error is not None for t in [*trips, *alone]),
                    "cached": sum(t.cached for t in [*trips, *alone]),
                }

            yield turn

    def _capacity(self, clients: Clients) -> float:
        """Questions a second when every client always has one open."""
        begun = time.perf_counter()
        asked = 0
        while time.perf_counter() - begun < _CAPACITY_S:
            asked += len(clients.ask(self.questions.block(asked, 8 * self.clients)))
        return asked / (time.perf_counter() - begun)


def _times(rate: float, length_s: float, seed: int) -> Sequence[float]:
    """Of a Poisson process."""
    source = random.Random(seed)
    times: list[float] = []
    at = source.expovariate(rate)
    while at < length_s or not times:
        times.append(at)
        at += source.expovariate(rate)
    return times


def _ms(trips: Sequence[Trip]) -> list[float]:
    return [round(trip.ms, 3) for trip in trips if not trip.error]
