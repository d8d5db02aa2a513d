"""The jobs beside the intake, wired together."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass

from structlog.typing import FilteringBoundLogger

from edgeqa.commands import unix_ms
from edgeqa.packets import Outgoing
from edgeqa.topics import client_answers
from edgeqa_cloud.asking import AskingRules
from edgeqa_cloud.database import Database
from edgeqa_cloud.fleet_hours import FleetHours
from edgeqa_cloud.gap_finder import GapFinder
from edgeqa_cloud.jobs import Jobs
from edgeqa_cloud.resend import Resend
from edgeqa_cloud.retention import KeepDays, Retention
from edgeqa_cloud.rollups import Rollups
from edgeqa_cloud.settings import CloudSettings
from edgeqa_cloud.watching import Watcher


@dataclass(frozen=True, slots=True)
class Side:
    """The jobs, and who reads the devices' replies."""

    jobs: Jobs
    resend: Resend


def wire_jobs(
    *,
    settings: CloudSettings,
    database: Database,
    publish: Callable[[Outgoing], None],
    watcher: Watcher,
    log: FilteringBoundLogger,
) -> Side:
    """All parts, not started."""
    resend = Resend(
        database=database,
        finder=GapFinder(database=database, watcher=watcher),
        publish=publish,
        reply_topic=client_answers(settings.name, user=settings.broker_username),
        rules=AskingRules(
            settle_ms=round(1000 * settings.gap_settle_s),
            retry_ms=round(1000 * settings.gap_retry_s),
            tries=settings.gap_tries,
        ),
        watcher=watcher,
        log=log,
    )
    jobs = Jobs(
        database=database,
        resend=resend,
        rollups=Rollups(database=database, log=log),
        fleet_hours=FleetHours(database=database),
        retention=Retention(
            database=database,
            keep=KeepDays(
                settings.raw_keep_days, settings.hours_keep_days, settings.days_keep_days
            ),
        ),
        # Two with one name, by mistake, must not both hold it.
        holder=f"{settings.name}-{secrets.token_hex(4)}",
        every_s=settings.jobs_every_s,
        now_ms=unix_ms,
        log=log,
    )
    return Side(jobs=jobs, resend=resend)
