"""Lists that are leafed through by a cursor: evaluations and records, newest first.

A cursor names the last row of a page, so that rows which come meanwhile move nothing.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from pydantic import Field
from sqlalchemy import ColumnElement, Connection, false, select, tuple_

from edgeqa_cloud.api.described import read_cursor, write_cursor
from edgeqa_cloud.fleet_views import EvaluationView, View
from edgeqa_cloud.history import evaluation_view
from edgeqa_cloud.tables import boots, devices, evaluations, records
from edgeqa_cloud.targets.columns import is_storable

NEXT = "Cursor of the next page; null: this is the last."


class DeviceEvaluation(EvaluationView):
    """One evaluation of a device."""

    device: str


class EvaluationPage(View):
    """Some evaluations, newest first."""

    evaluations: list[DeviceEvaluation]
    next: str | None = Field(description=NEXT)


class RecordView(View):
    """A record as the device sent it."""

    time_ms: int
    received_ms: int
    boot_id: str
    seq: int
    kind: str
    record: dict[str, Any] = Field(description="See docs/telemetry.md.")


class RecordPage(View):
    """Some of a device's records, newest first."""

    records: list[RecordView]
    next: str | None = Field(description=NEXT)


@dataclass(frozen=True, slots=True)
class EvaluationFilter:
    """Which evaluations; None lets all through.

    Attributes:
        device_id: of this device.
        device: the same by its name.
        model: its name, or `NAME@VERSION`.
        trigger: why it was made.
        fingerprint: of the data set.
        since_ms: not older.
        until_ms: older.
    """

    device_id: int | None = None
    device: str | None = None
    model: str | None = None
    trigger: str | None = None
    fingerprint: str | None = None
    since_ms: int | None = None
    until_ms: int | None = None


def list_evaluations(
    connection: Connection, which: EvaluationFilter, *, limit: int, cursor: str | None
) -> EvaluationPage:
    """A page of evaluations."""
    table = evaluations
    key = (table.c.time_ms, table.c.boot, table.c.seq)
    query = select(table, devices.c.device).join(devices, devices.c.id == table.c.device_id)
    query = query.where(*_conditions(which))
    if cursor:
        query = query.where(tuple_(*key) < tuple_(*read_cursor(cursor, 3)))
    rows = connection.execute(query.order_by(*(one.desc() for one in key)).limit(limit + 1)).all()
    page, more = rows[:limit], len(rows) > limit
    return EvaluationPage(
        evaluations=[
            DeviceEvaluation(device=row.device, **evaluation_view(row).model_dump()) for row in page
        ],
        next=write_cursor(page[-1].time_ms, page[-1].boot, page[-1].seq) if more else None,
    )


def list_records(
    connection: Connection,
    device_id: int,
    *,
    kind: str | None,
    since_ms: int,
    limit: int,
    cursor: str | None,
) -> RecordPage:
    """A page of a device's records."""
    table = records
    key = (table.c.time_ms, table.c.boot, table.c.seq)
    query = (
        select(table, boots.c.boot_id)
        .join(boots, boots.c.id == table.c.boot)
        .where(boots.c.device_id == device_id, table.c.time_ms >= since_ms)
    )
    if kind is not None:
        query = query.where(table.c.kind == kind)
    if cursor:
        query = query.where(tuple_(*key) < tuple_(*read_cursor(cursor, 3)))
    rows = connection.execute(query.order_by(*(one.desc() for one in key)).limit(limit + 1)).all()
    page, more = rows[:limit], len(rows) > limit
    return RecordPage(
        records=[
            RecordView(
                time_ms=row.time_ms,
                received_ms=row.received_ms,
                boot_id=row.boot_id,
                seq=row.seq,
                kind=row.kind,
                record=_record(row.payload),
            )
            for row in page
        ],
        next=write_cursor(page[-1].time_ms, page[-1].boot, page[-1].seq) if more else None,
    )


def _record(payload: str) -> dict[str, Any]:
    """What came; nothing of what went to quarantine."""
    found = json.loads(payload) if payload else {}
    return found if isinstance(found, dict) else {}


def _conditions(which: EvaluationFilter) -> list[ColumnElement[bool]]:
    table = evaluations
    texts = (which.device, which.model, which.trigger, which.fingerprint)
    if not all(map(is_storable, filter(None, texts))):
        return [false()]
    found: list[ColumnElement[bool]] = []
    if which.device_id is not None:
        found.append(table.c.device_id == which.device_id)
    if which.device is not None:
        found.append(devices.c.device == which.device)
    if which.model is not None:
        name, _, version = which.model.partition("@")
        found.append(table.c.model_name == name)
        if version:
            found.append(table.c.model_version == version)
    if which.trigger is not None:
        found.append(table.c.trigger == which.trigger)
    if which.fingerprint is not None:
        found.append(table.c.fingerprint == which.fingerprint)
    if which.since_ms is not None:
        found.append(table.c.time_ms >= which.since_ms)
    if which.until_ms is not None:
        found.append(table.c.time_ms < which.until_ms)
    return found
