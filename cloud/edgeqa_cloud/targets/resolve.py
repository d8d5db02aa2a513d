"""The devices that a target means now."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, Connection, and_, or_, select, true

from edgeqa.errors import UsageError
from edgeqa.messages import ModelRef
from edgeqa.topics import is_name
from edgeqa_cloud.presence import Presence
from edgeqa_cloud.presence_column import presence_column
from edgeqa_cloud.rollout.planning import Candidate
from edgeqa_cloud.rollout.spec import Target
from edgeqa_cloud.tables import devices
from edgeqa_cloud.targets.columns import each_text, has_tag, in_group, json_list
from edgeqa_cloud.targets.query import condition, parse
from edgeqa_cloud.words import said

# More names than that help nobody to find their mistake.
_MOST_NAMED = 10


class UnknownDevicesError(UsageError):
    """Devices are named that the cloud has never heard of."""

    code = "unknown_devices"


def resolve(connection: Connection, target: Target, *, now_ms: int) -> list[Candidate]:
    """The devices that a target means, by their id; none where none matches.

    Two statements, however many devices there are.

    Args:
        connection: in a transaction.
        target: devices, groups and tags are added up; the query narrows them down.
        now_ms: by our clock; for presence and ages.

    Raises:
        UnknownDevicesError: naming at most ten of them.
        QueryError: `bad_query`.
    """
    wanted = target_condition(target, now_ms=now_ms)
    check_known(connection, target.devices)
    rows = connection.execute(
        select(
            devices.c.id,
            devices.c.device,
            presence_column(now_ms).label("judged"),
            devices.c.model_name,
            devices.c.model_version,
            devices.c.model_digest,
        )
        .where(wanted)
        .order_by(devices.c.device)
    )
    models = _Models()
    return [
        Candidate(
            device_id=key,
            device=device,
            online=judged == Presence.ONLINE.value,
            model=models[name, version, digest],
        )
        for key, device, judged, name, version, digest in rows
    ]


def target_condition(target: Target, *, now_ms: int) -> ColumnElement[bool]:
    """A target as an expression over `devices`; devices that nobody knows are not looked for.

    Raises:
        QueryError: `bad_query`.
    """
    named: list[ColumnElement[bool]] = []
    if target.devices:
        names = each_text(json_list(target.devices))
        named.append(devices.c.device.in_(select(names.c.value)))
    if target.groups:
        named.append(in_group(lambda group: group.in_(target.groups)))
    if target.tags:
        named.append(has_tag(lambda tag: tag.in_(target.tags)))
    found = true() if target.all or not named else or_(*named)
    if target.query is None:
        return found
    return and_(found, condition(parse(target.query), now_ms))


def check_known(connection: Connection, names: Sequence[str]) -> None:
    """See that all these devices were heard of.

    Raises:
        UnknownDevicesError: naming at most ten of those that were not.
    """
    # No device has a name that is none; and PostgreSQL would not take all of them.
    unknown = [name for name in names if not is_name(name)]
    if known := [name for name in names if is_name(name)]:
        given = each_text(json_list(known))
        unknown += connection.scalars(
            select(given.c.value)
            .where(given.c.value.not_in(select(devices.c.device)))
            .distinct()
            .order_by(given.c.value)
        )
    if unknown:
        more = len(unknown) - _MOST_NAMED
        raise UnknownDevicesError(
            f"no such devices: {', '.join(map(said, unknown[:_MOST_NAMED]))}"
            + (f" and {more:,} more" if more > 0 else "")
            + "; `edgeqa fleet list` shows all"
        )


class _Models(dict[tuple[str | None, str | None, str | None], ModelRef | None]):
    """By name, version and digest: thousands of devices share a few."""

    def __missing__(self, key: tuple[str | None, str | None, str | None]) -> ModelRef | None:
        name, version, digest = key
        # A way back needs all of it.
        made = None
        if name is not None and version is not None and digest is not None:
            made = ModelRef(name=name, version=version, digest=digest)
        self[key] = made
        return made
