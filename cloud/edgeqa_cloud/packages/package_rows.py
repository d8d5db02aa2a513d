"""Writing what was read of the repository. Several processes may do so at once: each row has one
meaning, and the same reading twice changes nothing but times."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any, TypeAlias

from sqlalchemy import Connection, select, tuple_, update

from edgeqa.manifest import Manifest
from edgeqa.targets import PackageSummary
from edgeqa_cloud.bulk import Upsert
from edgeqa_cloud.reading import clean
from edgeqa_cloud.rollout.audit_log import plain
from edgeqa_cloud.rollout.tables import catalogue, packages

# Name, version, digest.
PackageKey: TypeAlias = tuple[str, str, str]

_ONLY_ROW = 1
_MAX_MESSAGE_CHARS = 2000
_KEY = (packages.c.name, packages.c.version, packages.c.digest)
# Of packages in one statement.
_CHUNK = 500
_PACKAGES = Upsert(
    packages,
    ("name", "version", "digest", "bytes", "manifest", "first_seen_ms", "last_seen_ms"),
    key=("name", "version", "digest"),
)
_CATALOGUE = Upsert(catalogue, ("id", "repository", "tried_ms"), key=("id",))


def key_of(summary: PackageSummary) -> PackageKey:
    """Of a package."""
    return summary.name, summary.version, summary.digest


def known_packages(connection: Connection) -> dict[PackageKey, bool]:
    """All that were ever offered, and whether they are still."""
    rows = connection.execute(select(*_KEY, packages.c.gone_ms))
    return {(name, version, digest): gone is None for name, version, digest, gone in rows}


def add_package(
    connection: Connection, summary: PackageSummary, manifest: Manifest, *, now_ms: int
) -> None:
    """A package that was not there; one that another process added meanwhile stays as it is."""
    content = plain(manifest.model_dump(mode="json", by_alias=True, exclude_none=True))
    text = json.dumps(content, allow_nan=False)
    _PACKAGES.run(connection, [(*key_of(summary), summary.bytes, text, now_ms, now_ms)])


def write_reading(
    connection: Connection,
    *,
    repository: str,
    offered: Collection[PackageKey],
    expires_ms: int,
    fault: tuple[str, str] | None,
    now_ms: int,
) -> None:
    """The repository was read.

    Args:
        offered: all of them, which are in the table; others that are in it are gone.
        fault: code and message of the first that is listed and cannot be had.
    """
    known = known_packages(connection)
    _mark(connection, [key for key in known if key in offered], last_seen_ms=now_ms, gone_ms=None)
    _mark(
        connection,
        [key for key, there in known.items() if there and key not in offered],
        gone_ms=now_ms,
    )
    code, message = fault or (None, None)
    _write(
        connection, repository, now_ms, read_ms=now_ms, expires_ms=expires_ms, code=code,
        message=message,
    )  # fmt: skip


def write_failure(
    connection: Connection, *, repository: str, code: str, message: str, now_ms: int
) -> None:
    """The repository could not be read; what was read of it before still holds, until it expires.

    What was read of another repository does not.
    """
    before = connection.scalar(select(catalogue.c.repository))
    forget = {} if before == repository else {"read_ms": None, "expires_ms": None}
    _write(connection, repository, now_ms, code=code, message=message, **forget)


def _write(
    connection: Connection, repository: str, now_ms: int, *, message: str | None, **values: Any
) -> None:
    _CATALOGUE.run(connection, [(_ONLY_ROW, repository, now_ms)])
    said = None if message is None else clean(message)[:_MAX_MESSAGE_CHARS]
    connection.execute(
        update(catalogue).values(repository=repository, tried_ms=now_ms, message=said, **values)
    )


def _mark(connection: Connection, keys: list[PackageKey], **values: Any) -> None:
    for start in range(0, len(keys), _CHUNK):
        some = keys[start : start + _CHUNK]
        connection.execute(update(packages).where(tuple_(*_KEY).in_(some)).values(**values))
