"""A device that fetches packages as the agent does, and time that a test makes pass."""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import structlog
from structlog.testing import LogCapture

from edgeqa.manifest import Package, open_package
from edgeqa.repository.clock import Clock
from edgeqa.repository.pace import Timing
from edgeqa_agent.fetch import FetchError, FetchLimits, Repository, Wanted

TINY = Wanted("tiny", "1.0.0")
# Large enough to be cut in the middle, and no repetition that could hide a wrong offset.
WEIGHTS = random.Random(1).randbytes(300_000)


@dataclass
class FakeTime:
    """Seconds pass only by waiting, and at once."""

    now: float = 100.0
    waits: list[float] = field(default_factory=list)

    def wait(self, event: threading.Event, seconds: float) -> bool:
        self.waits.append(seconds)
        self.now += seconds
        return event.is_set()

    def timing(self) -> Timing:
        return Timing(monotonic=lambda: self.now, wait=self.wait, jitter=lambda: 0.5)


@dataclass
class Fetcher:
    """A device with an empty disk.

    Attributes:
        error: what the last fetch ended with.
        told: what it told of its progress.
    """

    folder: Path
    root: bytes
    limits: FetchLimits = field(default_factory=lambda: FetchLimits(timeout_s=20, reserve_bytes=0))
    time: FakeTime = field(default_factory=FakeTime)
    clock: Clock | None = None
    stop: threading.Event = field(default_factory=threading.Event)
    told: list[tuple[int, int]] = field(default_factory=list)
    error: FetchError | None = None
    log: LogCapture = field(default_factory=LogCapture)

    @property
    def trusted(self) -> Path:
        """Where it keeps what it has seen of the repository."""
        return self.folder / "trusted"

    @property
    def into(self) -> Path:
        """Where packages are fetched to."""
        path = self.folder / "staging"
        path.mkdir(parents=True, exist_ok=True)
        return path

    def repository(self, url: str, timing: Timing | None = None) -> Repository:
        """As the agent makes it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        log: Any = structlog.wrap_logger(None, processors=[self.log])
        return Repository(
            url=url,
            root=self.root,
            folder=self.trusted,
            limits=self.limits,
            clock=self.clock or Clock(self.folder),
            log=log,
            timing=timing or self.time.timing(),
        )

    def fetch(self, url: str, wanted: Wanted = TINY, *, timing: Timing | None = None) -> Package:
        """Fetch a package; it must succeed."""
        self.told.clear()
        self.repository(url, timing).fetch(
            wanted, self.into, progress=lambda *told: self.told.append(told), stop=self.stop
        )
        package = open_package(self.into)
        assert {path.name for path in self.into.iterdir()} == {
            "manifest.json",
            *package.manifest.files,
        }
        return package

    def refused(self, url: str, wanted: Wanted = TINY) -> str:
        """Fetch a package; gives the code of the error with which it must fail."""
        with pytest.raises(FetchError) as caught:
            self.fetch(url, wanted)
        self.error = caught.value
        assert "\n" not in str(self.error)
        return self.error.code

    def events(self, name: str) -> list[Any]:
        """What was logged under a name."""
        return [entry for entry in self.log.entries if entry["event"] == name]
