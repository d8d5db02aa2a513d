"""What self-evaluation must not forget: where the rotation is, and what each question scored.

A small file, written once an evaluation, that is either its old or its new self after a power cut.
One that is damaged is begun anew: only the comparison with the model before is lost.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from structlog.typing import FilteringBoundLogger

from edgeqa.files import write_atomic
from edgeqa.telemetry_messages import Model, Share

# A rollback goes back one model; two more for who tries several.
MAX_MODELS = 4
# Questions whose scores are kept, of all models together: about 200 KB on disk.
MAX_ITEMS = 20_000
_MAX_BYTES = 4 << 20


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Result(_Part):
    """What a model scored on a slice, question by question in the order of the slice.

    Attributes:
        fingerprint: of the data set.
        slice: its id.
        index, of: the slice's place.
        exact: `1` for each exact match, `0` for the others.
        f1: from 0 to 1.
    """

    model: Model
    fingerprint: str
    slice: str
    index: int = Field(ge=0)
    of: int = Field(ge=1)
    exact: Annotated[str, StringConstraints(pattern=r"^[01]+$")]
    f1: list[Share] = Field(min_length=1)

    @property
    def questions(self) -> int:
        """That were asked."""
        return min(len(self.exact), len(self.f1))


class _Content(_Part):
    schema_version: Literal[1] = Field(default=1, alias="schema")
    fingerprint: str = ""
    next: int = Field(default=0, ge=0)
    of: int = Field(default=1, ge=1)
    results: list[Result] = Field(default_factory=list)


class Memory:
    """The file."""

    def __init__(self, folder: Path, log: FilteringBoundLogger) -> None:
        self._path = folder / "evaluations.json"
        self._log = log
        self._content = self._read()

    @property
    def last(self) -> Result | None:
        """The newest result."""
        return self._content.results[-1] if self._content.results else None

    def next_index(self, fingerprint: str, of: int) -> int:
        """The slice whose turn it is; where slices were cut otherwise, the one of that place."""
        content = self._content
        if content.fingerprint != fingerprint:
            return 0
        return content.next * of // content.of % of

    def before(self, result: Result) -> Result | None:
        """The newest result of another model on the same questions."""
        same = (
            one
            for one in reversed(self._content.results)
            if one.model.digest != result.model.digest
            and (one.fingerprint, one.slice) == (result.fingerprint, result.slice)
        )
        return next(same, None)

    def add(self, result: Result, *, in_turn: bool) -> None:
        """Keep a result, in place of an older one of that model on that slice.

        Args:
            result: the newest.
            in_turn: it was the turn of its slice: go on to the next.
        """
        content = self._content
        key = (result.model.digest, result.slice)
        kept = [one for one in content.results if (one.model.digest, one.slice) != key]
        turn = (result.fingerprint, (result.index + 1) % result.of, result.of)
        fingerprint, following, of = (
            turn if in_turn else (content.fingerprint, content.next, content.of)
        )
        self._content = _Content(
            fingerprint=fingerprint, next=following, of=of, results=_bounded([*kept, result])
        )
        self._write()

    def skip(self, fingerprint: str, of: int) -> None:
        """Go on to the next slice although this one was not evaluated."""
        following = (self.next_index(fingerprint, of) + 1) % of
        changes = {"fingerprint": fingerprint, "next": following, "of": of}
        self._content = self._content.model_copy(update=changes)
        self._write()

    def _read(self) -> _Content:
        try:
            with self._path.open("rb") as file:
                # What is larger is cut off, and then no JSON.
                return _Content.model_validate_json(file.read(_MAX_BYTES))
        except FileNotFoundError:
            return _Content()
        except (OSError, ValidationError) as error:
            reason = str(error).partition("\n")[0]
            self._log.warning("evaluations_forgotten", file=str(self._path), reason=reason)
            return _Content()

    def _write(self) -> None:
        try:
            write_atomic(self._path, self._content.model_dump_json(by_alias=True).encode())
        except OSError as error:
            self._log.warning("evaluations_not_kept", reason=error.strerror or str(error))


def _bounded(results: list[Result]) -> list[Result]:
    """The newest, of as many models and questions as are kept."""
    kept: list[Result] = []
    models: set[str] = set()
    items = 0
    for one in reversed(results):
        models.add(one.model.digest)
        items += one.questions
        if kept and (len(models) > MAX_MODELS or items > MAX_ITEMS):
            break
        kept.append(one)
    return kept[::-1]
