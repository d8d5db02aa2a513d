"""Enrolment for Prometheus: who has what, and what expires; from the registry and the files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector
from sqlalchemy import Connection, Subquery, and_, case, func, select

from edgeqa.identity.roles import Role
from edgeqa_cloud import metric_specs as specs
from edgeqa_cloud.enrolment.authority import Authority
from edgeqa_cloud.enrolment.broker_server import SERVER_CERTIFICATE, read_server
from edgeqa_cloud.enrolment.registry import live
from edgeqa_cloud.enrolment.revocations import read_revocations
from edgeqa_cloud.enrolment.tables import credentials
from edgeqa_cloud.tally import Tally

# Devices renew when a third of the time is left, and try again each day: at half of that, something
# is wrong.
SOON = 6
# One that is gone without having been revoked is told of for so long.
EXPIRED_DAYS = 30
_DAY_MS = 86_400_000


def fill_enrolment(tally: Tally, connection: Connection, *, now_ms: int) -> None:
    """Gauges of the registry.

    Args:
        tally: gets them.
        connection: in a transaction.
        now_ms: by our clock.
    """
    for role in Role:
        for metric in (specs.ENROLLED, specs.EXPIRE_SOON, specs.EXPIRED):
            tally.set(metric, 0, role.value)
    names = _names(now_ms)
    # Each name once; counted by the database, as there may be tens of thousands.
    rows = connection.execute(
        select(
            names.c.role,
            func.sum(names.c.live),
            func.sum(case((and_(names.c.live == 1, names.c.long == 0), 1), else_=0)),
            func.sum(case((and_(names.c.live == 0, names.c.lapsed == 1), 1), else_=0)),
            func.min(names.c.ends_ms),
        ).group_by(names.c.role)
    )
    for role, enrolled, soon, expired, next_ms in rows:
        tally.set(specs.ENROLLED, enrolled, role)
        tally.set(specs.EXPIRE_SOON, soon, role)
        tally.set(specs.EXPIRED, expired, role)
        if next_ms is not None:
            tally.set(specs.EXPIRE_NEXT, next_ms / 1000, role)


def _names(now_ms: int) -> Subquery:
    c = credentials.c
    counts = live(now_ms)
    left, whole = c.expires_ms - now_ms, c.expires_ms - c.issued_ms
    lapsed = and_(
        c.revoked_ms.is_(None),
        c.expires_ms <= now_ms,
        c.expires_ms > now_ms - EXPIRED_DAYS * _DAY_MS,
    )
    return (
        select(
            c.role,
            func.max(case((counts, 1), else_=0)).label("live"),
            func.max(case((and_(counts, left * SOON >= whole), 1), else_=0)).label("long"),
            func.max(case((lapsed, 1), else_=0)).label("lapsed"),
            func.max(case((counts, c.expires_ms))).label("ends_ms"),
        )
        .group_by(c.role, c.name)
        .subquery()
    )


class AuthorityMetrics(Collector):
    """When authorities and the broker's files expire, read at each scrape.

    Args:
        authority: whose.
        folder: of the broker's files.
        well: whether they were written when they were last to be.
    """

    def __init__(self, *, authority: Authority, folder: Path, well: Callable[[], bool]) -> None:
        self._authority = authority
        self._folder = folder
        self._well = well

    def collect(self) -> Iterator[Family]:
        """What `prometheus_client` asks for at a scrape."""
        tally = Tally(specs.AUTHORITY_METRICS)
        tally.set(specs.FILES_UP, int(self._well()))
        for role, certificate in self._authority.certificates.items():
            end = certificate.not_valid_after_utc
            tally.set(specs.AUTHORITY_EXPIRES, end.timestamp(), role.value)
        for name, end in file_ends(self._authority, self._folder).items():
            tally.set(specs.FILES_EXPIRE, end.timestamp(), name)
        yield from tally.collect()


def file_ends(authority: Authority, folder: Path) -> dict[str, datetime]:
    """When which of the broker's files expires; without those that cannot be read."""
    ends: dict[str, datetime] = {}
    try:
        server = read_server(folder)
        if server is not None:
            ends[SERVER_CERTIFICATE] = server.not_valid_after_utc
        for role in Role:
            _, listed = read_revocations(folder / f"{role}.crl", authority.certificates[role])
            if listed is not None and listed.next_update_utc is not None:
                ends[f"{role}.crl"] = listed.next_update_utc
    except OSError:
        pass  # `edgeqa_broker_files_up` tells of it
    return ends
