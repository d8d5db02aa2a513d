"""Answers that are kept for the next time the same is asked, bounded in number and bytes.

The answer that was used longest ago goes first; nothing else takes one away. An answer is known by
the digest of the model that gave it, so a model that is swapped in finds none of another's.
"""

from __future__ import annotations

import hashlib
import sys
from collections import OrderedDict

from edgeqa_agent.jobs import Outcome, Task

# The model's digest, and a digest of question, text and number of answers.
Key = tuple[str, bytes]

# Of an entry beyond the texts of its answers: key, row of the table, outcome, list. And of one
# answer: the tuple, its numbers. Measured with `tracemalloc` on CPython 3.11, 64 bits; a test
# holds that no more is taken.
_ENTRY_BYTES = 560
_SPAN_BYTES = 200


def task_digest(task: Task) -> bytes:
    """What makes two questions the same: question, text and number of answers, to the letter."""
    digest = hashlib.blake2b(task.top_k.to_bytes(8, "big"), digest_size=32)
    for part in (task.question, task.context):
        raw = part.encode("utf-8", "surrogatepass")
        digest.update(len(raw).to_bytes(8, "big"))
        digest.update(raw)
    return digest.digest()


class KeptAnswers:
    """Outcomes by what was asked of which model.

    Args:
        most_entries: that are kept.
        most_bytes: that they take.

    Thread: callers hold a lock.
    """

    def __init__(self, *, most_entries: int, most_bytes: int) -> None:
        self._most_entries = most_entries
        self._most_bytes = most_bytes
        self._kept: OrderedDict[Key, Outcome] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def size_bytes(self) -> int:
        """Of all that is kept."""
        return self._bytes

    def get(self, key: Key) -> Outcome | None:
        """The outcome, if it is kept."""
        outcome = self._kept.get(key)
        if outcome is not None:
            self._kept.move_to_end(key)
        return outcome

    def put(self, key: Key, outcome: Outcome) -> None:
        """Keep an outcome; one that is larger than all room is not."""
        size = _size_bytes(outcome)
        if size > self._most_bytes:
            return
        old = self._kept.pop(key, None)
        if old is not None:
            self._bytes -= _size_bytes(old)
        self._kept[key] = outcome
        self._bytes += size
        while len(self._kept) > self._most_entries or self._bytes > self._most_bytes:
            self._bytes -= _size_bytes(self._kept.popitem(last=False)[1])


def _size_bytes(outcome: Outcome) -> int:
    texts = sum(sys.getsizeof(text) for text, _, _, _ in outcome.spans)
    return _ENTRY_BYTES + _SPAN_BYTES * len(outcome.spans) + texts
