"""A list of every record that simulated devices wrote, to be held against the database."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from edgeqa.errors import ConfigError, DataError

# Of the SHA-256 of a payload: enough to see that another one came.
_DIGEST_CHARS = 16


@dataclass(frozen=True, slots=True)
class Entry:
    """A record that was written to an outbox."""

    device: str
    boot_id: str
    seq: int
    digest: str


class Ledger:
    """A file with a line a record; opened by `with`.

    Args:
        path: written anew.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> Self:
        try:
            self._file = self._path.open("w", encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"ledger: {self._path}: {error.strerror}") from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def note(self, device: str, boot_id: str, seq: int, payload: bytes) -> None:
        """A record was written."""
        self._file.write(json.dumps([device, boot_id, seq, payload_digest(payload)]) + "\n")


def payload_digest(payload: bytes) -> str:
    """What a ledger keeps of a payload."""
    return hashlib.sha256(payload).hexdigest()[:_DIGEST_CHARS]


def read_ledger(path: Path) -> Iterator[Entry]:
    """The entries of a ledger.

    Raises:
        DataError: the file cannot be read, or is none.
    """
    try:
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                yield Entry(*json.loads(line))
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{path}: {error}") from error
