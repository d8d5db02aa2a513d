"""The repository that the cloud's settings name."""

from __future__ import annotations

import threading
from collections.abc import Callable

from structlog.typing import FilteringBoundLogger

from edgeqa.commands import unix_ms
from edgeqa.repository.fetching import FetchLimits
from edgeqa.repository.repository_url import parse_repository_url, read_root
from edgeqa_cloud.database import Database
from edgeqa_cloud.packages.catalogue_job import CatalogueJob
from edgeqa_cloud.packages.signed_list import SignedRepository
from edgeqa_cloud.settings import CloudSettings

# Less patience than a device on a mobile link has: the next turn comes soon.
_LIMITS = FetchLimits(timeout_s=20.0, retries=2)


def wire_catalogue(
    settings: CloudSettings,
    database: Database,
    log: FilteringBoundLogger,
    ready: Callable[[], bool] = lambda: True,
) -> CatalogueJob | None:
    """The job, not started; None where the settings name no repository.

    Args:
        ready: whether the tables are there.

    Raises:
        ConfigError: the root of trust cannot be read, or is none.
    """
    if settings.repository is None or settings.repository_root is None:
        return None
    stop = threading.Event()
    source = SignedRepository(
        url=parse_repository_url(settings.repository),
        root=read_root(settings.repository_root),
        folder=settings.repository_folder,
        limits=_LIMITS,
        now=lambda: unix_ms() / 1000,
        stop=stop,
        log=log,
    )
    return CatalogueJob(
        database=database,
        source=source,
        shown=settings.repository,
        every_s=settings.repository_every_s,
        now_ms=unix_ms,
        stop=stop,
        log=log,
        ready=ready,
    )
