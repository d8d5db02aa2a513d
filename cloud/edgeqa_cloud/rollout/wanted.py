"""Filters of rollouts, of their devices and of the audit log, as SQL."""

from __future__ import annotations

from dataclasses import fields

from sqlalchemy import ColumnElement, and_, false, or_, select, true

from edgeqa_cloud.rollout.filters import AuditFilter, MemberFilter, RolloutFilter
from edgeqa_cloud.rollout.tables import audit, rollout_members, rollouts
from edgeqa_cloud.tables import devices
from edgeqa_cloud.targets.columns import is_storable


def _can_be_met(which: RolloutFilter | MemberFilter | AuditFilter) -> bool:
    """Whether stored texts can hold what the filter wants."""
    values = (getattr(which, field.name) for field in fields(which))
    return all(is_storable(value) for value in values if isinstance(value, str))


def rollouts_wanted(which: RolloutFilter) -> ColumnElement[bool]:
    """A filter over `rollouts`."""
    if not _can_be_met(which):
        return false()
    conditions: list[ColumnElement[bool]] = [true()]
    if which.states is not None:
        conditions.append(rollouts.c.state.in_(sorted(one.value for one in which.states)))
    if which.model is not None:
        name, _, version = which.model.partition("@")
        conditions.append(rollouts.c.model_name == name)
        if version:
            conditions.append(rollouts.c.model_version == version)
    if which.text is not None:
        columns: tuple[ColumnElement[str], ...] = (
            rollouts.c.rollout,
            rollouts.c.model_name,
            rollouts.c.created_by,
            rollouts.c.spec["note"].as_string(),
        )
        conditions.append(or_(*(one.icontains(which.text, autoescape=True) for one in columns)))
    if which.device is not None:
        theirs = (
            select(rollout_members.c.rollout_id)
            .join(devices, devices.c.id == rollout_members.c.device_id)
            .where(devices.c.device == which.device)
        )
        conditions.append(rollouts.c.id.in_(theirs))
    return and_(*conditions)


def members_wanted(rollout_id: int, which: MemberFilter) -> ColumnElement[bool]:
    """A filter over `rollout_members`, joined with `devices` where it has a text."""
    if not _can_be_met(which):
        return false()
    member = rollout_members.c
    conditions: list[ColumnElement[bool]] = [member.rollout_id == rollout_id]
    if which.states is not None:
        conditions.append(member.state.in_(sorted(one.value for one in which.states)))
    if which.stage is not None:
        conditions.append(member.stage == which.stage)
    if which.text is not None:
        columns = (devices.c.device, member.code, member.message)
        conditions.append(or_(*(one.icontains(which.text, autoescape=True) for one in columns)))
    return and_(*conditions)


def audit_wanted(which: AuditFilter) -> ColumnElement[bool]:
    """A filter over `audit`."""
    if not _can_be_met(which):
        return false()
    conditions: list[ColumnElement[bool]] = [true()]
    for name in ("rollout", "device", "actor", "action"):
        value = getattr(which, name)
        if value is not None:
            conditions.append(audit.c[name] == value)
    if which.text is not None:
        conditions.append(audit.c.message.icontains(which.text, autoescape=True))
    if which.since_ms is not None:
        conditions.append(audit.c.time_ms >= which.since_ms)
    if which.until_ms is not None:
        conditions.append(audit.c.time_ms < which.until_ms)
    return and_(*conditions)
