"""Questions as rows in the columns of the hub's SQuAD: id, title, context, question, answers.

`answers` is an object of two lists, `text` and `answer_start`, or a list of objects with one of
each; both empty where the text does not answer the question. Other columns are not looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from edgeqa.errors import DataError
from edgeqa.squad import Example, Gold, check_offsets

COLUMNS = ("id", "context", "question", "answers")  # without which a row is no question


def read_rows(rows: Iterable[Mapping[str, Any]], source: str, unit: str = "row") -> list[Example]:
    """Questions of rows, each checked against its context.

    Args:
        rows: mappings of column to value.
        source: named in errors.
        unit: what the source counts, named in errors: a row, a line.

    Raises:
        DataError: a column is missing or of another type, or an answer does not stand where it
            says; source and row are named.
    """
    return [_example(row, source, f"{unit} {number}") for number, row in enumerate(rows, 1)]


def demand_columns(names: Iterable[str], source: str) -> None:
    """Refuse a table without the columns of a question.

    Raises:
        DataError: naming those that are missing.
    """
    missing = [column for column in COLUMNS if column not in set(names)]
    if missing:
        raise DataError(
            f"{source}: no column {', '.join(missing)}; a question needs {', '.join(COLUMNS)}"
        )


def _example(row: Mapping[str, Any], source: str, place: str) -> Example:
    if not isinstance(row, Mapping):
        raise DataError(f"{source}: {place}: not an object with the columns of a question")
    demand_columns(row, f"{source}: {place}")
    for column in ("context", "question"):
        if not isinstance(row[column], str):
            raise DataError(f"{source}: {place}: {column} is not a text")
    if not isinstance(row["id"], str | int):
        raise DataError(f"{source}: {place}: id is neither a text nor a number")
    example = Example(
        id=str(row["id"]),
        title=str(row.get("title") or ""),
        question=row["question"],
        context=row["context"],
        answers=_golds(row["answers"], f"{source}: {place}"),
    )
    check_offsets(example, source)
    return example


def _golds(answers: Any, place: str) -> tuple[Gold, ...]:
    try:
        if isinstance(answers, Mapping):
            pairs = list(zip(answers["text"], answers["answer_start"], strict=True))
        else:
            pairs = [(answer["text"], answer["answer_start"]) for answer in answers]
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{place}: answers are not equally many `text` and `answer_start` "
            f"({type(error).__name__}: {error})"
        ) from error
    return tuple(Gold(text, start) for text, start in pairs)
