"""Who is enrolled, as lists show it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import StrEnum
from itertools import groupby
from typing import Any

from pydantic import Field
from sqlalchemy import Connection, Row, select

from edgeqa.identity.roles import Role
from edgeqa_cloud.enrolment.enrolment_metrics import SOON
from edgeqa_cloud.enrolment.tables import credentials
from edgeqa_cloud.fleet_views import View


class State(StrEnum):
    """How a name stands with the broker."""

    VALID = "valid"
    # Less than a sixth of its time is left.
    EXPIRING = "expiring"
    EXPIRED = "expired"
    REVOKED = "revoked"


class EnrolledView(View):
    """A name, by what it has that counts longest; else by what it had last."""

    role: Role
    name: str
    state: State
    method: str = Field(description="`certificate` or `password`.")
    issued_ms: int
    issued_by: str = Field(description="`renewal`: the device itself.")
    expires_ms: int
    revoked_ms: int | None
    reason: str | None = Field(description="Of the revocation.")
    serial: str | None = Field(description="Of the certificate, hexadecimal.")
    fingerprint: str | None = Field(description="SHA-256 of the certificate, hexadecimal.")
    counting: int = Field(description="Certificates and passwords of this name that count.")


def list_enrolled(
    connection: Connection, *, now_ms: int, role: Role | None = None, state: State | None = None
) -> Iterator[EnrolledView]:
    """Each name once, by role and name.

    Args:
        connection: in a transaction, until the last was read.
        now_ms: by our clock.
        role: only these.
        state: only these.
    """
    c = credentials.c
    rows = select(credentials).order_by(c.role, c.name, c.id)
    if role is not None:
        rows = rows.where(c.role == str(role))
    found = connection.execute(rows)
    for _, mine in groupby(found, key=lambda row: (row.role, row.name)):
        view = _view(mine, now_ms)
        if state is None or view.state is state:
            yield view


def _view(rows: Iterable[Row[Any]], now_ms: int) -> EnrolledView:
    mine = list(rows)
    counting = [one for one in mine if one.revoked_ms is None and one.expires_ms > now_ms]
    shown = max(counting, key=lambda one: one.expires_ms) if counting else mine[-1]
    return EnrolledView(
        role=Role(shown.role),
        name=shown.name,
        state=_state(shown, now_ms),
        method=shown.method,
        issued_ms=shown.issued_ms,
        issued_by=shown.issued_by,
        expires_ms=shown.expires_ms,
        revoked_ms=shown.revoked_ms,
        reason=shown.reason,
        serial=shown.serial,
        fingerprint=shown.fingerprint,
        counting=len(counting),
    )


def _state(row: Row[Any], now_ms: int) -> State:
    if row.revoked_ms is not None:
        return State.REVOKED
    left = row.expires_ms - now_ms
    if left <= 0:
        return State.EXPIRED
    return State.EXPIRING if left * SOON < row.expires_ms - row.issued_ms else State.VALID
