"""What the API and the pages are made of: one `Console` for both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from structlog.typing import FilteringBoundLogger

from edgeqa_cloud.database import Database
from edgeqa_cloud.fleet_figures import FleetFigures
from edgeqa_cloud.rollout.service import Rollouts
from edgeqa_cloud.settings import CloudSettings

if TYPE_CHECKING:
    from edgeqa_cloud.access.accounts import Accounts
    from edgeqa_cloud.api.asker import Asker
    from edgeqa_cloud.api.changes import Changes
    from edgeqa_cloud.packages.catalogue_job import CatalogueJob


@dataclass(frozen=True, slots=True)
class Console:
    """All parts.

    Attributes:
        database: migrated; its errors become 503.
        rollouts: reading, creating and ordering.
        accounts: who may do what.
        changes: live events.
        asker: asks devices over MQTT.
        catalogue: reads the repository; None: no repository is set, or another process reads it.
        now_ms: our clock.
        figures: of the whole fleet, a moment old.
    """

    database: Database
    settings: CloudSettings
    rollouts: Rollouts
    accounts: Accounts
    changes: Changes
    asker: Asker
    catalogue: CatalogueJob | None
    now_ms: Callable[[], int]
    log: FilteringBoundLogger
    figures: FleetFigures = field(init=False)

    def __post_init__(self) -> None:
        figures = FleetFigures(database=self.database, now_ms=self.now_ms)
        object.__setattr__(self, "figures", figures)
