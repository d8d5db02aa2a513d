"""What an evaluation on a simulated device finds: the model's true scores, through chance.

Each slice of the data set is a little easier or harder than the whole, for every device and model
alike; each question is right or wrong by a coin of that weight. So small slices are noisy,
intervals cover the truth as they promise, and a bad model shows.
"""

from __future__ import annotations

import functools
import hashlib
import math
import random
import statistics
from dataclasses import dataclass

from edgeqa.telemetry_messages import Dataset, InferenceTimes, Slice
from edgeqa_cloud.simulate.models import SimulatedModel
from edgeqa_cloud.simulate.physics import inference_ms

QUESTIONS = 1200
SLICES = 24
DATASET = Dataset(
    name="simulated",
    fingerprint=hashlib.sha256(b"edgeqa simulated evaluation set 1").hexdigest(),
    task="squad_v1",
    questions=QUESTIONS,
)
# Standard deviation of a slice's difficulty, points: questions of one article stand together.
_SLICE_SPREAD = 2.0
_Z95 = 1.959964


@dataclass(frozen=True, slots=True)
class Marks:
    """The marks of one model on a slice, question by question: exact match, and F1 of 0 to 1."""

    exact: list[bool]
    f1: list[float]

    @property
    def exact_match(self) -> float:
        """Percent."""
        return 100.0 * sum(self.exact) / len(self.exact)

    @property
    def mean_f1(self) -> float:
        """Percent."""
        return 100.0 * sum(self.f1) / len(self.f1)


def slice_of(index: int) -> Slice:
    """A slice of the data set; the same questions on every device."""
    name = hashlib.sha256(f"{DATASET.fingerprint}/{index}".encode()).hexdigest()[:16]
    return Slice(id=f"s{name}", index=index, of=SLICES)


def marks(model: SimulatedModel, index: int, questions: int, rng: random.Random) -> Marks:
    """Ask a slice's questions."""
    right = _share(model.em + _easier()[index])
    # What is not exactly right is partly right, by so much on average that the F1 comes out.
    partly = max(0.0, model.f1 - model.em) / max(1e-9, 100.0 - model.em)
    exact = [rng.random() < right for _ in range(questions)]
    f1 = [1.0 if one else _partial(partly, rng) for one in exact]
    return Marks(exact, f1)


def wilson(share: float, count: int) -> tuple[float, float]:
    """95 % interval of a share, percent. Source: Wilson 1927, "Probable inference"."""
    z2 = _Z95**2
    centre = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = _Z95 / (1 + z2 / count) * math.sqrt(share * (1 - share) / count + z2 / (4 * count**2))
    return 100 * max(0.0, centre - half), 100 * min(1.0, centre + half)


def around_mean(values: list[float], *, least: float, most: float) -> tuple[float, float]:
    """95 % interval of a mean, percent; the normal one, to which the bootstrap's tends."""
    mean = 100 * statistics.fmean(values)
    half = 100 * _Z95 * statistics.pstdev(values) / math.sqrt(len(values))
    return max(least, mean - half), min(most, mean + half)


def inference_times(
    model: SimulatedModel, questions: int, slowness: float, rng: random.Random
) -> InferenceTimes:
    """How long the questions took."""
    times = sorted(inference_ms(model, slowness, rng) for _ in range(questions))
    at = {share: times[min(questions - 1, int(share * questions))] for share in (0.5, 0.95, 0.99)}
    return InferenceTimes(
        total_ms=round(sum(times), 3),
        mean_ms=round(statistics.fmean(times), 3),
        p50_ms=round(at[0.5], 3),
        p95_ms=round(at[0.95], 3),
        p99_ms=round(at[0.99], 3),
    )


@functools.cache
def _easier() -> tuple[float, ...]:
    """By how many points each slice is easier than the whole; nothing on average."""
    rng = random.Random("slices")  # noqa: S311  a model, not a secret
    drawn = [rng.gauss(0.0, _SLICE_SPREAD) for _ in range(SLICES)]
    mean = statistics.fmean(drawn)
    return tuple(points - mean for points in drawn)


def _share(percent: float) -> float:
    return min(1.0, max(0.0, percent / 100.0))


def _partial(mean: float, rng: random.Random) -> float:
    # Nothing in common, or a part of the words: between the two bounds, on average half-way.
    least, most = 0.34, 0.9
    middle = (least + most) / 2
    if mean > middle:
        return rng.uniform(2 * mean - 1, 1.0)
    return rng.uniform(least, most) if rng.random() < mean / middle else 0.0
