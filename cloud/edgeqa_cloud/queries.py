"""Reading devices: a page of the fleet, or one.

Two statements for a page and one for a device, however many there are; what a list shows stands in
the table `devices` itself.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, false, func, select, true

from edgeqa_cloud.device_filter import ALL_DEVICES, MAX_PAGE, DeviceFilter, DeviceSort
from edgeqa_cloud.fleet_views import DevicePage, DeviceView, ModelView
from edgeqa_cloud.presence import Presence
from edgeqa_cloud.presence_column import presence_column
from edgeqa_cloud.tables import devices
from edgeqa_cloud.targets.columns import has_tag, holds_text, in_group, is_storable, tag_list
from edgeqa_cloud.targets.query import condition


def list_devices(
    connection: Connection,
    *,
    now_ms: int,
    which: DeviceFilter = ALL_DEVICES,
    sort: DeviceSort = DeviceSort.DEVICE,
    descending: bool = False,
    limit: int = MAX_PAGE,
    offset: int = 0,
) -> DevicePage:
    """A page of the fleet.

    Args:
        connection: in a transaction.
        now_ms: for the presence.
        which: the filter.
        sort: by what; devices that are alike by their id.
        descending: largest first.
        limit: most on this page.
        offset: that come before it.
    """
    presence = presence_column(now_ms)
    wanted = _condition(which, presence, now_ms)
    counts = {
        Presence(row.judged): row.devices
        for row in connection.execute(
            select(presence.label("judged"), func.count().label("devices"))
            .select_from(devices)
            .where(wanted)
            .group_by(presence)
        )
    }
    key = _sort_key(sort, presence)
    rows = connection.execute(
        select(devices, presence.label("judged"), tag_list().label("tag_list"))
        .where(wanted)
        .order_by((key.desc() if descending else key.asc()).nulls_last(), devices.c.device)
        .limit(limit)
        .offset(offset)
    )
    return DevicePage(
        now_ms=now_ms,
        total=sum(counts.values()),
        presence={one: counts.get(one, 0) for one in Presence},
        devices=[device_view(row) for row in rows],
    )


def find_device(
    connection: Connection, device: str, *, now_ms: int
) -> tuple[int, DeviceView] | None:
    """A device by its id: its key in the database, and what is known of it."""
    if not is_storable(device):
        return None
    row = connection.execute(
        select(
            devices, presence_column(now_ms).label("judged"), tag_list().label("tag_list")
        ).where(devices.c.device == device)
    ).one_or_none()
    return None if row is None else (row.id, device_view(row))


def device_view(row: Row[Any]) -> DeviceView:
    """From a row of `devices` with its presence as `judged` and its tags as `tag_list`."""
    hardware: dict[str, Any] = row.hardware or {}
    reported: dict[str, Any] = row.reported or {}
    reason: dict[str, Any] = reported.get("reason") or {}
    return DeviceView(
        presence=Presence(row.judged),
        groups=row.groups or [],
        tags=sorted(row.tag_list.split(",")) if row.tag_list else [],
        board=hardware.get("board"),
        machine=hardware.get("machine"),
        model=None
        if row.model_name is None
        else ModelView(
            name=row.model_name, version=row.model_version or "", digest=row.model_digest
        ),
        swap_state=reported.get("state"),
        swap_code=reason.get("code"),
        throttled=row.throttled or [],
        **{name: getattr(row, name) for name in _SAME},
    )


# Fields that are columns of the same name.
_SAME = frozenset(DeviceView.model_fields) & {column.name for column in devices.c} - {
    "presence",
    "groups",
    "tags",
    "throttled",
}


def _condition(
    which: DeviceFilter, presence: ColumnElement[str], now_ms: int
) -> ColumnElement[bool]:
    if not all(map(is_storable, filter(None, (which.model, which.group, which.tag)))):
        return false()
    conditions: list[ColumnElement[bool]] = [true()]
    if which.presence is not None:
        conditions.append(presence.in_([one.value for one in which.presence]))
    if which.model is not None:
        name, _, version = which.model.partition("@")
        conditions.append(devices.c.model_name == name)
        if version:
            conditions.append(devices.c.model_version == version)
    if which.group is not None:
        conditions.append(in_group(lambda group: group == which.group))
    if which.tag is not None:
        conditions.append(has_tag(lambda tag: tag == which.tag))
    if which.query is not None:
        conditions.append(condition(which.query, now_ms))
    if which.text is not None:
        conditions.append(holds_text(which.text))
    return and_(*conditions)


def _sort_key(sort: DeviceSort, presence: ColumnElement[str]) -> ColumnElement[Any]:
    return {
        DeviceSort.DEVICE: devices.c.device,
        DeviceSort.PRESENCE: presence,
        DeviceSort.SEEN: devices.c.last_seen_ms,
        DeviceSort.MODEL: devices.c.model_name + "@" + devices.c.model_version,
        DeviceSort.EXACT_MATCH: devices.c.exact_match,
        DeviceSort.F1: devices.c.f1,
        DeviceSort.P95: devices.c.p95_ms,
        DeviceSort.TEMPERATURE: devices.c.temperature_celsius,
    }[sort]
