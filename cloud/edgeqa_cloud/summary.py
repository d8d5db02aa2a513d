"""The fleet in figures: a few grouped statements, whatever its size."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, case, func, select

from edgeqa.histogram import Recorder
from edgeqa.telemetry_messages import RecordKind
from edgeqa_cloud.fleet_views import (
    THROTTLE_FLAGS,
    FleetSummary,
    LatencySummary,
    ModelSummary,
    ModelView,
)
from edgeqa_cloud.presence import Presence
from edgeqa_cloud.presence_column import presence_column
from edgeqa_cloud.serving_history import HOUR_MS, MINUTE_MS, merge_into, rounded
from edgeqa_cloud.tables import devices, fleet_hours, gaps, quarantine, records, rollups

# Records and roll-ups whose histograms are merged: two hours of 10,000 devices.
MAX_MERGED = 20_000
_RECENT_MS = 15 * MINUTE_MS


def fleet_summary(connection: Connection, *, now_ms: int) -> FleetSummary:
    """Counts and weighted means of all devices."""
    judged = presence_column(now_ms)
    presence = {
        Presence(name): count
        for name, count in connection.execute(
            select(judged, func.count()).select_from(devices).group_by(judged)
        )
    }
    models = model_summaries(connection, now_ms=now_ms)
    hottest, throttled = _heat(connection, now_ms)
    return FleetSummary(
        now_ms=now_ms,
        devices=sum(presence.values()),
        presence={one: presence.get(one, 0) for one in Presence},
        models=models,
        evaluation_questions=sum(one.evaluation_questions for one in models),
        exact_match=_mean([(one.exact_match, one.evaluation_questions) for one in models]),
        f1=_mean([(one.f1, one.evaluation_questions) for one in models]),
        latency=_latency(connection, now_ms),
        temperature_max_celsius=hottest,
        throttled=throttled,
        gap_records=gap_records(connection),
        quarantine=quarantined(connection),
    )


def model_summaries(connection: Connection, *, now_ms: int) -> list[ModelSummary]:
    """Devices and scores by model, most devices first."""
    c = devices.c
    asked = func.sum(case((c.exact_match.is_not(None), c.evaluation_questions), else_=0))
    online = func.sum(case((presence_column(now_ms) == Presence.ONLINE.value, 1), else_=0))
    rows = connection.execute(
        select(
            c.model_name,
            c.model_version,
            c.model_digest,
            func.count(),
            online,
            asked,
            func.sum(c.exact_match * c.evaluation_questions),
            func.sum(c.f1 * c.evaluation_questions),
        )
        .group_by(c.model_name, c.model_version, c.model_digest)
        .order_by(func.count().desc(), c.model_name, c.model_version, c.model_digest)
    )
    return [
        ModelSummary(
            model=None
            if name is None
            else ModelView(name=name, version=version or "", digest=digest),
            devices=count,
            online=there,
            evaluation_questions=int(questions or 0),
            exact_match=_ratio(em_points, questions),
            f1=_ratio(f1_points, questions),
        )
        for name, version, digest, count, there, questions, em_points, f1_points in rows
    ]


def gap_records(connection: Connection) -> dict[str, int]:
    """Records that are missing, by state."""
    rows = connection.execute(
        select(gaps.c.state, func.sum(gaps.c.last - gaps.c.first + 1))
        .where(gaps.c.state != "filled")
        .group_by(gaps.c.state)
    )
    found: dict[str, int] = {state: int(count) for state, count in rows}
    return {state: found.get(state, 0) for state in ("open", "lost")}


def quarantined(connection: Connection) -> dict[str, int]:
    """Messages in quarantine by code, most first."""
    rows = connection.execute(
        select(quarantine.c.code, func.count().label("messages"))
        .group_by(quarantine.c.code)
        .order_by(func.count().desc(), quarantine.c.code)
    )
    return {row.code: row.messages for row in rows}


def _heat(connection: Connection, now_ms: int) -> tuple[float | None, int]:
    hottest, throttled = None, 0
    rows = connection.execute(
        select(devices.c.temperature_celsius, devices.c.throttled).where(
            presence_column(now_ms) == Presence.ONLINE.value
        )
    )
    for temperature, flags in rows:
        if temperature is not None:
            hottest = temperature if hottest is None else max(hottest, temperature)
        throttled += bool(set(flags or ()) & set(THROTTLE_FLAGS))
    return hottest, throttled


def _latency(connection: Connection, now_ms: int) -> LatencySummary | None:
    """Of the last hour that is rolled up; of the last records where none is."""
    last_hour: int | None = connection.execute(
        select(func.max(rollups.c.start_ms)).where(
            rollups.c.period == "hour",
            rollups.c.start_ms >= now_ms // HOUR_MS * HOUR_MS - 2 * HOUR_MS,
            rollups.c.start_ms <= now_ms,
        )
    ).scalar_one()
    recorder = Recorder()
    if last_hour is not None:
        since_ms, until_ms = last_hour, last_hour + HOUR_MS
        for histogram in _hour(connection, last_hour):
            merge_into(recorder, histogram)
    else:
        since_ms, until_ms = now_ms - _RECENT_MS, now_ms
        payloads = connection.execute(
            select(records.c.payload)
            .where(records.c.received_ms >= since_ms, records.c.kind == RecordKind.TELEMETRY.value)
            .limit(MAX_MERGED)
        )
        for (payload,) in payloads:
            latency: dict[str, Any] = json.loads(payload).get("latency") or {}
            merge_into(recorder, latency.get("total"))
    merged = recorder.histogram()
    if not merged.count:
        return None
    return LatencySummary(
        since_ms=since_ms,
        until_ms=until_ms,
        questions=merged.count,
        p50_ms=rounded(merged.quantile(0.5)),
        p95_ms=rounded(merged.quantile(0.95)),
        p99_ms=rounded(merged.quantile(0.99)),
    )


def _hour(connection: Connection, start_ms: int) -> Iterable[dict[str, Any] | None]:
    """Histograms of an hour: the fleet's, or those of all devices until it is added up."""
    fleet = connection.execute(
        select(fleet_hours.c.total).where(fleet_hours.c.start_ms == start_ms)
    ).first()
    if fleet is not None:
        return [fleet.total]
    return connection.scalars(
        select(rollups.c.total)
        .where(rollups.c.period == "hour", rollups.c.start_ms == start_ms)
        .limit(MAX_MERGED)
    )


def _ratio(total: float | None, count: float | None) -> float | None:
    return round(float(total) / float(count), 4) if count and total is not None else None


def _mean(parts: list[tuple[float | None, int]]) -> float | None:
    known = [(value, weight) for value, weight in parts if value is not None]
    return _ratio(sum(value * weight for value, weight in known), sum(w for _, w in known))
