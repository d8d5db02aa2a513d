"""Which retained messages this device has left for Home Assistant.

Without it a device on which the option is switched off again would not know that there is something
to take back. Written before the first of them is published.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from structlog.typing import FilteringBoundLogger

from edgeqa.files import write_atomic

NAME = "home_assistant.json"
_MAX_BYTES = 64 << 10


class _Content(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    schema_version: Literal[1] = Field(default=1, alias="schema")
    topics: list[str] = Field(default_factory=list, max_length=64)


class LeftTopics:
    """The file; a failure to write it is logged, and costs only the tidying up later."""

    def __init__(self, folder: Path, log: FilteringBoundLogger) -> None:
        self._path = folder / NAME
        self._log = log
        self._topics = self._read()

    @property
    def topics(self) -> frozenset[str]:
        """That hold a retained message of ours, as far as is known."""
        return self._topics

    def note(self, topics: frozenset[str]) -> None:
        """These do from now on; none: the file goes."""
        if topics == self._topics:
            return
        content = _Content(topics=sorted(topics))
        try:
            if topics:
                write_atomic(self._path, content.model_dump_json(by_alias=True).encode())
            else:
                self._path.unlink(missing_ok=True)
        except OSError as error:
            reason = error.strerror or str(error)
            self._log.warning("home_assistant_topics_not_kept", reason=reason)
            return
        self._topics = topics

    def _read(self) -> frozenset[str]:
        try:
            with self._path.open("rb") as file:
                content = _Content.model_validate_json(file.read(_MAX_BYTES))
        except FileNotFoundError:
            return frozenset()
        except (OSError, ValidationError) as error:
            reason = str(error).partition("\n")[0]
            self._log.warning("home_assistant_topics_forgotten", reason=reason)
            return frozenset()
        return frozenset(content.topics)
