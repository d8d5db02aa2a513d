"""SQuAD: its JSON format and its two measures, exact match and F1.

Pure Python, no numpy, no `datasets`: the agent evaluates itself with this module.
Source: Rajpurkar et al. 2016 and the official `evaluate-v1.1.py`; the normalisation is that of
`transformers.data.metrics.squad_metrics`, with which a test demands exact agreement.
"""

from __future__ import annotations

import json
import re
import string
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeqa.errors import DataError

_ARTICLES = re.compile(r"\b(a|an|the)\b", re.UNICODE)
_PUNCTUATION = frozenset(string.punctuation)


@dataclass(frozen=True, slots=True)
class Gold:
    """One accepted answer: its text and its first character in the context (code points)."""

    text: str
    start: int


@dataclass(frozen=True, slots=True)
class Example:
    """One question of a data set; `answers` is empty where the text does not answer it."""

    id: str
    title: str
    question: str
    context: str
    answers: tuple[Gold, ...]


@dataclass(frozen=True, slots=True)
class Score:
    """EM and F1 over `questions` questions, both in percent as SQuAD reports them."""

    exact_match: float
    f1: float
    questions: int


def read_squad(path: Path) -> list[Example]:
    """Read a file in SQuAD v1.1 or v2.0 JSON format, checking every answer against its context.

    Raises:
        DataError: the file is not there, not SQuAD JSON, empty, or contradicts itself: an answer
            that does not stand where it says, or a question said to be impossible that has one.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not valid JSON: {error}") from error
    try:
        examples = list(_examples(document, str(path)))
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: not in SQuAD format ({type(error).__name__}: {error})") from error
    if not examples:
        raise DataError(f"{path}: holds no questions")
    for example in examples:
        check_offsets(example, str(path))
    return examples


def _examples(document: dict[str, Any], source: str) -> Iterator[Example]:
    for article in document["data"]:
        for paragraph in article["paragraphs"]:
            for qa in paragraph["qas"]:
                # SQuAD v2.0 says it twice: `is_impossible`, and no answers.
                if qa.get("is_impossible", not qa["answers"]) != (not qa["answers"]):
                    raise DataError(
                        f"{source}: question {str(qa['id'])!r}: `is_impossible` is "
                        f"{json.dumps(qa['is_impossible'])}, but it has {len(qa['answers'])} "
                        "answer(s)"
                    )
                yield Example(
                    id=str(qa["id"]),
                    title=str(article.get("title", "")),
                    question=qa["question"],
                    context=paragraph["context"],
                    answers=tuple(Gold(a["text"], a["answer_start"]) for a in qa["answers"]),
                )


def check_offsets(example: Example, source: str) -> None:
    """Refuse an example whose answers are not substrings at their offsets.

    Raises:
        DataError: naming the source, the question and the offset.
    """
    if not (isinstance(example.question, str) and isinstance(example.context, str)):
        raise DataError(f"{source}: question {example.id!r}: question or context is not a text")
    for gold in example.answers:
        if not _stands(gold, example.context):
            raise DataError(
                f"{source}: question {example.id!r}: answer {gold.text!r} does not stand at "
                f"character {gold.start} of its context"
            )


def _stands(gold: Gold, context: str) -> bool:
    # The fields come from a file, so their types are not known. A negative offset would count from
    # the end, as Python's own do.
    if not isinstance(gold.text, str) or type(gold.start) is not int or gold.start < 0:
        return False
    return bool(gold.text) and context.startswith(gold.text, gold.start)


def normalise(text: str) -> str:
    """Lower-case, drop punctuation and English articles, and fold white space."""
    kept = "".join(ch for ch in text.lower() if ch not in _PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", kept).split())


def exact(gold: str, answer: str) -> int:
    """1 where the two are equal once normalised, else 0."""
    return int(normalise(gold) == normalise(answer))


def f1(gold: str, answer: str) -> float:
    """Harmonic mean of token precision and recall; 1 where both are empty."""
    gold_tokens, tokens = normalise(gold).split(), normalise(answer).split()
    if not gold_tokens or not tokens:
        return float(gold_tokens == tokens)
    shared = sum((Counter(gold_tokens) & Counter(tokens)).values())
    if shared == 0:
        return 0.0
    precision, recall = shared / len(tokens), shared / len(gold_tokens)
    return 2 * precision * recall / (precision + recall)


def best(measure: Callable[[str, str], float], golds: Sequence[Gold], answer: str) -> float:
    """The measure against the most favourable accepted answer.

    As the official script does, golds that normalise to nothing are left out; a question with no
    gold left is answered rightly by the empty string.
    """
    texts = [gold.text for gold in golds if normalise(gold.text)] or [""]
    return max(measure(text, answer) for text in texts)


def score(pairs: Iterable[tuple[Example, str]]) -> Score:
    """EM and F1 of (question, predicted text) pairs.

    Raises:
        DataError: there are none.
    """
    exacts, f1s = [], []
    for example, answer in pairs:
        exacts.append(best(exact, example.answers, answer))
        f1s.append(best(f1, example.answers, answer))
    if not exacts:
        raise DataError("nothing to score: no questions")
    count = len(exacts)
    return Score(100 * sum(exacts) / count, 100 * sum(f1s) / count, count)
