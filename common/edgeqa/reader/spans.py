"""From the logits of a window to the spans that answer best.

The scores are those of the question-answering pipeline of `transformers` 4: softmax over the
context tokens and `[CLS]` of one window, product of start and end, words kept whole, equal texts
of several spans added up. A benchmark demands the same answers (`benchmarks/parity.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeqa.reader.windows import Window

Logits = NDArray[np.float32]

# Candidates kept per window for `k` wanted answers: several token spans widen to the same words.
# Source: `pre_topk` of the transformers pipeline.
_SPARE_CANDIDATES = 10


@dataclass(frozen=True, slots=True)
class TokenSpan:
    """First and last token of a candidate, both inside, and its probability."""

    first: int
    last: int
    score: float


@dataclass(frozen=True, slots=True)
class TextSpan:
    """A candidate in the text: code points, end exclusive."""

    text: str
    start: int
    end: int
    score: float


@dataclass(frozen=True, slots=True)
class WindowReading:
    """What one window says: its candidates, best first, and how likely it holds no answer."""

    candidates: list[TokenSpan]
    no_answer_score: float


def read_window(
    start: Logits, end: Logits, context: slice, *, max_answer_tokens: int, count: int
) -> WindowReading:
    """Decode one window.

    Args:
        start: float32[tokens], logits of the answer's first token; `[CLS]` is token 0.
        end: float32[tokens], logits of its last token.
        context: the tokens of the window that belong to the context.
        max_answer_tokens: longest span.
        count: candidates wanted; fewer come back from a short window.
    """
    cls_start, starts = _probabilities(start, context)
    cls_end, ends = _probabilities(end, context)
    # products[i, n] = P(first token is i) * P(last token is i + n)
    padded = np.concatenate([ends, np.zeros(max_answer_tokens - 1, np.float32)])
    bands = np.lib.stride_tricks.sliding_window_view(padded, max_answer_tokens)
    products = (starts[:, None] * bands).ravel()
    count = min(count, products.size)
    best = np.argpartition(products, -count)[-count:]
    best = best[np.argsort(-products[best], kind="stable")]
    candidates = []
    for index in best.tolist():
        first, length = divmod(index, max_answer_tokens)
        if first + length < len(starts):
            offset = context.start + first
            candidates.append(TokenSpan(offset, offset + length, float(products[index])))
    return WindowReading(candidates, cls_start * cls_end)


def _probabilities(logits: Logits, context: slice) -> tuple[float, NDArray[np.float32]]:
    """Softmax over `[CLS]` and the context: the probability of `[CLS]`, and of each token."""
    kept = np.concatenate([logits[:1], logits[context]])
    exponents = np.exp(kept - kept.max())
    probabilities = exponents / exponents.sum()
    return float(probabilities[0]), probabilities[1:]


def candidates_per_window(top_k: int) -> int:
    """How many candidates of each window to weigh for `top_k` answers."""
    return 2 * top_k + _SPARE_CANDIDATES


def merge(
    text: str,
    windows: Sequence[Window],
    readings: Iterable[WindowReading],
    *,
    top_k: int,
) -> tuple[list[TextSpan], float]:
    """The best answers over all windows of a text, and its no-answer score.

    Spans are widened to whole words, and spans with the same text but for case count as one
    answer, at the place found first, with their scores added.

    Returns:
        At most `top_k` spans, best first, and the lowest no-answer score of any window.
    """
    found: dict[str, TextSpan] = {}
    no_answer = 1.0
    for window, reading in zip(windows, readings, strict=True):
        no_answer = min(no_answer, reading.no_answer_score)
        for candidate, (start, end) in zip(
            reading.candidates, _characters(window, reading.candidates), strict=True
        ):
            answer = text[start:end]
            key = answer.lower()
            if key in found:
                old = found[key]
                found[key] = TextSpan(old.text, old.start, old.end, old.score + candidate.score)
            else:
                found[key] = TextSpan(answer, start, end, candidate.score)
    ranked = sorted(found.values(), key=lambda span: span.score, reverse=True)[:top_k]
    return ranked, no_answer


def _characters(window: Window, spans: Sequence[TokenSpan]) -> list[tuple[int, int]]:
    firsts = np.fromiter((span.first for span in spans), np.int32, len(spans))
    lasts = np.fromiter((span.last for span in spans), np.int32, len(spans))
    starts, ends = window.characters(firsts, lasts)
    return list(zip(starts.tolist(), ends.tolist(), strict=True))
