"""The records of a simulated device: what it would have measured of itself. Pure, by a seed."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from edgeqa.messages import ModelRef
from edgeqa.model_messages import CheckScores
from edgeqa.telemetry_messages import Model, Outboxed, Paired, Process, Trigger
from edgeqa_cloud.simulate import quality
from edgeqa_cloud.simulate.models import SimulatedModel
from edgeqa_cloud.simulate.physics import Character, Climate, live

_AGENT_BYTES = 60 << 20
# Questions that a package brings along to be tested with, as the default packages do.
_CHECKS = 24


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model on a device."""

    model: SimulatedModel
    ref: ModelRef

    @property
    def record(self) -> Model:
        """As records name it."""
        return Model(name=self.ref.name, version=self.ref.version, digest=self.ref.digest)


class Measured:
    """A device's serving and evaluations.

    Args:
        character: of the device.
        rng: its chance.
        questions: of one evaluation.
    """

    def __init__(self, *, character: Character, rng: random.Random, questions: int) -> None:
        self._character = character
        self._rng = rng
        self._questions = questions
        self._climate = Climate(character.ambient_celsius + 16.0)
        self._slice = rng.randrange(quality.SLICES)

    def telemetry(
        self,
        loaded: Loaded,
        *,
        now_s: float,
        interval_s: float,
        uptime_s: float,
        reconnects: int,
        outbox: Outboxed,
    ) -> dict[str, Any]:
        """Fields of the `Telemetry` of an interval that ends now."""
        rng, character = self._rng, self._character
        did = live(
            character, self._climate, loaded.model, now_s=now_s, interval_s=interval_s, rng=rng
        )
        self._climate = did.climate
        resident = round(loaded.model.memory_bytes * rng.uniform(0.98, 1.02))
        total = character.memory_total_bytes
        return {
            "interval_s": round(interval_s, 3),
            "model": loaded.record,
            "outcomes": did.outcomes,
            "latency": did.latency,
            "queue_depth": min(did.queue_depth_max, rng.randrange(2)),
            "queue_depth_max": did.queue_depth_max,
            "processes": [
                Process(role="agent", resident_bytes=_AGENT_BYTES + rng.randrange(4 << 20)),
                Process(role="model", resident_bytes=resident),
            ],
            "memory_available_bytes": max(0, total - (400 << 20) - _AGENT_BYTES - resident),
            "memory_total_bytes": total,
            "cpu_load": did.cpu_load,
            "temperature_celsius": did.temperature_celsius,
            "temperature_max_celsius": did.temperature_max_celsius,
            "throttled": did.throttled,
            "disk_free_bytes": round(character.disk_total_bytes * 0.7),
            "disk_total_bytes": character.disk_total_bytes,
            "host_uptime_s": round(uptime_s + 30.0, 1),
            "reconnects": reconnects,
            "outbox": outbox,
        }

    def evaluation(
        self,
        loaded: Loaded,
        previous: Loaded | None,
        *,
        trigger: Trigger,
        index: int | None = None,
        questions: int | None = None,
    ) -> dict[str, Any]:
        """Fields of an `Evaluation`, of the next slice unless another is named."""
        rng = self._rng
        count = min(questions or self._questions, quality.QUESTIONS)
        if index is None:
            index, self._slice = self._slice, (self._slice + 1) % quality.SLICES
        index %= quality.SLICES
        marks = quality.marks(loaded.model, index, count, rng)
        times = quality.inference_times(loaded.model, count, self._character.slowness, rng)
        return {
            "model": loaded.record,
            "trigger": trigger,
            "dataset": quality.DATASET,
            "slice": quality.slice_of(index),
            "questions": count,
            "exact_match": marks.exact_match,
            "exact_match_interval": quality.wilson(marks.exact_match / 100, count),
            "f1": marks.mean_f1,
            "f1_interval": quality.around_mean(marks.f1, least=0.0, most=100.0),
            "inference": times,
            "duration_ms": round(times.total_ms * 1.2, 3),
            "waited_ms": round(times.total_ms * 0.1, 3),
            "paired": self._paired(marks, previous, index, count) if previous else None,
        }

    def checks(self, loaded: Loaded, *, load_s: float) -> CheckScores:
        """How a model answers its package's check questions here."""
        marks = quality.marks(loaded.model, 0, _CHECKS, self._rng)
        times = quality.inference_times(loaded.model, _CHECKS, self._character.slowness, self._rng)
        return CheckScores(
            questions=_CHECKS,
            exact_match=marks.exact_match,
            f1=marks.mean_f1,
            p50_ms=times.p50_ms,
            p95_ms=times.p95_ms,
            memory_bytes=loaded.model.memory_bytes,
            load_ms=round(load_s * 1000, 1),
        )

    def _paired(self, marks: quality.Marks, previous: Loaded, index: int, count: int) -> Paired:
        before = quality.marks(previous.model, index, count, self._rng)
        pairs = list(zip(marks.exact, before.exact, strict=True))
        exact = [float(new) - float(old) for new, old in pairs]
        f1 = [new - old for new, old in zip(marks.f1, before.f1, strict=True)]
        return Paired(
            previous=previous.record,
            questions=count,
            exact_match_difference=marks.exact_match - before.exact_match,
            exact_match_interval=quality.around_mean(exact, least=-100.0, most=100.0),
            f1_difference=marks.mean_f1 - before.mean_f1,
            f1_interval=quality.around_mean(f1, least=-100.0, most=100.0),
            exact_match_gained=sum(new and not old for new, old in pairs),
            exact_match_lost=sum(old and not new for new, old in pairs),
        )
