"""An answer marked in its text. Pure.

Offsets count code points, as Python does: a mark stays right beside emoji and combining characters,
which browsers count otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgeqa.messages import Span


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a text.

    Attributes:
        rank: of the answer that it is, 1 the best; None: of none.
    """

    text: str
    rank: int | None = None


def marked(context: str, spans: Sequence[Span]) -> list[Piece]:
    """The text whole, in pieces.

    Of answers that overlap, the better one is marked. One that does not lie in the text, or is not
    what stands there, is not marked: a device says what it likes.
    """
    taken: list[tuple[int, int, int]] = []
    for rank, span in enumerate(spans, 1):
        if not stands_in(context, span):
            continue
        if all(span.end <= start or span.start >= end for start, end, _ in taken):
            taken.append((span.start, span.end, rank))
    pieces, at = [], 0
    for start, end, rank in sorted(taken):
        pieces += [Piece(context[at:start]), Piece(context[start:end], rank)]
        at = end
    return [piece for piece in [*pieces, Piece(context[at:])] if piece.text]


def stands_in(context: str, span: Span) -> bool:
    """Whether an answer is a part of the text."""
    return span.start < span.end <= len(context) and context[span.start : span.end] == span.text
