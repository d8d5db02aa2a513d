"""Rolling finished hours up, and days from them.

Whoever stores a record notes that its hour is due, in the same transaction. Here each due hour is
added up anew from all its raw records, so that repeats and late ones cannot count twice; the note
goes only if no record came meanwhile. Once raw records are deleted an hour can only grow: a sum of
fewer records than are in the row already leaves it as it is.

Thread: the jobs'. One collector at a time, with a lease.
"""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

from pydantic import ValidationError
from sqlalchemy import Connection, delete, select
from sqlalchemy.exc import DataError
from structlog.typing import FilteringBoundLogger

from edgeqa.telemetry_messages import Evaluation, RecordKind
from edgeqa_cloud.bulk import Row, Upsert
from edgeqa_cloud.database import Database
from edgeqa_cloud.fleet_hours import mark_due
from edgeqa_cloud.reading import parse_telemetry
from edgeqa_cloud.recording import HOUR_MS, ROLLUP_AFTER_MS
from edgeqa_cloud.summing import NO_MODEL, PARTS, Sum
from edgeqa_cloud.tables import boots, records, rollups, rollups_due

HOUR, DAY = "hour", "day"
DAY_MS = 24 * HOUR_MS
# Hours of devices in one transaction: some tens of milliseconds.
_BATCH = 20

_KEY = ("device_id", "period", "start_ms", "model_digest")
_VALUES = (
    "records", "covered_s", "answered", "outcomes", *PARTS, "temperature_max_celsius",
    "resident_bytes_max", "cpu_load_mean", "reconnects", "evaluations", "evaluation_questions",
    "exact_match", "f1",
)  # fmt: skip
_JSON = ("outcomes", *PARTS)
_ROWS = Upsert(
    rollups,
    (*_KEY, *_VALUES),
    key=_KEY,
    changes=lambda new: {name: new[name] for name in _VALUES},
    where=lambda new: new.records >= rollups.c.records,
)

Sums = dict[str, Sum]
Due = tuple[int, int, int]


class Rollups:
    """Use `roll_up` now and then."""

    def __init__(self, *, database: Database, log: FilteringBoundLogger) -> None:
        self._database = database
        self._log = log

    def roll_up(self, *, now_ms: int) -> int:
        """Roll some due hours up; how many. 0: none is due."""
        with self._database.reading() as connection:
            due = _due(connection, now_ms)
            summed = [(one, self._sum(connection, one)) for one in due]
        if not summed:
            return 0
        try:
            self._write(summed, now_ms)
        except (DataError, OverflowError, ValidationError):
            for one in summed:
                self._write_or_give_up(one, now_ms)
        return len(summed)

    def _write_or_give_up(self, one: tuple[Due, Sums], now_ms: int) -> None:
        try:
            self._write([one], now_ms)
        except (DataError, OverflowError, ValidationError) as error:
            (device_id, start_ms, _), _ = one
            self._log.error(
                "rollup_given_up", device_id=device_id, start_ms=start_ms, reason=str(error)[:300]
            )
            self._write([(one[0], {})], now_ms)

    def _write(self, summed: list[tuple[Due, Sums]], now_ms: int) -> None:
        with self._database.writing() as connection:
            days, hours = set(), set()
            for (device_id, start_ms, mark), sums in summed:
                if not _settle(connection, device_id, start_ms, mark) or not sums:
                    continue
                rows = [_row(device_id, HOUR, start_ms, *one) for one in sorted(sums.items())]
                _ROWS.run(connection, rows)
                days.add((device_id, start_ms // DAY_MS * DAY_MS))
                hours.add(start_ms)
            for device_id, start_ms in sorted(days):
                sums = _hours(connection, device_id, start_ms)
                rows = [_row(device_id, DAY, start_ms, *one) for one in sorted(sums.items())]
                _ROWS.run(connection, rows)
            mark_due(connection, hours, now_ms=now_ms)

    def _sum(self, connection: Connection, due: Due) -> Sums:
        device_id, start_ms, _ = due
        query = (
            select(records.c.kind, records.c.payload)
            .join(boots, boots.c.id == records.c.boot)
            .where(
                boots.c.device_id == device_id,
                records.c.time_ms >= start_ms,
                records.c.time_ms < start_ms + HOUR_MS,
                records.c.kind.in_((RecordKind.TELEMETRY, RecordKind.EVALUATION)),
            )
        )
        sums: Sums = defaultdict(Sum)
        for kind, payload in connection.execute(query):
            if kind == RecordKind.TELEMETRY:
                served = parse_telemetry(payload.encode())
                digest = NO_MODEL if served.model is None else served.model.digest
                sums[digest].add_telemetry(served)
            else:
                scored = Evaluation.model_validate_json(payload)
                sums[scored.model.digest].add_evaluation(scored)
        return sums


def _due(connection: Connection, now_ms: int) -> list[Due]:
    query = (
        select(rollups_due.c.device_id, rollups_due.c.start_ms, rollups_due.c.mark)
        .where(rollups_due.c.start_ms <= now_ms - HOUR_MS - ROLLUP_AFTER_MS)
        .order_by(rollups_due.c.start_ms, rollups_due.c.device_id)
        .limit(_BATCH)
    )
    return [(row[0], row[1], row[2]) for row in connection.execute(query)]


def _settle(connection: Connection, device_id: int, start_ms: int, mark: int) -> bool:
    """Take the note away, if it is still the one that was read before the records were."""
    gone = delete(rollups_due).where(
        rollups_due.c.device_id == device_id,
        rollups_due.c.start_ms == start_ms,
        rollups_due.c.mark == mark,
    )
    return bool(connection.execute(gone).rowcount)


def _hours(connection: Connection, device_id: int, start_ms: int) -> Sums:
    query = select(rollups).where(
        rollups.c.device_id == device_id,
        rollups.c.period == HOUR,
        rollups.c.start_ms >= start_ms,
        rollups.c.start_ms < start_ms + DAY_MS,
    )
    sums: Sums = defaultdict(Sum)
    for row in connection.execute(query).mappings():
        sums[row["model_digest"]].add_row(dict(row))
    return sums


def _row(device_id: int, period: str, start_ms: int, digest: str, total: Sum) -> Row:
    values: dict[str, Any] = total.values()
    for name in _JSON:
        values[name] = None if values[name] is None else json.dumps(values[name])
    return (device_id, period, start_ms, digest, *(values[name] for name in _VALUES))
