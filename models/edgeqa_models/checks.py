"""The check questions that travel in a package and prove it wherever it is loaded.

Ours, written for this project (Apache-2.0): short texts on devices, their installation and safety,
sensors and networks. A model that misses one of its own checks is not packaged.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from edgeqa.errors import DataError
from edgeqa.manifest import Check
from edgeqa.reader.engine import Engine
from edgeqa.squad import Gold, best, exact

SHIPPED = Path(__file__).with_name("checks.json")


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What a model answers to a check; `right` if it is an accepted answer, normalised."""

    check: Check
    answer: str
    right: bool


def read_checks(path: Path) -> list[Check]:
    """Read check questions; every accepted answer must stand in its context.

    Raises:
        DataError: the file cannot be read, is malformed or empty.
    """
    try:
        checks = [Check.model_validate(row) for row in json.loads(path.read_bytes())]
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{path}: not a list of check questions: {reason}") from error
    if not checks:
        raise DataError(f"{path}: holds no check questions")
    for check in checks:
        for answer in check.answers:
            if answer.lower() not in check.context.lower():
                raise DataError(
                    f"{path}: {check.question!r}: {answer!r} does not stand in its context"
                )
    return checks


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
