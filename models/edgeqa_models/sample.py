"""The questions of one evaluation: which, of what data, and how they are named in a report."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from edgeqa.data.identity import Task, fingerprint, null_threshold, task_of, title
from edgeqa.data.sources import load_examples, located
from edgeqa.squad import Example


@dataclass(frozen=True, slots=True)
class Sample:
    """What is asked.

    Attributes:
        dataset: the data's name, with size and seed where only a part is asked.
        fingerprint: of the whole data.
        task: `squad_v2` if any question of the whole data has no answer.
    """

    examples: list[Example]
    dataset: str
    fingerprint: str
    task: Task

    def threshold(self, wanted: float | None) -> float | None:
        """The null threshold to score with: what is wanted, else even for v2.0 and none for v1.1.

        None scores as SQuAD v1.1 does.
        """
        return null_threshold(self.task) if wanted is None else wanted


def take_sample(
    source: str, *, split: str, name: str = "", limit: int = 0, seed: int = 0
) -> Sample:
    """Load data and draw the questions to ask.

    Args:
        source: file, folder, `edgeqa-devices` or hub id.
        split: of a hub data set.
        name: what reports call the data; without it, the file's name or the hub id's last part.
        limit: a random sample of so many questions; 0 takes all.
        seed: of the sample.

    Raises:
        DataError: the data cannot be read, are empty or contradict themselves.
    """
    source = located(source)
    everything = load_examples([source], split=split)
    examples = draw(everything, limit, seed)
    called = name or title(source)
    if len(examples) < len(everything):
        called = f"{called} ({len(examples)} of {len(everything)} questions, seed {seed})"
    return Sample(examples, called, fingerprint(source, everything), task_of(everything))


def draw(examples: Sequence[Example], limit: int, seed: int) -> list[Example]:
    """All of them, or a repeatable sample of `limit`."""
    if not limit or limit >= len(examples):
        return list(examples)
    return random.Random(seed).sample(examples, limit)  # noqa: S311  a sample, not a secret
