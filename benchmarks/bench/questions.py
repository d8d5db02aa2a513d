"""The questions of a benchmark: all of a data set, in an order that a seed gives."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from edgeqa import evaluation_set
from edgeqa.data.identity import fingerprint, title
from edgeqa.data.sources import load_examples, located
from edgeqa.errors import DataError
from edgeqa.squad import Example

DEFAULT = evaluation_set.NAME
_WARM_UP = 16


@dataclass(frozen=True, slots=True)
class Questions:
    """What is asked; the turns go round and round it.

    Attributes:
        warm_up: asked before anything is timed, and never timed.
    """

    name: str
    fingerprint: str
    warm_up: Sequence[Example]
    examples: Sequence[Example]

    def block(self, begin: int, count: int) -> list[Example]:
        """`count` of them from place `begin` on, of a ring."""
        return [self.examples[(begin + n) % len(self.examples)] for n in range(count)]


def read_questions(source: str, *, split: str, seed: int) -> Questions:
    """All questions of a file, a folder, `edgeqa-devices` or a hub id.

    Raises:
        DataError: it cannot be read, or holds too few.
    """
    place = located(source)
    examples = load_examples([place], split=split)
    if len(examples) <= 2 * _WARM_UP:
        raise DataError(f"{source}: {len(examples)} questions are too few to measure with")
    print_of = fingerprint(place, examples)
    random.Random(seed).shuffle(examples)
    name = title(place) if source != DEFAULT else DEFAULT
    return Questions(name, print_of, examples[:_WARM_UP], examples[_WARM_UP:])
