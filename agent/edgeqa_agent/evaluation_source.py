"""Keeps the questions of self-evaluation at hand, and has them made by a process of their own.

What was made once is served from the disk, so that a restart needs no network. While nothing was
made, or it failed, the embedded set serves; it is tried again, ever more seldom.

Thread: the evaluation's own.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from structlog.typing import FilteringBoundLogger

from edgeqa import evaluation_set
from edgeqa.errors import DataError
from edgeqa_agent.question_file import Embedded, Origin, QuestionFile, Questions

_RETRY_S, _MAX_RETRY_S = 60.0, 6 * 3600.0
# The process ends itself a little earlier.
_GRACE_S = 5.0
_MAX_LINE_CHARS = 4000


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the settings say.

    Attributes:
        source: as `evaluation_data`.
        split: of it.
        max_bytes: of the data.
        timeout_s: for making the file.
    """

    source: str
    split: str
    max_bytes: int
    timeout_s: float


class EvaluationSource:
    """The questions, as well as they are known.

    Args:
        wanted: what the settings say.
        folder: for the file.
        log: for what fails.
        clock: seconds that are never set back.
    """

    def __init__(
        self,
        wanted: Wanted,
        *,
        folder: Path,
        log: FilteringBoundLogger,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wanted = wanted
        self._path = folder / "evaluation-questions.db"
        self._log = log
        self._clock = clock
        self._process: subprocess.Popen[str] | None = None
        self._origin = Origin(wanted.source, wanted.split)
        self._ends_at = 0.0
        self._failures = 0
        self._next_at = 0.0
        self._found: QuestionFile | None = None
        self._embedded: Embedded | None = None

    @property
    def settled(self) -> bool:
        """Whether it is known which questions serve: there is nothing to wait for."""
        return self._shipped or self._found is not None or self._failures > 0

    @property
    def pids(self) -> list[int]:
        """Of the process that makes the file, while there is one."""
        process = self._process
        return [] if process is None else [process.pid]

    def questions(self) -> Questions:
        """The questions that serve now.

        Raises:
            DataError: not even the embedded ones can be read: the installation is damaged.
        """
        if self._found is not None:
            return self._found
        self._embedded = self._embedded or Embedded()
        return self._embedded

    def distrust(self) -> None:
        """The questions that serve could not be read: make them anew."""
        self._found = None
        self._next_at = 0.0

    def tick(self) -> None:
        """Begin, follow or end the making of the file; never waits."""
        if self._shipped or self._found is not None:
            return
        if self._process is not None:
            self._follow(self._process)
        elif self._clock() >= self._next_at:
            self._begin()

    def stop(self) -> None:
        """End a process that is under way."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    @property
    def _shipped(self) -> bool:
        name = self._wanted.source
        return name == evaluation_set.NAME and not Path(name).exists()

    def _begin(self) -> None:
        self._origin = Origin.of(self._wanted.source, self._wanted.split)
        try:
            self._found = QuestionFile(self._path, origin=self._origin)
        except DataError as error:
            if self._path.exists():
                self._log.info("evaluation_data_stale", reason=str(error))
        else:
            self._tell("evaluation_data_kept")
            return
        wanted = self._wanted
        self._ends_at = self._clock() + wanted.timeout_s + _GRACE_S
        try:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "edgeqa_agent.evaluation_data"),
                    *("--split", wanted.split, "--output", str(self._path)),
                    *("--max-bytes", str(wanted.max_bytes)),
                    *("--timeout-s", str(wanted.timeout_s), "--", wanted.source),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                errors="replace",
            )
        except OSError as error:
            self._fail("invalid_data", f"no process can be started: {error.strerror}")

    def _follow(self, process: subprocess.Popen[str]) -> None:
        if process.poll() is None and self._clock() < self._ends_at:
            return
        process.kill()
        said, _ = process.communicate()
        self._process = None
        if process.returncode == 0:
            try:
                self._found = QuestionFile(self._path, origin=self._origin)
                self._failures = 0
                self._tell("evaluation_data_read")
            except DataError as error:
                self._fail(error.code, str(error))
            return
        self._fail(*_complaint(said[-_MAX_LINE_CHARS:], process.returncode, self._wanted.timeout_s))

    def _fail(self, code: str, reason: str) -> None:
        self._failures += 1
        wait_s = min(_MAX_RETRY_S, _RETRY_S * 2 ** min(self._failures - 1, 16))
        self._next_at = self._clock() + wait_s
        self._log.warning(
            "evaluation_data_failed",
            code=code,
            reason=reason,
            instead=evaluation_set.NAME,
            again_in_s=wait_s,
        )

    def _tell(self, event: str) -> None:
        dataset = self.questions().dataset
        self._log.info(
            event, name=dataset.name, questions=dataset.questions, fingerprint=dataset.fingerprint
        )


def _complaint(said: str, returncode: int, timeout_s: float) -> tuple[str, str]:
    """Code and reason of a process that ended without a file."""
    try:
        line = json.loads(said.strip().rpartition("\n")[2])
        return str(line["code"]), str(line["message"])
    except (ValueError, KeyError, TypeError):
        pass
    if returncode < 0:
        return "invalid_data", f"not read in {timeout_s:g} s, or ended by signal {-returncode}"
    return "invalid_data", f"its process ended with {returncode}"
