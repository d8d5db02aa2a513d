"""The questions of self-evaluation on disk, ready to be asked.

A short-lived process makes the file of whatever the settings name; the main process reads a slice
of it, not the whole. SQLite, because a slice of a large set is then a read of a few pages.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pydantic import ValidationError

from edgeqa import evaluation_set
from edgeqa.data.identity import task_of, title
from edgeqa.data.slices import shuffled
from edgeqa.errors import DataError
from edgeqa.squad import Example, Gold, check_offsets
from edgeqa.telemetry_messages import Dataset

_SCHEMA = 1
_TABLES = """
create table about (schema integer, origin text, dataset text);
create table questions (position integer primary key, id text, title text, question text,
                        context text, answers text);
"""


@dataclass(frozen=True, slots=True)
class Origin:
    """What a file was made of; another one is made where the settings say something else.

    Attributes:
        stamp: of a local file: its size and time, so that a new one is noticed; empty elsewhere.
    """

    source: str
    split: str
    stamp: str = ""

    @classmethod
    def of(cls, source: str, split: str) -> Origin:
        """Of a source as it is now."""
        try:
            found = Path(source).stat()
        except (OSError, ValueError):
            return cls(source, split)
        return cls(source, split, f"{found.st_size}:{found.st_mtime_ns}")

    def to_text(self) -> str:
        """As the file says it."""
        return json.dumps([self.source, self.split, self.stamp])


class Questions(Protocol):
    """A set of questions of which a part can be read."""

    @property
    def dataset(self) -> Dataset:
        """What it is."""

    def read(self, begin: int, end: int) -> list[Example]:
        """The questions at these places of the shuffled set.

        Raises:
            DataError: they cannot be read.
        """


class Embedded:
    """The set that ships with EdgeQA."""

    def __init__(self) -> None:
        examples = evaluation_set.load()
        self.dataset = describe(
            title(str(evaluation_set.PATH)), evaluation_set.fingerprint(), examples
        )

    def read(self, begin: int, end: int) -> list[Example]:
        """See `Questions.read`: read anew, it is asked once an hour."""
        return shuffled(evaluation_set.load())[begin:end]


class QuestionFile:
    """A file that `pack` made.

    Raises:
        DataError: it is not one, is damaged, or is of another origin.
    """

    def __init__(self, path: Path, *, origin: Origin) -> None:
        self._path = path
        try:
            with closing(self._open()) as database:
                row = database.execute("select schema, origin, dataset from about").fetchone()
            if row is None or row[0] != _SCHEMA:
                raise DataError(f"{path}: not of this version")
            if row[1] != origin.to_text():
                raise DataError(f"{path}: made of something else")
            self.dataset = Dataset.model_validate_json(row[2])
        except (sqlite3.Error, ValidationError) as error:
            raise DataError(f"{path}: damaged: {error}") from error

    def read(self, begin: int, end: int) -> list[Example]:
        """See `Questions.read`; each is checked, a disk may forget."""
        query = (
            "select id, title, question, context, answers from questions "
            "where position >= ? and position < ? order by position"
        )
        try:
            with closing(self._open()) as database:
                rows = database.execute(query, (begin, end)).fetchall()
            found = [
                Example(name, about, question, text, tuple(Gold(*gold) for gold in json.loads(of)))
                for name, about, question, text, of in rows
            ]
        except (sqlite3.Error, ValueError, TypeError) as error:
            raise DataError(f"{self._path}: damaged: {error}") from error
        if len(found) != end - begin:
            raise DataError(f"{self._path}: damaged: questions are missing")
        for example in found:
            check_offsets(example, str(self._path))
        return found

    def _open(self) -> sqlite3.Connection:
        return sqlite3.connect(f"{self._path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)


def describe(name: str, fingerprint: str, examples: Sequence[Example]) -> Dataset:
    """What an evaluation says of a set."""
    return Dataset(
        name=name[:256] or "questions",
        fingerprint=fingerprint,
        task=task_of(examples),
        questions=len(examples),
    )


def pack(examples: Sequence[Example], *, dataset: Dataset, origin: Origin) -> bytes:
    """The bytes of a file.

    Raises:
        DataError: a text has no UTF-8.
    """
    rows = [
        (
            position,
            one.id,
            one.title,
            one.question,
            one.context,
            json.dumps([[gold.text, gold.start] for gold in one.answers]),
        )
        for position, one in enumerate(shuffled(examples))
    ]
    with closing(sqlite3.connect(":memory:")) as database:
        try:
            database.executescript(_TABLES)
            about = (_SCHEMA, origin.to_text(), dataset.model_dump_json())
            database.execute("insert into about values (?, ?, ?)", about)
            database.executemany("insert into questions values (?, ?, ?, ?, ?, ?)", rows)
            database.commit()
        except UnicodeEncodeError as error:
            raise DataError(f"{origin.source}: a text that is not Unicode: {error}") from error
        return database.serialize()
