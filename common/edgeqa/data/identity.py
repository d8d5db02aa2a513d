"""What identifies a set of questions: the same here and on a device, however it was read."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from edgeqa.files import sha256_hex
from edgeqa.squad import Example
from edgeqa.squad_v2 import EVEN

Task = Literal["squad_v1", "squad_v2"]

_SUFFIX = re.compile(r"\.(json|jsonl|ndjson|parquet|arrow)$")


def fingerprint(source: str, examples: Sequence[Example]) -> str:
    """SHA-256 of a data file; of the questions themselves where the source is no single file."""
    path = Path(source)
    if path.is_file():
        return sha256_hex(path)
    digest = hashlib.sha256()
    for example in examples:
        digest.update(repr(example).encode())
    return digest.hexdigest()


def title(source: str) -> str:
    """What reports call data of which nobody says a name: the file's, or the hub id's last part."""
    return _SUFFIX.sub("", Path(source).name)


def task_of(examples: Sequence[Example]) -> Task:
    """`squad_v2` if any question has no answer in its text."""
    return "squad_v1" if all(example.answers for example in examples) else "squad_v2"


def null_threshold(task: Task) -> float | None:
    """The null score above which the empty answer is given: even for v2.0; None, never, for v1.1.

    None scores as SQuAD v1.1 does.
    """
    return EVEN if task == "squad_v2" else None
