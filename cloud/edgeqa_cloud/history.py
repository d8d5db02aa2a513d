"""The history of one device: serving, evaluations, swaps, gaps and starts."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, select

from edgeqa_cloud.fleet_views import (
    BootView,
    DeviceHistory,
    EvaluationView,
    GapView,
    ModelView,
    PairedView,
    SwapView,
)
from edgeqa_cloud.queries import find_device
from edgeqa_cloud.serving_history import read_serving
from edgeqa_cloud.tables import boots, evaluations, gaps, swaps

# The newest of each: a year of evaluations, one every six hours.
MAX_ROWS = 1500


def device_history(
    connection: Connection, device: str, *, since_ms: int, now_ms: int
) -> DeviceHistory | None:
    """All of a device since a time; None if there is no such device."""
    found = find_device(connection, device, now_ms=now_ms)
    if found is None:
        return None
    device_id, view = found
    step_ms, serving, total = read_serving(
        connection, device_id, since_ms=since_ms, until_ms=now_ms
    )
    return DeviceHistory(
        now_ms=now_ms,
        since_ms=since_ms,
        step_ms=step_ms,
        device=view,
        serving=serving,
        total=total,
        evaluations=read_evaluations(connection, device_id, since_ms=since_ms),
        swaps=read_swaps(connection, device_id, since_ms=since_ms),
        gaps=read_gaps(connection, device_id),
        boots=read_boots(connection, device_id),
    )


def read_evaluations(
    connection: Connection, device_id: int, *, since_ms: int, limit: int = MAX_ROWS
) -> list[EvaluationView]:
    """Evaluations of a device, newest first."""
    table = evaluations
    rows = connection.execute(
        select(table)
        .where(table.c.device_id == device_id, table.c.time_ms >= since_ms)
        .order_by(table.c.time_ms.desc())
        .limit(limit)
    )
    return [evaluation_view(row) for row in rows]


def evaluation_view(row: Row[Any]) -> EvaluationView:
    """From a row of `evaluations`."""
    paired: dict[str, Any] | None = row.paired
    return EvaluationView(
        time_ms=row.time_ms,
        model=ModelView(name=row.model_name, version=row.model_version, digest=row.model_digest),
        trigger=row.trigger,
        dataset=row.dataset,
        fingerprint=row.fingerprint,
        slice_id=row.slice_id,
        questions=row.questions,
        exact_match=row.exact_match,
        exact_match_interval=(row.exact_match_low, row.exact_match_high),
        f1=row.f1,
        f1_interval=(row.f1_low, row.f1_high),
        total_ms=row.total_ms,
        p50_ms=row.p50_ms,
        p95_ms=row.p95_ms,
        p99_ms=row.p99_ms,
        paired=None if paired is None else PairedView.model_validate(paired),
    )


def read_swaps(
    connection: Connection, device_id: int, *, since_ms: int, limit: int = MAX_ROWS
) -> list[SwapView]:
    """Ends of swaps of a device, newest first."""
    rows = connection.execute(
        select(swaps)
        .where(swaps.c.device_id == device_id, swaps.c.time_ms >= since_ms)
        .order_by(swaps.c.time_ms.desc())
        .limit(limit)
    )
    return [
        SwapView(
            time_ms=row.time_ms,
            state=row.state,
            model=ModelView(name=row.name, version=row.version, digest=row.digest),
            rollout=row.rollout,
            code=row.code,
            message=row.message,
            duration_ms=row.duration_ms,
        )
        for row in rows
    ]


def read_gaps(connection: Connection, device_id: int, *, limit: int = MAX_ROWS) -> list[GapView]:
    """Records of a device that are missing, open or lost, newest first."""
    rows = connection.execute(
        select(gaps, boots.c.boot_id)
        .join(boots, boots.c.id == gaps.c.boot)
        .where(boots.c.device_id == device_id, gaps.c.state != "filled")
        .order_by(gaps.c.found_ms.desc())
        .limit(limit)
    )
    names = GapView.model_fields
    return [GapView.model_validate({name: getattr(row, name) for name in names}) for row in rows]


def read_boots(connection: Connection, device_id: int, *, limit: int = MAX_ROWS) -> list[BootView]:
    """Starts of a device's agent, newest first."""
    rows = connection.execute(
        select(boots)
        .where(boots.c.device_id == device_id)
        .order_by(boots.c.last_seen_ms.desc())
        .limit(limit)
    )
    names = BootView.model_fields
    return [BootView.model_validate({name: getattr(row, name) for name in names}) for row in rows]
