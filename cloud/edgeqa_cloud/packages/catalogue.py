"""What the signed repository offers, as this cloud last read it: the table `packages`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, false, func, select, true

from edgeqa.commands import unix_ms
from edgeqa.errors import EdgeqaError, ExitCode
from edgeqa_cloud.rollout.tables import catalogue, packages
from edgeqa_cloud.rollout.views import CatalogueView, PackageView
from edgeqa_cloud.tables import devices
from edgeqa_cloud.targets.columns import is_storable
from edgeqa_cloud.words import said

MAX_PAGE = 10_000
# Those that are offered first, then by name, the newest of each first.
_ORDER = (packages.c.gone_ms.is_not(None), packages.c.name, packages.c.id.desc())
# Of those that are named where somebody asks for one that is not there.
_MOST_NAMED = 20
_EXPIRED = "repository_expired"


class PackageError(EdgeqaError):
    """A package that cannot be rolled out; `code` says why.

    `unknown_package`, `wrong_digest`, `repository_unread` or `repository_expired`.
    """

    code = "unknown_package"
    exit_code = ExitCode.REFUSED


@dataclass(frozen=True, slots=True)
class PackageFilter:
    """Which packages; None lets all through.

    Attributes:
        offered: now, or not any more.
    """

    name: str | None = None
    version: str | None = None
    offered: bool | None = None


ALL_PACKAGES = PackageFilter()


def find_package(
    connection: Connection,
    name: str,
    version: str,
    digest: str | None = None,
    *,
    now_ms: int | None = None,
) -> PackageView:
    """A package that may be rolled out: signed, and offered as far as is known.

    Args:
        connection: in a transaction.
        digest: refuse any other.
        now_ms: by our clock; None: now.

    Raises:
        PackageError: see there.
    """
    _check_read(connection, unix_ms() if now_ms is None else now_ms)
    which = PackageFilter(name=name, version=version, offered=True)
    rows = connection.execute(_select().where(_conditions(which))).all()
    if not rows:
        raise _unknown(connection, name, version)
    found = next((row for row in rows if digest in {None, row.digest}), None)
    if found is None:
        raise PackageError(
            f"the repository's {name} {version} is {rows[0].digest}, not {said(digest)}",
            code="wrong_digest",
        )
    return _view(found)


def show_package(connection: Connection, name: str, version: str) -> PackageView:
    """A package that is, or was, offered; of several that were, the last.

    Raises:
        PackageError: `unknown_package`.
    """
    which = _conditions(PackageFilter(name=name, version=version))
    row = connection.execute(_select().where(which).order_by(*_ORDER).limit(1)).one_or_none()
    if row is None:
        raise _unknown(connection, name, version)
    return _view(row)


def catalogue_view(
    connection: Connection,
    *,
    which: PackageFilter = ALL_PACKAGES,
    limit: int = MAX_PAGE,
    offset: int = 0,
) -> CatalogueView:
    """The repository as last read, with packages that it offers, or offered."""
    row = connection.execute(select(catalogue)).one_or_none()
    wanted = _conditions(which)
    total = connection.execute(select(func.count()).select_from(packages).where(wanted))
    rows = connection.execute(_select().where(wanted).order_by(*_ORDER).limit(limit).offset(offset))
    return CatalogueView(
        repository=None if row is None else row.repository,
        tried_ms=None if row is None else row.tried_ms,
        read_ms=None if row is None else row.read_ms,
        expires_ms=None if row is None else row.expires_ms,
        code=None if row is None else row.code,
        message=None if row is None else row.message,
        total=total.scalar_one(),
        packages=[_view(one) for one in rows],
    )


def _conditions(which: PackageFilter) -> ColumnElement[bool]:
    conditions: list[ColumnElement[bool]] = [true()]
    for column, wanted in ((packages.c.name, which.name), (packages.c.version, which.version)):
        if wanted is not None:
            conditions.append(column == wanted if is_storable(wanted) else false())
    if which.offered is not None:
        gone = packages.c.gone_ms
        conditions.append(gone.is_(None) if which.offered else gone.is_not(None))
    return and_(*conditions)


def _check_read(connection: Connection, now_ms: int) -> None:
    row = connection.execute(select(catalogue)).one_or_none()
    if row is None:
        raise PackageError(
            "no model repository has been read: name one with EDGEQA_CLOUD_REPOSITORY and "
            "EDGEQA_CLOUD_REPOSITORY_ROOT (settings `repository` and `repository_root` of "
            "`edgeqa cloud run`)",
            code="repository_unread",
        )
    if row.read_ms is None:
        raise PackageError(
            f"{row.repository}, which the setting `repository` names, has never been read: "
            f"{row.message or 'its first reading is under way'}",
            # Signed long ago is another trouble than not there.
            code=_EXPIRED if row.code == _EXPIRED else "repository_unread",
        )
    if row.expires_ms is not None and now_ms >= row.expires_ms:
        why = f"; it cannot be read any more: {row.message}" if row.message else ""
        raise PackageError(
            f"what was read of {row.repository} has expired, so that nobody vouches for its "
            f"packages: have it signed anew (`edgeqa models repository sign`){why}",
            code=_EXPIRED,
        )


def _unknown(connection: Connection, name: str, version: str) -> PackageError:
    wanted = f"the repository offers no {said(name)} {said(version)}"
    offered = connection.execute(
        select(packages.c.name, packages.c.version).where(packages.c.gone_ms.is_(None))
    ).all()
    if not offered:
        return PackageError(
            f"{wanted}: it offers nothing; publish a package with `edgeqa models publish`"
        )
    # Other versions of that name first: most likely it is one of them that is meant.
    offered = sorted(offered, key=lambda one: (one.name != name, one.name, one.version))
    shown = ", ".join(f"{one.name} {one.version}" for one in offered[:_MOST_NAMED])
    more = len(offered) - _MOST_NAMED
    return PackageError(f"{wanted}; there are {shown}" + (f" and {more} more" if more > 0 else ""))


def _select() -> Any:
    """All of `packages`, and how many devices run each."""
    run = (
        select(devices.c.model_digest, func.count().label("devices"))
        .group_by(devices.c.model_digest)
        .subquery()
    )
    return select(packages, func.coalesce(run.c.devices, 0).label("devices")).outerjoin(
        run, run.c.model_digest == packages.c.digest
    )


def _view(row: Row[Any]) -> PackageView:
    manifest: dict[str, Any] = row.manifest
    return PackageView(
        name=row.name,
        version=row.version,
        digest=row.digest,
        bytes=row.bytes,
        precision=manifest.get("precision"),
        architecture=manifest.get("architecture") or {},
        licence=manifest.get("licence"),
        scores=manifest.get("scores") or [],
        cards=manifest.get("cards") or [],
        baseline=manifest.get("baseline"),
        forced=manifest.get("forced"),
        first_seen_ms=row.first_seen_ms,
        last_seen_ms=row.last_seen_ms,
        gone_ms=row.gone_ms,
        devices=row.devices,
    )
