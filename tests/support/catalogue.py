"""A cloud that reads a repository, at a time that a test says."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import structlog
from sqlalchemy import select
from structlog.testing import LogCapture

from edgeqa.repository.fetching import FetchLimits
from edgeqa.repository.repository_url import parse_repository_url
from edgeqa_cloud.database import Database
from edgeqa_cloud.packages.catalogue import PackageError, catalogue_view, find_package
from edgeqa_cloud.packages.catalogue_job import CatalogueJob
from edgeqa_cloud.packages.signed_list import SignedRepository
from edgeqa_cloud.rollout.tables import packages
from edgeqa_cloud.rollout.views import CatalogueView, PackageView
from support.fetching import FakeTime


@dataclass
class Cloud:
    """One cloud process, as far as packages go.

    Attributes:
        now_ms: by its clock.
    """

    database: Database
    url: str
    root: bytes
    folder: Path
    now_ms: int
    limits: FetchLimits = field(default_factory=lambda: FetchLimits(timeout_s=20, retries=1))
    stop: threading.Event = field(default_factory=threading.Event)
    log: LogCapture = field(default_factory=LogCapture)
    time: FakeTime = field(default_factory=FakeTime)
    every_s: float = 3600.0

    def __post_init__(self) -> None:
        logger: Any = structlog.wrap_logger(None, processors=[self.log])
        self._source = SignedRepository(
            url=parse_repository_url(self.url), root=self.root, folder=self.folder,
            limits=self.limits, now=lambda: self.now_ms / 1000, stop=self.stop, log=logger,
            timing=self.time.timing(),
        )  # fmt: skip
        self.job = CatalogueJob(
            database=self.database, source=self._source, shown=self.url, every_s=self.every_s,
            now_ms=lambda: self.now_ms, stop=self.stop, log=logger,
        )  # fmt: skip

    def read(self) -> CatalogueView:
        """Read the repository once; what is told of it then."""
        self.job.read()
        return self.view()

    def view(self) -> CatalogueView:
        """What is told."""
        with self.database.reading() as connection:
            return catalogue_view(connection)

    def offered(self) -> list[str]:
        """What can be rolled out."""
        with self.database.reading() as connection:
            rows = connection.execute(select(packages).where(packages.c.gone_ms.is_(None)))
            return sorted(f"{row.name} {row.version}" for row in rows)

    def find(
        self, name: str = "tiny", version: str = "1.0.0", digest: str | None = None
    ) -> PackageView:
        """As whoever makes a rollout does."""
        with self.database.reading() as connection:
            return find_package(connection, name, version, digest, now_ms=self.now_ms)

    def refusal(
        self, name: str = "tiny", version: str = "1.0.0", digest: str | None = None
    ) -> PackageError:
        """Why a package cannot be rolled out; it must not be."""
        with pytest.raises(PackageError) as caught:
            self.find(name, version, digest)
        assert "\n" not in str(caught.value)
        return caught.value

    def events(self, name: str) -> list[Any]:
        """What was logged under a name."""
        return [entry for entry in self.log.entries if entry["event"] == name]
