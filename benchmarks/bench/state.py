"""What was measured so far, on disk after each turn, so that a run can be stopped and go on.

It belongs to a plan and a machine. With another plan or machine it is refused: figures of two
settings do not belong in one report.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from edgeqa.errors import ConfigError
from edgeqa.files import write_atomic

STATE_FILE = "state.json"
_SCHEMA = 1


@dataclass
class Record:
    """One task's.

    Attributes:
        about: what its report needs beside the turns.
        turns: one value each, in order.
        seconds: that the turns took.
        opened_s: that opening took, each time added up.
        error: why it ended early, a line; it is tried again by the next run.
    """

    about: dict[str, Any] = field(default_factory=dict)
    turns: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0
    opened_s: float = 0.0
    error: str | None = None


class State:
    """The records of a run by their task's key."""

    def __init__(self, path: Path, basis: dict[str, Any], records: dict[str, Record]) -> None:
        self.basis = basis
        self.records = records
        self._path = path

    @classmethod
    def open(cls, folder: Path, basis: dict[str, Any], *, fresh: bool) -> State:
        """Go on where the last run in this folder stopped, or begin.

        Args:
            folder: the output folder.
            basis: what all figures of a report must have in common.
            fresh: forget what is there.

        Raises:
            ConfigError: what is there has another basis, or cannot be read.
        """
        path = folder / STATE_FILE
        if fresh or not path.exists():
            return cls(path, basis, {})
        try:
            document = json.loads(path.read_text())
            before, schema = document["basis"], document["schema"]
            records = {key: Record(**value) for key, value in document["records"].items()}
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise ConfigError(f"{path}: cannot be read ({error}); --fresh begins anew") from error
        if schema != _SCHEMA or before != json.loads(json.dumps(basis)):
            changed = ", ".join(_differences(before, basis)) or "its format"
            raise ConfigError(
                f"{path} was measured under other conditions ({changed} changed): --fresh forgets "
                "it and begins anew, --output names another folder"
            )
        return cls(path, basis, records)

    def record(self, key: str) -> Record:
        """Of one task, an empty one where there is none yet."""
        return self.records.setdefault(key, Record())

    def save(self) -> None:
        """Write all to disk."""
        document = {
            "schema": _SCHEMA,
            "basis": self.basis,
            "records": {key: asdict(record) for key, record in self.records.items()},
        }
        self._path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(self._path, json.dumps(document, separators=(",", ":")).encode())


def _differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    now = json.loads(json.dumps(now))
    found = []
    for name in sorted({*before, *now}):
        old, new = before.get(name), now.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            found += [f"{name}.{part}" for part in _differences(old, new)]
        elif old != new:
            found.append(name)
    return found
