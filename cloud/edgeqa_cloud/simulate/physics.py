"""A device as a physical thing: how busy, warm and slow it is. Pure: time and chance are passed in.

Plausible, not measured: enough that a dashboard of a simulated fleet shows what one of real devices
would, days and nights and hot cupboards included.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

from edgeqa.histogram import Histogram, Recorder
from edgeqa.telemetry_messages import Latency
from edgeqa_cloud.simulate.models import SimulatedModel

_DAY_S = 86_400.0
# A Raspberry Pi 5 slows down from 80 °C, and more from 85 °C on.
# Source: Raspberry Pi documentation, "Frequency management and thermal control".
SOFT_LIMIT_CELSIUS = 80.0
HARD_LIMIT_CELSIUS = 85.0
# How fast a board in a case follows its load.
_THERMAL_TIME_S = 180.0
# Latencies that are drawn of an interval; of more questions each stands for several.
_MOST_DRAWN = 60
_P95_SIGMAS = 1.6449
# Share of boards with a poor power supply, and the load from which that shows.
_WEAK_SUPPLIES = 0.03
_SAGS_FROM = 0.2
# Mean from which the normal distribution is as good as Poisson's.
_NORMAL_FROM = 50


@dataclass(frozen=True, slots=True)
class Character:
    """What makes one device differ from the next.

    Attributes:
        busiest: questions a minute at the busiest hour.
        shift_s: when its day begins, against UTC.
        ambient_celsius: around it at noon.
        heating_celsius: above that, at full load.
        slowness: of its inference; 1 is usual.
        weak_supply: its power supply sags under load.
        memory_total_bytes: of the board.
    """

    busiest: float
    shift_s: float
    ambient_celsius: float
    heating_celsius: float
    slowness: float
    weak_supply: bool
    memory_total_bytes: int
    disk_total_bytes: int

    @classmethod
    def drawn(cls, rng: random.Random, *, questions_per_minute: float) -> Character:
        """Of a fleet in a few time zones, most of it well kept."""
        return cls(
            busiest=questions_per_minute * rng.lognormvariate(0.0, 0.5),
            shift_s=3600.0 * rng.choice((-5, 0, 1, 1, 1, 8)),
            ambient_celsius=rng.gauss(24.0, 4.0),
            heating_celsius=rng.choice((28.0, 32.0, 36.0, 36.0, 58.0)),
            slowness=rng.lognormvariate(0.0, 0.06),
            weak_supply=rng.random() < _WEAK_SUPPLIES,
            memory_total_bytes=rng.choice((4, 8, 8)) << 30,
            disk_total_bytes=rng.choice((32, 64)) << 30,
        )


@dataclass(frozen=True, slots=True)
class Climate:
    """What is carried from one interval to the next."""

    temperature_celsius: float
    throttled: bool = False


@dataclass(frozen=True, slots=True)
class Interval:
    """How the device did in an interval."""

    outcomes: dict[str, int]
    latency: Latency | None
    cpu_load: float
    temperature_celsius: float
    temperature_max_celsius: float
    throttled: list[str]
    queue_depth_max: int
    climate: Climate


def demand(character: Character, now_s: float) -> float:
    """Questions a minute at a time of day: nights are quiet, the afternoon is busiest."""
    phase = ((now_s + character.shift_s) % _DAY_S) / _DAY_S
    day = max(0.0, math.sin((phase - 0.25) * 2 * math.pi))
    return character.busiest * (0.08 + 0.92 * day * day)


def warmth(character: Character, now_s: float) -> float:
    """Of the air around it: 3 °C more at four in the afternoon, 3 °C less at four in the night."""
    phase = ((now_s + character.shift_s) % _DAY_S) / _DAY_S
    return character.ambient_celsius + 3.0 * math.sin((phase - 10 / 24) * 2 * math.pi)


def live(
    character: Character,
    climate: Climate,
    model: SimulatedModel,
    *,
    now_s: float,
    interval_s: float,
    rng: random.Random,
) -> Interval:
    """Let an interval pass."""
    slowness = character.slowness * (1.35 if climate.throttled else 1.0)
    asked = _poisson(demand(character, now_s) * interval_s / 60.0, rng)
    # What a board can serve in the time, one question after the other; the rest is refused.
    room = int(1000.0 * interval_s / (model.p50 * slowness))
    answered = min(asked, room)
    busy = min(1.0, answered * model.p50 * 1.25 * slowness / (1000.0 * max(interval_s, 1e-3)))
    load = min(1.0, 0.02 + 0.95 * busy + abs(rng.gauss(0.0, 0.01)))
    target = warmth(character, now_s) + 14.0 + character.heating_celsius * load
    step = 1.0 - math.exp(-interval_s / _THERMAL_TIME_S)
    before = climate.temperature_celsius
    after = before + (target - before) * step + rng.gauss(0.0, 0.3)
    hot = after >= SOFT_LIMIT_CELSIUS
    return Interval(
        outcomes={name: n for name, n in (("answered", answered), ("busy", asked - answered)) if n},
        latency=_latency(answered, model, slowness, busy, rng) if answered else None,
        cpu_load=round(load, 3),
        temperature_celsius=round(after, 1),
        temperature_max_celsius=round(max(before, after) + abs(rng.gauss(0.0, 0.5)), 1),
        throttled=_flags(after, sagging=character.weak_supply and load > _SAGS_FROM),
        queue_depth_max=min(answered, 1 + int(busy * 8)) if answered else 0,
        climate=Climate(after, hot),
    )


def inference_ms(model: SimulatedModel, slowness: float, rng: random.Random) -> float:
    """Time of one question: log-normal through the model's median and 95th percentile."""
    sigma = math.log(model.p95_ms / model.p50) / _P95_SIGMAS
    return slowness * model.p50 * math.exp(sigma * rng.gauss(0.0, 1.0))


