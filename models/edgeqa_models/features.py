"""Training features: windows of tokens with the first and last token of the answer.

A window that does not hold the answer points at `[CLS]`; so do unanswerable questions. The
model's `[CLS]` score is therefore a no-answer score (Devlin et al. 2019, section 4.3).
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypedDict

import datasets
import numpy as np
from tokenizers import Tokenizer

from edgeqa.errors import PayloadError
from edgeqa.reader.windows import Window, Windower, WindowSizes
from edgeqa.squad import Example, Gold


class Feature(TypedDict):
    """One training row; positions are token indices into `input_ids`."""

    input_ids: list[int]
    token_type_ids: list[int]
    attention_mask: list[int]
    start_positions: int
    end_positions: int


@dataclass(frozen=True, slots=True)
class FeatureOptions:
    """How training rows are made of questions.

    Attributes:
        max_answer_tokens: longer answers (whole paragraphs of Natural Questions) are left out.
        empty_windows: windows without the answer kept per question.
        mismatched: share of questions asked again of another paragraph of the same article,
            where they have no answer.
        seed: of the draw of both.
    """

    max_answer_tokens: int = 30
    empty_windows: int = 1
    mismatched: float = 0.05
    seed: int = 0


def sampled(examples: Sequence[Example], limit: int, seed: int) -> Sequence[Example]:
    """At most `limit` of the questions (0: all of them), drawn by `seed`."""
    if not limit:
        return examples
    draw = random.Random(seed)  # noqa: S311  a reproducible draw, not a secret
    return draw.sample(examples, min(limit, len(examples)))


def make_rows(
    examples: Sequence[Example], tokenizer: Any, sizes: WindowSizes, options: FeatureOptions
) -> datasets.Dataset:
    """The features as a data set with a column `length`, by which batches are grouped."""
    # A copy: cutting windows leaves truncation set, which has no place in the saved tokenizer.
    copy = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    windower = Windower(tokenizer=copy, sizes=sizes)
    rows = datasets.Dataset.from_list(list(make_features(examples, windower, options)))
    return rows.add_column("length", [len(ids) for ids in rows["input_ids"]])


def make_features(
    examples: Sequence[Example], windower: Windower, options: FeatureOptions
) -> Iterator[Feature]:
    """Yield the training rows of all questions, in the order of the questions."""
    rng = random.Random(options.seed)  # noqa: S311  a reproducible draw, not a secret
    for example in [*examples, *_mismatched(examples, options.mismatched, rng)]:
        try:
            windows = windower.cut(example.question, example.context)
        except PayloadError:
            continue  # a question longer than the model reads, or no text: nothing to learn
        gold = example.answers[0] if example.answers else None
        spans = [_span(window, gold) for window in windows]
        empty = [w for w, span in zip(windows, spans, strict=True) if span is None]
        rng.shuffle(empty)
        for window, span in zip(windows, spans, strict=True):
            if span is not None and span[1] - span[0] < options.max_answer_tokens:
                yield _feature(window, *span)
        for window in empty[: options.empty_windows]:
            yield _feature(window, 0, 0)


def _mismatched(examples: Sequence[Example], share: float, rng: random.Random) -> Iterator[Example]:
    by_title: dict[str, list[str]] = defaultdict(list)
    for example in examples:
        by_title[example.title].append(example.context)
    for example in rng.sample(examples, int(share * len(examples))):
        other = rng.choice(by_title[example.title])
        if not any(gold.text.lower() in other.lower() for gold in example.answers):
            yield replace(example, context=other, answers=())


def _span(window: Window, gold: Gold | None) -> tuple[int, int] | None:
    """First and last token of the answer in this window, or None where it is not whole in it."""
    if gold is None:
        return None
    end = gold.start + len(gold.text)
    tokens = np.flatnonzero((window.starts < end) & (window.ends > gold.start))
    if not len(tokens):
        return None
    first, last = int(tokens[0]), int(tokens[-1])
    if window.starts[first] > gold.start or window.ends[last] < end:
        return None
    return window.context.start + first, window.context.start + last


def _feature(window: Window, start: int, end: int) -> Feature:
    return Feature(
        input_ids=window.ids.tolist(),
        token_type_ids=window.type_ids.tolist(),
        attention_mask=window.attention_mask.tolist(),
        start_positions=start,
        end_positions=end,
    )
