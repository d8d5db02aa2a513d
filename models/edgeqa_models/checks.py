"""The check questions that travel in a package and prove it wherever it is loaded.

Those shipped are the questions of our evaluation set that are marked `"check": true`: easy enough
that every sound model answers them. A model that misses one of its own checks is not packaged.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeqa import evaluation_set
from edgeqa.errors import DataError
from edgeqa.manifest import Check
from edgeqa.reader.engine import Engine
from edgeqa.squad import Gold, best, exact

SHIPPED = evaluation_set.PATH


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What a model answers to a check; `right` if it is an accepted answer, normalised."""

    check: Check
    answer: str
    right: bool


def read_checks(path: Path) -> list[Check]:
    """Read check questions; every accepted answer must stand in its context.

    Args:
        path: a JSON list of `question`, `context` and `answers`, or a file in SQuAD format in
            which check questions are marked `"check": true`.

    Raises:
        DataError: the file cannot be read, is malformed or holds no check questions.
    """
    try:
        document = json.loads(path.read_bytes())
        rows = _marked(document) if isinstance(document, dict) else document
        checks = [Check.model_validate(row) for row in rows]
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(
            f"{path}: neither a list of check questions nor SQuAD JSON: {reason}"
        ) from error
    if not checks:
        raise DataError(f"{path}: holds no check questions")
    for check in checks:
        for answer in check.answers:
            if answer.lower() not in check.context.lower():
                raise DataError(
                    f"{path}: {check.question!r}: {answer!r} does not stand in its context"
                )
    return checks


def _marked(document: dict[str, Any]) -> list[dict[str, Any]]:
    """The marked questions of a document in SQuAD format."""
    return [
        {
            "question": qa["question"],
            "context": paragraph["context"],
            "answers": [answer["text"] for answer in qa["answers"]],
        }
        for article in document["data"]
        for paragraph in article["paragraphs"]
        for qa in paragraph["qas"]
        if qa.get("check") is True
    ]


def run_checks(engine: Engine, checks: list[Check]) -> list[CheckResult]:
    """Ask every check question.

    Raises:
        PayloadError: a check is not one that the model can be asked (too long, or empty).
    """
    results = []
    for check in checks:
        spans = engine.answer(check.question, check.context).spans
        answer = spans[0].text if spans else ""
        right = best(exact, [Gold(text, 0) for text in check.answers], answer) == 1
        results.append(CheckResult(check, answer, right))
    return results
