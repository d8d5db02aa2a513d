"""Tags: names that operators give to devices. Each change stands in the audit log.

Groups are the agents' own, tags are the cloud's: a device knows nothing of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Sequence

from sqlalchemy import Connection, delete, func, select

from edgeqa.errors import UsageError
from edgeqa.topics import is_name
from edgeqa_cloud.bulk import Upsert
from edgeqa_cloud.rollout.audit_log import append
from edgeqa_cloud.rollout.model import Decision
from edgeqa_cloud.rollout.spec import Target
from edgeqa_cloud.rollout.tables import device_tags
from edgeqa_cloud.tables import devices
from edgeqa_cloud.targets.resolve import check_known, target_condition
from edgeqa_cloud.targets.tag_views import DeviceTags, TagChange, TagCount, TagPage
from edgeqa_cloud.words import said

# More names than anyone gives to one device.
MAX_TAGS = 64
MAX_PAGE = 10_000
# Of the devices that a change touched, this many are named in the audit log.
_MOST_NAMED = 1000
# Bound values of one statement: SQLite takes 32,766.
_CHUNK = 5000
_ROWS = Upsert(device_tags, ("device_id", "tag"), key=("device_id", "tag"))


class TagsError(UsageError):
    """A tag is no name, or a device would have too many."""

    code = "bad_tags"


def tag_page(connection: Connection, *, limit: int = MAX_PAGE, offset: int = 0) -> TagPage:
    """Tags in use, by name."""
    total = connection.execute(select(func.count(device_tags.c.tag.distinct())))
    rows = connection.execute(
        select(device_tags.c.tag, func.count().label("devices"))
        .group_by(device_tags.c.tag)
        .order_by(device_tags.c.tag)
        .limit(limit)
        .offset(offset)
    )
    tags = [TagCount(tag=tag, devices=count) for tag, count in rows]
    return TagPage(total=total.scalar_one(), tags=tags)


def read_tags(connection: Connection, device: str) -> DeviceTags:
    """Those of a device.

    Raises:
        UnknownDevicesError: there is no such device.
    """
    return _device_tags(device, _tags_of(connection, _key_of(connection, device)))


def set_tags(
    connection: Connection,
    device: str,
    tags: Iterable[str],
    *,
    actor: str,
    now_ms: int,
    revision: str | None = None,
) -> DeviceTags | None:
    """Give a device exactly these tags.

    Args:
        connection: a writing transaction.
        revision: of the tags that this was decided by.

    Returns:
        The tags as they are now; None where they are others than `revision` says: nothing changed.

    Raises:
        UnknownDevicesError: there is no such device.
        TagsError: a tag is no name, or there are too many.
    """
    wanted = _checked(tags)
    key = _key_of(connection, device, lock=True)
    before = _tags_of(connection, key)
    if revision not in {None, _device_tags(device, before).revision}:
        return None
    _check_count(len(wanted), device)
    _remove(connection, [key], before - wanted)
    _ROWS.run(connection, [(key, tag) for tag in sorted(wanted - before)])
    _log(
        connection, [device], add=wanted - before, remove=before - wanted, target=None, actor=actor,
        now_ms=now_ms,
    )  # fmt: skip
    return _device_tags(device, wanted)


def change_tags(
    connection: Connection,
    target: Target,
    *,
    add: Iterable[str] = (),
    remove: Iterable[str] = (),
    actor: str,
    now_ms: int,
) -> TagChange:
    """Give tags to all devices of a target, and take others from them.

    Args:
        connection: a writing transaction.

    Raises:
        UnknownDevicesError, QueryError: the target is wrong.
        TagsError: a tag is no name, both given and taken, or would be one too many.
    """
    given, taken = _checked(add), _checked(remove)
    if both := sorted(given & taken):
        raise TagsError(f"{said(both[0])}: to be given and to be taken")
    if not given | taken:
        raise TagsError("no tag to give or to take")
    wanted = target_condition(target, now_ms=now_ms)
    check_known(connection, target.devices)
    query = select(devices.c.id, devices.c.device).where(wanted).order_by(devices.c.id)
    names: dict[int, str] = {row.id: row.device for row in connection.execute(query)}
    before = _tags_of_many(connection, names)
    changed = [
        key for key in names if given - before.get(key, set()) or taken & before.get(key, set())
    ]
    for key in changed:
        _check_count(len((before.get(key, set()) | given) - taken), names[key])
    for start in range(0, len(changed), _CHUNK):
        some = changed[start : start + _CHUNK]
        _remove(connection, some, taken)
        _ROWS.run(connection, [(key, tag) for key in some for tag in sorted(given)])
    _log(
        connection, [names[key] for key in changed], add=given, remove=taken, target=target,
        actor=actor, now_ms=now_ms,
    )  # fmt: skip
    return TagChange(devices=len(names), changed=len(changed))


def _checked(tags: Iterable[str]) -> set[str]:
    found = set(tags)
    for tag in found:
        if not is_name(tag):
            raise TagsError(
                f"{said(tag)[:70]!r} is no tag: 1 to 64 letters, digits, '.', '_' or '-', the "
                "first a letter or a digit"
            )
    return found


def _check_count(count: int, device: str) -> None:
    if count > MAX_TAGS:
        raise TagsError(f"{device} would have {count} tags; at most {MAX_TAGS} are kept")


def _key_of(connection: Connection, device: str, *, lock: bool = False) -> int:
    check_known(connection, [device])
    query = select(devices.c.id).where(devices.c.device == device)
    key: int = connection.execute(query.with_for_update() if lock else query).scalar_one()
    return key


def _tags_of(connection: Connection, key: int) -> set[str]:
    return set(connection.scalars(select(device_tags.c.tag).where(device_tags.c.device_id == key)))


def _tags_of_many(connection: Connection, keys: Collection[int]) -> dict[int, set[str]]:
    found: dict[int, set[str]] = {}
    for key, tag in connection.execute(select(device_tags.c.device_id, device_tags.c.tag)):
        if key in keys:
            found.setdefault(key, set()).add(tag)
    return found


def _remove(connection: Connection, keys: Sequence[int], tags: set[str]) -> None:
    if tags:
        connection.execute(
            delete(device_tags).where(
                device_tags.c.device_id.in_(keys), device_tags.c.tag.in_(sorted(tags))
            )
        )


def _device_tags(device: str, tags: set[str]) -> DeviceTags:
    ordered = sorted(tags)
    # Not a counter: the same tags again are the same state.
    revision = hashlib.sha256(",".join(ordered).encode()).hexdigest()[:16]
    return DeviceTags(device=device, tags=ordered, revision=revision)


def _log(
    connection: Connection,
    changed: Sequence[str],
    *,
    add: set[str],
    remove: set[str],
    target: Target | None,
    actor: str,
    now_ms: int,
) -> None:
    if not changed or not (add or remove):
        return
    what = [f"+{tag}" for tag in sorted(add)] + [f"-{tag}" for tag in sorted(remove)]
    whose = changed[0] if len(changed) == 1 else f"{len(changed):,} devices"
    evidence = {
        "add": sorted(add),
        "remove": sorted(remove),
        "changed": len(changed),
        "devices": changed[:_MOST_NAMED],
    }
    if target is not None and len(target.devices) <= _MOST_NAMED:
        evidence["target"] = target.model_dump(mode="json", exclude_defaults=True)
    append(
        connection,
        Decision(
            action="tags_changed",
            message=f"tags of {whose}: {' '.join(what)}",
            evidence=evidence,
            device=changed[0] if len(changed) == 1 else None,
            actor=actor,
        ),
        rollout=None,
        time_ms=now_ms,
    )
