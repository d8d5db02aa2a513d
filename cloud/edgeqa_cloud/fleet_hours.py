"""Hours of the whole fleet: the roll-ups of all devices added up, so that a chart of a month reads
some hundred rows and not some million.

An hour is due when a roll-up of it changed. It is added up anew, whole, when no more changed for
a while: ten thousand roll-ups of an hour come within a minute, not one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, delete, select

from edgeqa.histogram import Recorder
from edgeqa_cloud.bulk import Upsert
from edgeqa_cloud.database import Database
from edgeqa_cloud.serving_history import merge_into
from edgeqa_cloud.tables import fleet_hours, fleet_hours_due, rollups

SETTLE_MS = 30_000
# Rows that are read before others of this process have their turn.
_PART = 500
_VALUES = (
    "devices", "covered_s", "answered", "refused", "total", "temperature_max_celsius",
    "evaluation_questions", "exact_match", "f1",
)  # fmt: skip
_ROWS = Upsert(
    fleet_hours,
    ("start_ms", *_VALUES),
    key=("start_ms",),
    changes=lambda new: {name: new[name] for name in _VALUES},
)
_DUE = Upsert(
    fleet_hours_due,
    ("start_ms", "mark_ms"),
    key=("start_ms",),
    changes=lambda new: {"mark_ms": new.mark_ms},
)


@dataclass(slots=True)
class FleetSum:
    """What some roll-ups, or hours of the fleet, add up to."""

    devices: set[int] = field(default_factory=set)
    covered_s: float = 0.0
    answered: int = 0
    refused: int = 0
    total: Recorder = field(default_factory=Recorder)
    temperature: float | None = None
    questions: int = 0
    exact: float = 0.0
    f1: float = 0.0

    def scored(self, questions: int, exact_match: float | None, f1: float | None) -> None:
        """An evaluation, or the mean of some."""
        if questions and exact_match is not None and f1 is not None:
            self.questions += questions
            self.exact += exact_match * questions
            self.f1 += f1 * questions

    def heat(self, celsius: float | None) -> None:
        """Keep the highest."""
        if celsius is not None:
            before = self.temperature
            self.temperature = celsius if before is None else max(celsius, before)

    @property
    def scores(self) -> tuple[float | None, float | None]:
        """EM and F1, weighted by questions."""
        if not self.questions:
            return None, None
        return round(self.exact / self.questions, 4), round(self.f1 / self.questions, 4)


def mark_due(connection: Connection, hours: Iterable[int], *, now_ms: int) -> None:
    """Roll-ups of these hours changed.

    Args:
        connection: the transaction that changes them.
    """
    _DUE.run(connection, [(start_ms, now_ms) for start_ms in sorted(set(hours))])


class FleetHours:
    """Use `add_up` now and then."""

    def __init__(self, *, database: Database) -> None:
        self._database = database

    def add_up(self, *, now_ms: int) -> bool:
        """Add the newest due hour up; whether there was one."""
        with self._database.reading() as connection:
            due = connection.execute(
                select(fleet_hours_due)
                .where(fleet_hours_due.c.mark_ms <= now_ms - SETTLE_MS)
                .order_by(fleet_hours_due.c.start_ms.desc())
                .limit(1)
            ).first()
            if due is None:
                return False
            total = _sum(connection, due.start_ms)
        with self._database.writing() as connection:
            settled = delete(fleet_hours_due).where(
                fleet_hours_due.c.start_ms == due.start_ms,
                fleet_hours_due.c.mark_ms == due.mark_ms,
            )
            if connection.execute(settled).rowcount and total.covered_s + total.questions:
                _ROWS.run(connection, [_row(due.start_ms, total)])
        return True


def _sum(connection: Connection, start_ms: int) -> FleetSum:
    c = rollups.c
    rows = connection.execution_options(yield_per=_PART).execute(
        select(
            c.device_id, c.covered_s, c.answered, c.outcomes, c.total, c.temperature_max_celsius,
            c.evaluation_questions, c.exact_match, c.f1,
        ).where(c.period == "hour", c.start_ms == start_ms)
    )  # fmt: skip
    total = FleetSum()
    for row in rows:
        _add(total, row)
    return total


def _add(total: FleetSum, row: Any) -> None:
    if row.covered_s:
        total.devices.add(row.device_id)
    total.covered_s += row.covered_s
    total.answered += row.answered
    total.refused += sum((row.outcomes or {}).values()) - row.answered
    merge_into(total.total, row.total)
    total.heat(row.temperature_max_celsius)
    total.scored(row.evaluation_questions, row.exact_match, row.f1)


def _row(start_ms: int, total: FleetSum) -> tuple[Any, ...]:
    histogram = total.total.histogram()
    exact_match, f1 = total.scores
    return (
        start_ms, len(total.devices), round(total.covered_s, 3), total.answered, total.refused,
        json.dumps(histogram.model_dump()) if histogram.count else None, total.temperature,
        total.questions, exact_match, f1,
    )  # fmt: skip
