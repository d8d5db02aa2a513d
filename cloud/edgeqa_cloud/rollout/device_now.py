"""Devices as the engine sees them: presence, model and last report, read from `devices`.

What a device says of a model is not trusted to be one: a name that could not be wished for, such as
a forged report may hold, counts as not known.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import ColumnElement, Connection, select

from edgeqa.messages import ModelRef
from edgeqa.model_messages import ModelState
from edgeqa.topics import is_name
from edgeqa_cloud.presence import Presence
from edgeqa_cloud.presence_column import presence_column
from edgeqa_cloud.rollout.model import Report
from edgeqa_cloud.rollout.tables import rollout_members
from edgeqa_cloud.tables import devices

_CHUNK = 900
_VERSION = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+\Z")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}\Z")
# Fields of a report that are columns of text elsewhere.
_MAX_CHARS = 2000

# Boot, the device's time and the state: no device makes two reports with one stamp.
Stamp = tuple[str, str, ModelState]


@dataclass(frozen=True, slots=True)
class Standing:
    """The cheap part of a device."""

    online: bool
    model: ModelRef | None
    reported_ms: int | None


def standings_under_way(
    connection: Connection, key: int, states: Sequence[str], *, now_ms: int
) -> dict[int, Standing]:
    """Of a rollout's members in some states, in one statement."""
    return _standings(
        connection,
        devices.c.id.in_(
            select(rollout_members.c.device_id).where(
                rollout_members.c.rollout_id == key, rollout_members.c.state.in_(states)
            )
        ),
        now_ms=now_ms,
    )


def standings_of(
    connection: Connection, device_ids: Iterable[int], *, now_ms: int
) -> dict[int, Standing]:
    """Of these devices."""
    wanted = sorted(set(device_ids))
    found: dict[int, Standing] = {}
    for start in range(0, len(wanted), _CHUNK):
        chunk = devices.c.id.in_(wanted[start : start + _CHUNK])
        found |= _standings(connection, chunk, now_ms=now_ms)
    return found


def reported_since(connection: Connection, since_ms: int) -> dict[int, int]:
    """When devices reported, of those that did since then; from an index alone."""
    query = select(devices.c.id, devices.c.reported_ms).where(devices.c.reported_ms >= since_ms)
    return {row[0]: row[1] for row in connection.execute(query)}


def read_reports(
    connection: Connection, device_ids: Iterable[int]
) -> dict[int, tuple[Report, Stamp]]:
    """The last reports of these devices, and when each was made."""
    wanted = sorted(set(device_ids))
    found: dict[int, tuple[Report, Stamp]] = {}
    for start in range(0, len(wanted), _CHUNK):
        query = select(devices.c.id, devices.c.reported, devices.c.reported_ms).where(
            devices.c.id.in_(wanted[start : start + _CHUNK]), devices.c.reported_ms.is_not(None)
        )
        for device_id, reported, reported_ms in connection.execute(query):
            report = report_of(reported, reported_ms)
            if report is not None:
                stamp = str(reported.get("boot_id")), str(reported.get("time_ms")), report.state
                found[device_id] = report, stamp
    return found


def report_of(reported: Any, received_ms: int) -> Report | None:
    """From the JSON of a `Reported`; None where it is none that we know."""
    if not isinstance(reported, Mapping):
        return None
    try:
        state = ModelState(str(reported.get("state")))
    except ValueError:
        return None
    why = reported.get("reason")
    why = why if isinstance(why, Mapping) else {}
    return Report(
        state=state,
        wish=_text(reported.get("wish")),
        active=_model_of(reported.get("active")),
        previous=_model_of(reported.get("previous")),
        code=_text(why.get("code")),
        message=_text(why.get("message")),
        received_ms=received_ms,
    )


@lru_cache(maxsize=1024)
def model_ref(name: str | None, version: str | None, digest: str | None) -> ModelRef | None:
    """A model that can be wished for; None where it is none. One object for all that are equal."""
    if name is None or version is None or digest is None:
        return None
    if not (is_name(name) and _VERSION.match(version) and _DIGEST.match(digest)):
        return None
    return ModelRef(name=name, version=version, digest=digest)


def _standings(
    connection: Connection, which: ColumnElement[bool], *, now_ms: int
) -> dict[int, Standing]:
    query = select(
        devices.c.id,
        presence_column(now_ms),
        devices.c.model_name,
        devices.c.model_version,
        devices.c.model_digest,
        devices.c.reported_ms,
    ).where(which)
    return {
        row[0]: Standing(row[1] == Presence.ONLINE.value, model_ref(row[2], row[3], row[4]), row[5])
        for row in connection.execute(query)
    }


def _model_of(value: Any) -> ModelRef | None:
    if not isinstance(value, Mapping):
        return None
    parts = [value.get(name) for name in ("name", "version", "digest")]
    if not all(isinstance(part, str) for part in parts):
        return None
    return model_ref(*parts)


def _text(value: Any) -> str | None:
    return value[:_MAX_CHARS] if isinstance(value, str) else None
