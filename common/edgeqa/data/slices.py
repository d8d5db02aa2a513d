"""Cutting a set of questions into slices that are the same everywhere.

The order is that of a digest of each question: shuffled, so that a slice is a sample of the whole,
and independent of how the set was stored, of Python's version and of the machine.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from edgeqa.squad import Example

_ID_DIGITS = 16


def shuffled(examples: Sequence[Example]) -> list[Example]:
    """All questions, in the order in which slices take them."""
    return sorted(examples, key=_digest)


def slices_of(total: int, size: int) -> int:
    """How many slices of at most `size` a set of `total` questions has."""
    return max(1, -(-total // size))


def slice_bounds(total: int, of: int, index: int) -> tuple[int, int]:
    """First question of a slice and the one behind its last; slices differ by one at most.

    Even, because a remainder of a few questions would score anything.
    """
    return index * total // of, (index + 1) * total // of


def slice_id(examples: Sequence[Example]) -> str:
    """Name of a slice: `s` and the beginning of the digest of its questions and answers."""
    digest = hashlib.sha256()
    for example in examples:
        digest.update(_digest(example))
        digest.update(_packed([[gold.text, gold.start] for gold in example.answers]))
    return f"s{digest.hexdigest()[:_ID_DIGITS]}"


def _digest(example: Example) -> bytes:
    return hashlib.sha256(_packed([example.id, example.question, example.context])).digest()


def _packed(value: object) -> bytes:
    # ASCII: half a surrogate pair, which JSON data may hold, has no UTF-8.
    return json.dumps(value, ensure_ascii=True, separators=(",", ":")).encode("ascii")
