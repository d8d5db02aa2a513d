"""Making a rollout of what a person orders, or only its plan.

Both go the same way, so that a plan shows what would be made: the same devices in the same
stages.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Connection, select

from edgeqa.messages import ModelRef
from edgeqa_cloud.packages.catalogue import find_package
from edgeqa_cloud.presence import Presence
from edgeqa_cloud.presence_column import presence_column
from edgeqa_cloud.reading import clean
from edgeqa_cloud.rollout.audit_log import append
from edgeqa_cloud.rollout.model import Decision, Member
from edgeqa_cloud.rollout.planning import Candidate, assign, timetable
from edgeqa_cloud.rollout.plans import DevicePlanned, Drafted, plan_of
from edgeqa_cloud.rollout.refusals import NoIdError
from edgeqa_cloud.rollout.spec import RolloutSpec
from edgeqa_cloud.rollout.standing import stage_label
from edgeqa_cloud.rollout.states import MemberState
from edgeqa_cloud.rollout.store import FINAL_STATES, insert_rollout
from edgeqa_cloud.rollout.tables import rollout_members, rollouts
from edgeqa_cloud.rollout.views import PackageView, Plan
from edgeqa_cloud.tables import devices
from edgeqa_cloud.targets.resolve import resolve

# Of one day with exactly the same spec.
MAX_ALIKE = 1000
_SUFFIX_CHARS = 6
# PostgreSQL takes 65,535 parameters in a statement, SQLite 32,766.
_KEYS_AT_ONCE = 10_000
# A member in one of these is none of its rollout's concern any more.
_LET_GO = (MemberState.SUPERSEDED.value, MemberState.UNTOUCHED.value, MemberState.EXPIRED.value)


@dataclass(frozen=True, slots=True)
class _Draft:
    rollout: str
    spec: RolloutSpec
    target: ModelRef
    package: PackageView
    matching: int
    members: Sequence[Member]


def plan(connection: Connection, spec: RolloutSpec, *, now_ms: int) -> Plan:
    """Who would get what, and when.

    Raises:
        EdgeqaError: as `create`.
    """
    draft = _draft(connection, spec, now_ms=now_ms)
    times = timetable(draft.spec, draft.members, now_ms)
    return plan_of(
        Drafted(
            spec=draft.spec,
            target=draft.target,
            members=draft.members,
            devices=_devices(connection, draft.members, now_ms=now_ms),
            matching=draft.matching,
            begins_ms=times.begins_ms,
            ends_ms=times.ends_ms,
            now_ms=now_ms,
        )
    )


def create(connection: Connection, spec: RolloutSpec, *, actor: str, now_ms: int) -> str:
    """Write a rollout down, with its members and an entry of the audit log; returns its id.

    Args:
        connection: a writing transaction.
        spec: as ordered.
        actor: by whom.
        now_ms: by our clock.

    Raises:
        EdgeqaError: the package, the target, the stages or the gates will not do.
        sqlalchemy.exc.IntegrityError: the same was ordered at the same moment: try again.
    """
    draft = _draft(connection, spec, now_ms=now_ms)
    insert_rollout(
        connection,
        rollout=draft.rollout,
        spec=draft.spec,
        target=draft.target,
        members=draft.members,
        created_ms=now_ms,
        created_by=actor,
    )
    stages = ", ".join(stage_label(stage) for stage in draft.spec.stages)
    count = len(draft.members)
    append(
        connection,
        Decision(
            action="rollout_created",
            message=f"{draft.target.name} {draft.target.version} for {count:,} "
            f"device{'s' * (count != 1)} in stages: {stages}"
            + (f"; {draft.spec.note}" if draft.spec.note else ""),
            evidence={
                "spec": draft.spec.model_dump(mode="json", exclude={"target": {"devices"}}),
                "digest": draft.target.digest,
                "matching": draft.matching,
            },
            actor=actor,
        ),
        rollout=draft.rollout,
        time_ms=now_ms,
    )
    return draft.rollout


def _draft(connection: Connection, spec: RolloutSpec, *, now_ms: int) -> _Draft:
    spec = spec.model_copy(update={"note": clean(spec.note)})
    wanted = spec.package
    package = find_package(connection, wanted.name, wanted.version, wanted.digest, now_ms=now_ms)
    candidates: list[Candidate] = resolve(connection, spec.target, now_ms=now_ms)
    rollout = _free_id(connection, spec, now_ms=now_ms)
    return _Draft(
        rollout=rollout,
        spec=spec,
        target=ModelRef(name=package.name, version=package.version, digest=package.digest),
        package=package,
        matching=len(candidates),
        members=assign(spec, candidates, rollout=rollout),
    )


def _free_id(connection: Connection, spec: RolloutSpec, *, now_ms: int) -> str:
    """An id such as `r-20261125-a1b2c3`: of the day and the spec.

    Not random, as devices are shuffled by it: a plan and the rollout that is then made of the same
    spec, whatever its note, have the same id, and so the same canaries.
    """
    day = datetime.fromtimestamp(now_ms / 1000, UTC).strftime("%Y%m%d")
    for rollout in _ids(day, spec):
        taken = connection.execute(select(rollouts.c.id).where(rollouts.c.rollout == rollout))
        if taken.first() is None:
            return rollout
    raise NoIdError(MAX_ALIKE)


def _ids(day: str, spec: RolloutSpec) -> Iterator[str]:
    text = spec.model_dump_json(exclude={"note"})
    for number in range(MAX_ALIKE):
        digest = hashlib.sha256(f"{day} {number} {text}".encode()).hexdigest()
        yield f"r-{day}-{digest[:_SUFFIX_CHARS]}"


def _devices(
    connection: Connection, members: Sequence[Member], *, now_ms: int
) -> dict[int, DevicePlanned]:
    others = _other_rollouts(connection, {one.device_id for one in members})
    found = {}
    wanted = [one.device_id for one in members]
    for first in range(0, len(wanted), _KEYS_AT_ONCE):
        keys = wanted[first : first + _KEYS_AT_ONCE]
        for row in connection.execute(
            select(
                devices.c.id,
                devices.c.model_name,
                devices.c.model_version,
                devices.c.model_digest,
                devices.c.evaluation_questions,
                presence_column(now_ms).label("judged"),
            ).where(devices.c.id.in_(keys))
        ):
            model = None
            if row.model_name is not None:
                model = ModelRef(
                    name=row.model_name,
                    version=row.model_version or "",
                    digest=row.model_digest or "",
                )
            found[row.id] = DevicePlanned(
                presence=Presence(row.judged),
                model=model,
                asked=row.evaluation_questions,
                rollout=others.get(row.id),
            )
    return found


def _other_rollouts(connection: Connection, keys: set[int]) -> dict[int, str]:
    """The newest rollout that is not over and has each of these devices, by device."""
    member = rollout_members.c
    rows = connection.execute(
        select(member.device_id, rollouts.c.rollout)
        .join(rollouts, rollouts.c.id == member.rollout_id)
        .where(rollouts.c.state.not_in(FINAL_STATES), member.state.not_in(_LET_GO))
        .order_by(rollouts.c.id)
    )
    return {device_id: rollout for device_id, rollout in rows if device_id in keys}
