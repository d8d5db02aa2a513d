"""Births, wills, heartbeats and reports into the tables `devices` and `boots`.

Thread: the writer's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, case, func, select

from edgeqa.messages import ModelRef, Status
from edgeqa.model_messages import Reported
from edgeqa.topics import Kind
from edgeqa_cloud.bulk import Row, Upsert
from edgeqa_cloud.identities import Identities
from edgeqa_cloud.reading import Message, as_json, clean
from edgeqa_cloud.standing import Standing, heard, told
from edgeqa_cloud.stored import Stored
from edgeqa_cloud.tables import boots, devices

_CHUNK = 900
_KINDS = frozenset({Kind.HEARTBEAT, Kind.STATUS})
_DEVICE = ("id", "device", "first_seen_ms", "last_seen_ms")
_STANDING = ("presence", "presence_reason", "presence_ms", "boot_id", "heartbeat_interval_s",
             "skew_ms")  # fmt: skip
_BIRTH = ("agent_version", "onnxruntime_version", "groups", "hardware")
_MODEL = ("model_name", "model_version", "model_digest")


def _changing(columns: Sequence[str]) -> Upsert:
    """Of devices that are there; a value that is not said stays as it was."""
    return Upsert(
        devices,
        (*_DEVICE, *columns),
        key=("id",),
        changes=lambda new: {name: func.coalesce(new[name], devices.c[name]) for name in columns},
    )


_STANDINGS = Upsert(
    devices,
    (*_DEVICE, *_STANDING),
    key=("id",),
    changes=lambda new: {name: new[name] for name in ("last_seen_ms", *_STANDING)},
)
_BIRTHS = _changing((*_BIRTH, *_MODEL))
_REPORTS = _changing((*_MODEL, "reported", "reported_ms"))


def _least(new: ColumnElement[Any], old: ColumnElement[Any]) -> ColumnElement[Any]:
    """Of two that may be NULL: `least` and SQLite's `min` differ in that."""
    return case((new.is_(None), old), (old.is_(None), new), (new < old, new), else_=old)


def _most(new: ColumnElement[Any], old: ColumnElement[Any]) -> ColumnElement[Any]:
    return case((new.is_(None), old), (old.is_(None), new), (new > old, new), else_=old)


_BOOTS = Upsert(
    boots,
    ("id", "device_id", "boot_id", "first_seen_ms", "last_seen_ms", "epoch_ms", "announced",
     "announced_ms", "held_from"),
    key=("id",),
    changes=lambda new: {
        "epoch_ms": _least(new.epoch_ms, boots.c.epoch_ms),
        **{
            name: _most(new[name], boots.c[name])
            for name in ("last_seen_ms", "announced", "announced_ms", "held_from")
        },
    },
)  # fmt: skip