def _latency(
    answered: int, model: SimulatedModel, slowness: float, busy: float, rng: random.Random
) -> Latency:
    drawn = min(answered, _MOST_DRAWN)
    each, more = divmod(answered, drawn)
    parts = {name: Recorder() for name in ("queue", "tokenise", "inference", "decode", "publish")}
    total = Recorder()
    for at in range(drawn):
        inference = inference_ms(model, slowness, rng)
        # Waiting for those before it, as in an M/M/1 queue: load / (1 - load) service times.
        waiting = rng.expovariate(1.0) * inference * min(8.0, busy / max(0.05, 1.0 - busy))
        times = {
            "queue": 0.2 + waiting,
            "tokenise": 0.9 * slowness * rng.uniform(0.7, 1.6),
            "inference": inference,
            "decode": 0.4 * slowness * rng.uniform(0.7, 1.6),
            "publish": 1.2 * rng.lognormvariate(0.0, 0.5),
        }
        for _ in range(each + (at < more)):
            for name, time_ms in times.items():
                parts[name].add(time_ms)
            total.add(sum(times.values()) - times["publish"])
    whole: dict[str, Histogram] = {name: part.histogram() for name, part in parts.items()}
    return Latency(total=total.histogram(), **whole)


def _flags(temperature: float, *, sagging: bool) -> list[str]:
    flags = []
    if sagging:
        flags += ["under_voltage", "under_voltage_occurred"]
    if temperature >= SOFT_LIMIT_CELSIUS:
        flags += ["soft_temperature_limit", "soft_temperature_limit_occurred"]
    if temperature >= HARD_LIMIT_CELSIUS:
        flags += ["throttled", "throttled_occurred"]
    return flags


def _poisson(mean: float, rng: random.Random) -> int:
    # Knuth's method up to where exp(-mean) is still a number to multiply with; then the normal one.
    if mean > _NORMAL_FROM:
        return max(0, round(rng.gauss(mean, math.sqrt(mean))))
    limit, product, count = math.exp(-mean), rng.random(), 0
    while product > limit:
        product *= rng.random()
        count += 1
    return count
