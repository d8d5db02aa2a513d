"""The questions of one evaluation: which, of what data, and how they are named in a report."""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeqa.squad import Example
from edgeqa.squad_v2 import EVEN
from edgeqa_models.data import load_examples, located
from edgeqa_models.report import Task

_SUFFIX = re.compile(r"\.(json|jsonl|ndjson|parquet|arrow)$")


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
        if wanted is not None:
            return wanted
        return EVEN if self.task == "squad_v2" else None


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
    title = name or _SUFFIX.sub("", Path(source).name)
    if len(examples) < len(everything):
        title = f"{title} ({len(examples)} of {len(everything)} questions, seed {seed})"
    task: Task = "squad_v1" if all(example.answers for example in everything) else "squad_v2"
    return Sample(examples, title, fingerprint(source, everything), task)


def draw(examples: Sequence[Example], limit: int, seed: int) -> list[Example]:
    """All of them, or a repeatable sample of `limit`."""
    if not limit or limit >= len(examples):
        return list(examples)
    return random.Random(seed).sample(examples, limit)  # noqa: S311  a sample, not a secret


def fingerprint(source: str, examples: Sequence[Example]) -> str:
    """SHA-256 of a data file; of the questions themselves where the source is no single file."""
    path = Path(source)
    if path.is_file():
        return hashlib.sha256(path.read_bytes()).hexdigest()
    digest = hashlib.sha256()
    for example in examples:
        digest.update(repr(example).encode())
    return digest.hexdigest()