class Standings:
    """What devices say of themselves beside their records."""

    def __init__(self, identities: Identities) -> None:
        self._identities = identities

    def skews(self, connection: Connection, device_ids: set[int]) -> dict[int, int]:
        """How far the clocks of these devices are off, where that is known."""
        wanted = sorted(device_ids)
        found: dict[int, int] = {}
        for start in range(0, len(wanted), _CHUNK):
            query = select(devices.c.id, devices.c.skew_ms).where(
                devices.c.id.in_(wanted[start : start + _CHUNK]), devices.c.skew_ms.is_not(None)
            )
            found.update((row[0], row[1]) for row in connection.execute(query))
        return found

    def update(self, connection: Connection, messages: Iterable[Message], stored: Stored) -> None:
        """Take over what births, wills, heartbeats and reports say, in the order of their coming.

        Args:
            connection: a writing transaction.
            messages: of any kind.
            stored: gets the counts.
        """
        mine = [one for one in messages if one.kind in _KINDS or one.kind is Kind.REPORTED]
        if not mine:
            return
        stored.counts.update("reported" if one.kind is Kind.REPORTED else one.kind for one in mine)
        self._boots(connection, [one for one in mine if one.kind is Kind.HEARTBEAT])
        self._stand(connection, [one for one in mine if one.kind in _KINDS])
        births = {one.device: one for one in mine if one.kind is Kind.STATUS and _is_birth(one)}
        _BIRTHS.run(connection, self._rows(births, lambda one: _birth(one.body)))
        reports = {one.device: one for one in mine if one.kind is Kind.REPORTED}
        _REPORTS.run(connection, self._rows(reports, _report))

    def _rows(
        self, latest: dict[str, Message], values: Callable[[Message], tuple[Any, ...]]
    ) -> list[Row]:
        rows = [
            (self._identities.device(one.device), one.device, at_ms, at_ms, *values(one))
            for one in latest.values()
            for at_ms in (one.arrival.received_ms,)
        ]
        return sorted(rows, key=lambda row: row[0])

    def _boots(self, connection: Connection, heartbeats: Iterable[Message]) -> None:
        told_of: dict[int, Row] = {}
        for one in heartbeats:
            body, at_ms = one.body, one.arrival.received_ms
            own = self._identities.boot((one.device, body.boot_id))
            _merge(
                told_of,
                (own.id, own.device_id, body.boot_id, at_ms, at_ms, own.epoch_ms, body.seq, at_ms,
                 None),
            )  # fmt: skip
            for held in body.boots or ():
                boot = self._identities.boot((one.device, held.boot_id))
                _merge(
                    told_of,
                    (boot.id, boot.device_id, held.boot_id, at_ms, at_ms, None, held.last, at_ms,
                     held.first),
                )  # fmt: skip
        _BOOTS.run(connection, [told_of[number] for number in sorted(told_of)])

    def _stand(self, connection: Connection, messages: Sequence[Message]) -> None:
        names = {self._identities.device(one.device): one.device for one in messages}
        before = _read(connection, sorted(names))
        after = dict(before)
        for one in messages:
            number, at_ms = self._identities.device(one.device), one.arrival.received_ms
            if one.kind is Kind.HEARTBEAT:
                boot = self._identities.boot((one.device, one.body.boot_id))
                after[number] = heard(
                    after[number],
                    one.body,
                    boot=boot.id,
                    epoch_ms=at_ms - one.body.uptime_ms if boot.epoch_ms is None else boot.epoch_ms,
                    received_ms=at_ms,
                )
            else:
                body: Status = one.body
                boot_id = body.boot_id
                own = None if boot_id is None else self._identities.boot((one.device, boot_id)).id
                after[number] = told(after[number], body, boot=own, at_ms=at_ms)
        rows = [
            (number, names[number], now.last_seen_ms, now.last_seen_ms,
             *(getattr(now, name) for name in _STANDING))
            for number, now in sorted(after.items())
            if now != before[number]
        ]  # fmt: skip
        _STANDINGS.run(connection, rows)


def _read(connection: Connection, numbers: list[int]) -> dict[int, Standing]:
    columns = [devices.c[name] for name in ("id", "last_seen_ms", *_STANDING)]
    found = {}
    for start in range(0, len(numbers), _CHUNK):
        query = (
            select(*columns, boots.c.id)
            .outerjoin(
                boots,
                and_(boots.c.device_id == devices.c.id, boots.c.boot_id == devices.c.boot_id),
            )
            .where(devices.c.id.in_(numbers[start : start + _CHUNK]))
            .order_by(devices.c.id)
            .with_for_update(of=devices)
        )
        for number, last_seen_ms, *values, boot in connection.execute(query):
            said = dict(zip(_STANDING, values, strict=True))
            found[number] = Standing(last_seen_ms=last_seen_ms, boot=boot, **said)
    return found


def _merge(told_of: dict[int, Row], new: Row) -> None:
    """Of two heartbeats in a batch: the least epoch, the most of everything else."""
    old = told_of.get(new[0])
    if old is None:
        told_of[new[0]] = new
        return
    epochs = [one[5] for one in (old, new) if one[5] is not None]
    held = [one[8] for one in (old, new) if one[8] is not None]
    told_of[new[0]] = (
        *old[:4], max(old[4], new[4]), min(epochs, default=None), max(old[6], new[6]),
        max(old[7], new[7]), max(held, default=None),
    )  # fmt: skip


def _is_birth(one: Message) -> bool:
    return bool(one.body.status == "online")


def _birth(status: Status) -> tuple[Any, ...]:
    return (
        _clean(status.agent_version), _clean(status.onnxruntime_version), as_json(status.groups),
        as_json(status.hardware), *_model(status.model),
    )  # fmt: skip


def _report(one: Message) -> tuple[Any, ...]:
    reported: Reported = one.body
    return (*_model(reported.active), as_json(reported), one.arrival.received_ms)


def _model(model: ModelRef | None) -> tuple[str | None, str | None, str | None]:
    if model is None:
        return None, None, None
    return clean(model.name), clean(model.version), clean(model.digest)


def _clean(text: str | None) -> str | None:
    return None if text is None else clean(text)
