"""The repository that an agent's settings name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from threading import Event

from structlog.typing import FilteringBoundLogger

from edgeqa.model_messages import Desired
from edgeqa.repository.clock import Clock
from edgeqa.repository.repository_url import read_root
from edgeqa_agent.obtain import Source
from edgeqa_agent.settings import AgentSettings

_MIB = 1 << 20


def repository_source(
    settings: AgentSettings, clock: Clock, log: FilteringBoundLogger
) -> Source | None:
    """Fetches packages from the settings' repository; None where they name none.

    Raises:
        ConfigError: the root of trust cannot be read.
    """
    if settings.repository is None or settings.repository_root is None:
        return None
    # Imported here: a device without a repository does without TUF's memory.
    from edgeqa_agent.fetch import FetchLimits, Repository  # noqa: PLC0415

    repository = Repository(
        url=settings.repository,
        root=read_root(settings.repository_root),
        folder=settings.resolved_state_dir() / "tuf",
        limits=FetchLimits(
            rate_bytes_s=settings.fetch_rate_bytes_s,
            timeout_s=settings.fetch_timeout_s,
            retries=settings.fetch_retries,
            reserve_bytes=settings.disk_reserve_mb * _MIB,
            max_package_bytes=settings.max_package_mb * _MIB,
        ),
        clock=clock,
        log=log,
    )

    def fetch(wish: Desired, into: Path, progress: Callable[[int, int], None], stop: Event) -> None:
        repository.fetch(wish, into, progress=progress, stop=stop)

    return fetch
