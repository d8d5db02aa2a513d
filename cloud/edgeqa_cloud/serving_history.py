"""How one device served over a span of time: from raw records, or from roll-ups where they must do.

The span is cut into at most `MAX_POINTS` steps. Daily roll-ups serve long spans, hourly ones middle
ones, and what no roll-up holds yet is read from the records themselves.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Row, select

from edgeqa.histogram import Histogram, Recorder
from edgeqa.telemetry_messages import RecordKind
from edgeqa_cloud.fleet_views import ServingPoint
from edgeqa_cloud.tables import boots, records, rollups

MAX_POINTS = 120
MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
STEPS_MS = (5 * MINUTE_MS, 15 * MINUTE_MS, HOUR_MS, 3 * HOUR_MS, 6 * HOUR_MS, DAY_MS, 7 * DAY_MS,
            30 * DAY_MS)  # fmt: skip
# Up to here records are read: a device with a record a minute has 720 of them.
_RAW_SPAN_MS = 12 * HOUR_MS
_HOURS_SPAN_MS = 14 * DAY_MS
# The last hour of a day is rolled up some minutes after its end.
_SETTLE_MS = 2 * HOUR_MS
# More than a week of records, one a minute: what the tail behind the roll-ups can hold at most.
MAX_RECORDS = 20_000
MAX_ROLLUPS = 20_000


@dataclass(slots=True)
class Sum:
    """What some records or roll-ups add up to."""

    covered_s: float = 0.0
    answered: int = 0
    refused: int = 0
    reconnects: int = 0
    total: Recorder = field(default_factory=Recorder)
    inference: Recorder = field(default_factory=Recorder)
    temperature: float | None = None
    resident: int | None = None
    load_s: float = 0.0  # CPU load times seconds
    loaded_s: float = 0.0

    def outcomes(self, outcomes: Mapping[str, int]) -> None:
        """Count questions by what became of them."""
        answered = outcomes.get("answered", 0)
        self.answered += answered
        self.refused += sum(outcomes.values()) - answered

    def load(self, load: float | None, seconds: float) -> None:
        """The processor was so busy for so long."""
        self.covered_s += seconds
        if load is not None and seconds > 0:
            self.load_s += load * seconds
            self.loaded_s += seconds

    def hottest(self, temperature: float | None, resident: int | None) -> None:
        """Keep the largest values."""
        if temperature is not None:
            before = self.temperature
            self.temperature = temperature if before is None else max(before, temperature)
        if resident is not None:
            self.resident = max(resident, self.resident or 0)

    def point(self, start_ms: int) -> ServingPoint:
        """The figures."""
        total, inference = self.total.histogram(), self.inference.histogram()
        return ServingPoint(
            start_ms=start_ms,
            covered_s=round(self.covered_s, 3),
            answered=self.answered,
            refused=self.refused,
            p50_ms=rounded(total.quantile(0.5)),
            p95_ms=rounded(total.quantile(0.95)),
            p99_ms=rounded(total.quantile(0.99)),
            inference_p95_ms=rounded(inference.quantile(0.95)),
            temperature_max_celsius=self.temperature,
            resident_bytes_max=self.resident,
            cpu_load_mean=round(self.load_s / self.loaded_s, 4) if self.loaded_s else None,
            reconnects=self.reconnects,
        )


def step_for(span_ms: int) -> int:
    """The shortest step of which so many cover a span."""
    return next((step for step in STEPS_MS if span_ms <= step * MAX_POINTS), STEPS_MS[-1])


def read_serving(
    connection: Connection, device_id: int, *, since_ms: int, until_ms: int
) -> tuple[int, list[ServingPoint], ServingPoint | None]:
    """Steps of a device's past.

    Returns:
        Length of a step, the steps that hold anything (oldest first), and all of them added up.
    """
    step_ms = step_for(until_ms - since_ms)
    sums: dict[int, Sum] = {}
    everything = Sum()
    for time_ms, part in _parts(connection, device_id, since_ms, until_ms):
        for one in (sums.setdefault(time_ms // step_ms * step_ms, Sum()), everything):
            _add_rollup(one, part) if isinstance(part, Row) else _add_record(one, part)
    points = [sums[start].point(start) for start in sorted(sums)]
    return step_ms, points, everything.point(since_ms) if points else None


def merge_into(recorder: Recorder, histogram: Mapping[str, Any] | None) -> None:
    """Add a histogram as the database holds it: it was validated when it was stored."""
    if histogram:
        recorder.merge(Histogram.model_construct(**histogram))


def rounded(value: float | None) -> float | None:
    """Milliseconds of a quantile: three digits are more than its bucket is wide."""
    return None if value is None else float(f"{value:.4g}")


def _parts(
    connection: Connection, device_id: int, since_ms: int, until_ms: int
) -> Iterator[tuple[int, Row[Any] | Mapping[str, Any]]]:
    span_ms, begin_ms = until_ms - since_ms, since_ms
    for period, length_ms, least_span_ms in (
        ("day", DAY_MS, _HOURS_SPAN_MS),
        ("hour", HOUR_MS, _RAW_SPAN_MS),
    ):
        if span_ms > least_span_ms:
            # A day is in the table from its first hour on: today's is not whole yet.
            whole_ms = until_ms - length_ms - (_SETTLE_MS if period == "day" else 0)
            for row in _rollups(connection, device_id, period, begin_ms, whole_ms):
                yield row.start_ms, row
                # What comes next begins behind the last of these.
                begin_ms = max(begin_ms, row.start_ms + length_ms)
    for row in _records(connection, device_id, begin_ms, until_ms):
        yield row.time_ms, json.loads(row.payload)


def _rollups(
    connection: Connection, device_id: int, period: str, since_ms: int, latest_ms: int
) -> Sequence[Any]:
    return connection.execute(
        select(rollups)
        .where(
            rollups.c.device_id == device_id,
            rollups.c.period == period,
            rollups.c.start_ms >= since_ms,
            rollups.c.start_ms <= latest_ms,
        )
        .order_by(rollups.c.start_ms)
        .limit(MAX_ROLLUPS)
    ).all()


def _records(connection: Connection, device_id: int, since_ms: int, until_ms: int) -> Sequence[Any]:
    newest = (
        select(records.c.time_ms, records.c.payload)
        .join(boots, boots.c.id == records.c.boot)
        .where(
            boots.c.device_id == device_id,
            records.c.kind == RecordKind.TELEMETRY.value,
            records.c.time_ms >= since_ms,
            records.c.time_ms <= until_ms,
        )
        .order_by(records.c.time_ms.desc())
        .limit(MAX_RECORDS)
    )
    return connection.execute(newest).all()


def _add_rollup(one: Sum, row: Row[Any]) -> None:
    one.outcomes(row.outcomes or {})
    one.load(row.cpu_load_mean, row.covered_s)
    one.hottest(row.temperature_max_celsius, row.resident_bytes_max)
    one.reconnects += row.reconnects
    merge_into(one.total, row.total)
    merge_into(one.inference, row.inference)


def _add_record(one: Sum, record: Mapping[str, Any]) -> None:
    latency = record.get("latency") or {}
    processes = record.get("processes") or []
    temperatures = (record.get("temperature_celsius"), record.get("temperature_max_celsius"))
    known = [value for value in temperatures if value is not None]
    one.outcomes(record.get("outcomes") or {})
    one.load(record.get("cpu_load"), record.get("interval_s") or 0.0)
    one.hottest(
        max(known, default=None),
        sum(process["resident_bytes"] for process in processes) or None,
    )
    one.reconnects += record.get("reconnects") or 0
    merge_into(one.total, latency.get("total"))
    merge_into(one.inference, latency.get("inference"))
