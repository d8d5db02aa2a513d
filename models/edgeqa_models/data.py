"""Choosing questions to learn from; `edgeqa.data.sources` reads them."""

from __future__ import annotations

from collections.abc import Sequence

from edgeqa.squad import Example


def distinct(examples: Sequence[Example]) -> list[Example]:
    """Leave out repeats of a question on the same text: sources of training data overlap."""
    return list({(example.question, example.context): example for example in examples}.values())


def legible(examples: Sequence[Example]) -> list[Example]:
    """Leave out questions in which words were lost to the placeholder `<unk>`."""
    return [example for example in examples if "<unk>" not in example.question]
