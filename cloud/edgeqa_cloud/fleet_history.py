"""The whole fleet over time: hours that are added up, and what came since, from records.

Of the last hours there are no roll-ups yet. They are cut into steps of some minutes; of each at
most `SAMPLE` records are read, which is all of them in a small fleet, and enough for a percentile
in a large one. A step that is over is read once.

Thread: any.
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from typing import Any

from pydantic import Field
from sqlalchemy import Connection, func, select

from edgeqa.telemetry_messages import RecordKind
from edgeqa_cloud.fleet_hours import FleetSum
from edgeqa_cloud.fleet_views import View
from edgeqa_cloud.serving_history import (
    HOUR_MS,
    MINUTE_MS,
    STEPS_MS,
    merge_into,
    rounded,
)
from edgeqa_cloud.tables import devices, evaluations, fleet_hours, records

MAX_POINTS = 150
SAMPLE = 200
# Parts of a step from which they are taken: devices report at all times of a minute.
_PARTS = 10
# Roll-ups of an hour come so long after its end, at the latest, unless the cloud was away.
_TAIL_MS = 2 * HOUR_MS
# A fleet younger than this is shown by the minute.
_YOUNG_MS = HOUR_MS
# Records are committed so much later than they came.
_SETTLE_MS = 15_000
_KEPT_STEPS = 1000


class FleetPoint(View):
    """The fleet in a span of time."""

    start_ms: int
    length_ms: int
    online: float = Field(description="Devices that served, on average over the span.")
    answered: int
    exact_match: float | None = Field(description="Weighted by questions, percent.")
    f1: float | None
    evaluation_questions: int
    p50_ms: float | None = Field(description="Of the whole answer, all devices together.")
    p95_ms: float | None
    p99_ms: float | None
    temperature_max_celsius: float | None


class FleetHistory(View):
    """The fleet over time."""

    now_ms: int
    since_ms: int
    step_ms: int = Field(description="Length of the spans, but for the newest: see `length_ms`.")
    points: list[FleetPoint] = Field(
        description="Oldest first; spans without records absent. The newest ones, of which there "
        "are no roll-ups yet, are from a sample of the records where there are many."
    )


class FleetPast:
    """Use `read`; it remembers steps that are over."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._steps: OrderedDict[tuple[int, int], FleetSum] = OrderedDict()

    def read(self, connection: Connection, *, since_ms: int, now_ms: int) -> FleetHistory:
        """The fleet since a time."""
        begun_ms = connection.execute(select(func.min(devices.c.first_seen_ms))).scalar()
        young = begun_ms is None or now_ms - begun_ms < _YOUNG_MS
        fine_ms = MINUTE_MS if young or now_ms - since_ms <= HOUR_MS else 5 * MINUTE_MS
        step_ms = _step_for(now_ms - since_ms)
        sums, tail_ms = _hours(connection, since_ms, step_ms)
        tail_ms = max(since_ms, tail_ms, now_ms - _TAIL_MS - HOUR_MS)
        if begun_ms is not None:
            tail_ms = max(tail_ms, begun_ms - fine_ms)
        points = [_point(start, step_ms, one, whole) for start, (one, whole) in sums.items()]
        scores = _scores(connection, tail_ms // fine_ms * fine_ms, fine_ms)
        for start in range(tail_ms // fine_ms * fine_ms, now_ms, fine_ms):
            one = self._step(connection, start, fine_ms, now_ms)
            one_scored = FleetSum(
                covered_s=one.covered_s, answered=one.answered, total=one.total,
                temperature=one.temperature,
            )  # fmt: skip
            one_scored.scored(*scores.get(start, (0, None, None)))
            if one_scored.covered_s or one_scored.questions:
                length_ms = min(fine_ms, now_ms - start)
                points.append(_point(start, fine_ms, one_scored, length_ms))
        return FleetHistory(now_ms=now_ms, since_ms=since_ms, step_ms=step_ms, points=points)

    def _step(self, connection: Connection, start_ms: int, length_ms: int, now_ms: int) -> FleetSum:
        key = (start_ms, length_ms)
        with self._lock:
            found = self._steps.get(key)
        if found is not None:
            return found
        found = _sample(connection, start_ms, start_ms + length_ms)
        if start_ms + length_ms + _SETTLE_MS < now_ms:
            with self._lock:
                self._steps[key] = found
                while len(self._steps) > _KEPT_STEPS:
                    self._steps.popitem(last=False)
        return found


def _step_for(span_ms: int) -> int:
    steps = [one for one in STEPS_MS if one >= HOUR_MS]
    return next((step for step in steps if span_ms <= step * MAX_POINTS), steps[-1])


def _hours(
    connection: Connection, since_ms: int, step_ms: int
) -> tuple[dict[int, tuple[FleetSum, int]], int]:
    """Sums of steps with the time that they cover, and the end of the last hour."""
    rows = connection.execute(
        select(fleet_hours)
        .where(fleet_hours.c.start_ms >= since_ms // HOUR_MS * HOUR_MS)
        .order_by(fleet_hours.c.start_ms)
    )
    sums: dict[int, tuple[FleetSum, int]] = {}
    end_ms = 0
    for row in rows:
        start_ms = row.start_ms // step_ms * step_ms
        one, covered_ms = sums.get(start_ms, (FleetSum(), 0))
        one.covered_s += row.covered_s
        one.answered += row.answered
        merge_into(one.total, row.total)
        one.heat(row.temperature_max_celsius)
        one.scored(row.evaluation_questions, row.exact_match, row.f1)
        sums[start_ms] = (one, covered_ms + HOUR_MS)
        end_ms = row.start_ms + HOUR_MS
    return sums, end_ms


def _scores(
    connection: Connection, since_ms: int, step_ms: int
) -> dict[int, tuple[int, float | None, float | None]]:
    """Questions, EM and F1 of evaluations, by step."""
    c = evaluations.c
    step = c.time_ms - c.time_ms % step_ms
    asked = func.sum(c.questions)
    rows = connection.execute(
        select(
            step,
            asked,
            func.sum(c.exact_match * c.questions) / asked,
            func.sum(c.f1 * c.questions) / asked,
        )
        .where(c.time_ms >= since_ms)
        .group_by(step)
    )
    return {
        start: (int(questions), float(exact_match), float(f1))
        for start, questions, exact_match, f1 in rows
        if questions
    }


def _sample(connection: Connection, start_ms: int, end_ms: int) -> FleetSum:
    """A step, from records that came in it: all of them, or some of each part of it."""
    c = records.c
    came = (c.received_ms >= start_ms, c.received_ms < end_ms)
    # Of the index alone; records that are no telemetry are few.
    count = connection.execute(select(func.count()).select_from(records).where(*came)).scalar_one()
    parts = 1 if count <= SAMPLE else _PARTS
    length_ms = (end_ms - start_ms) // parts
    total = FleetSum()
    read = 0
    for part_ms in range(start_ms, end_ms - length_ms + 1, length_ms):
        rows = connection.execute(
            select(c.kind, c.time_ms, c.payload)
            .where(c.received_ms >= part_ms, c.received_ms < part_ms + length_ms)
            .limit(SAMPLE // parts)
        )
        for kind, time_ms, payload in rows:
            read += 1
            # What was on its way for long belongs to another step.
            if kind == RecordKind.TELEMETRY and time_ms >= start_ms - 2 * (end_ms - start_ms):
                _add(total, json.loads(payload))
    share = count / read if read else 1.0
    total.covered_s *= share
    total.answered = round(total.answered * share)
    return total


def _add(total: FleetSum, record: dict[str, Any]) -> None:
    total.covered_s += record.get("interval_s") or 0.0
    total.answered += (record.get("outcomes") or {}).get("answered", 0)
    merge_into(total.total, (record.get("latency") or {}).get("total"))
    total.heat(record.get("temperature_max_celsius") or record.get("temperature_celsius"))


def _point(start_ms: int, step_ms: int, one: FleetSum, covered_ms: int) -> FleetPoint:
    exact_match, f1 = one.scores
    total = one.total.histogram()
    return FleetPoint(
        start_ms=start_ms,
        length_ms=step_ms,
        online=round(one.covered_s * 1000 / max(covered_ms, 1), 2),
        answered=one.answered,
        exact_match=exact_match,
        f1=f1,
        evaluation_questions=one.questions,
        p50_ms=rounded(total.quantile(0.5)),
        p95_ms=rounded(total.quantile(0.95)),
        p99_ms=rounded(total.quantile(0.99)),
        temperature_max_celsius=one.temperature,
    )
