"""Deleting what was kept long enough, a little at a time, so that the intake does not wait.

Raw records go by the time of their coming, not by their own: one that was a week on its way is
kept as long as any other. None goes before its hour is rolled up.

Thread: the jobs'. One collector at a time, with a lease.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Table, and_, delete, exists, func, select, tuple_

from edgeqa_cloud.database import Database
from edgeqa_cloud.enrolment import registry
from edgeqa_cloud.enrolment.tables import credentials
from edgeqa_cloud.gap_finder import OPEN
from edgeqa_cloud.rollout.tables import wishes
from edgeqa_cloud.rollups import DAY, DAY_MS, HOUR
from edgeqa_cloud.tables import (
    boots,
    evaluations,
    fleet_hours,
    gaps,
    records,
    rollups,
    rollups_due,
    swaps,
)

# Rows in one transaction: some tens of milliseconds.
_ROWS = 1000


@dataclass(frozen=True, slots=True)
class KeepDays:
    """How long what is kept, in days."""

    raw: float
    hours: float
    days: float


class Retention:
    """Use `delete` now and then."""

    def __init__(self, *, database: Database, keep: KeepDays) -> None:
        self._database = database
        self._keep = keep

    def delete(self, *, now_ms: int) -> Iterator[int]:
        """Delete what is old; yields the rows of each transaction, so that one can stop between."""
        raw_ms = now_ms - round(self._keep.raw * DAY_MS)
        hours_ms = now_ms - round(self._keep.hours * DAY_MS)
        days_ms = now_ms - round(self._keep.days * DAY_MS)
        if not self._behind(raw_ms):
            yield from self._some(records, records.c.received_ms < raw_ms)
        settled = exists().where(boots.c.id == gaps.c.boot, boots.c.settled >= gaps.c.last)
        yield from self._some(gaps, and_(gaps.c.found_ms < raw_ms, gaps.c.state != OPEN, settled))
        for period, before_ms in ((HOUR, hours_ms), (DAY, days_ms)):
            yield from self._some(
                rollups, and_(rollups.c.period == period, rollups.c.start_ms < before_ms)
            )
        yield from self._some(fleet_hours, fleet_hours.c.start_ms < days_ms)
        # What a device shall run, the broker retains; here it only says that it was published.
        yield from self._some(wishes, wishes.c.published_ms < hours_ms)
        yield from self._some(
            credentials, credentials.c.expires_ms < now_ms - registry.KEPT_DAYS * DAY_MS
        )
        for table in (evaluations, swaps):
            yield from self._some(table, table.c.time_ms < days_ms)

    def _behind(self, raw_ms: int) -> bool:
        """Whether hours of before are still to be rolled up."""
        oldest = select(func.min(rollups_due.c.start_ms))
        with self._database.reading() as connection:
            start_ms = connection.execute(oldest).scalar_one_or_none()
        return start_ms is not None and start_ms < raw_ms

    def _some(self, table: Table, old: ColumnElement[bool]) -> Iterator[int]:
        key = tuple_(*table.primary_key.columns)
        some = select(*table.primary_key.columns).where(old).limit(_ROWS)
        while True:
            with self._database.writing() as connection:
                gone = connection.execute(delete(table).where(key.in_(some))).rowcount
            if gone:
                yield gone
            if gone < _ROWS:
                return
