"""The authority's part of `edgeqa cloud run`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from structlog.typing import FilteringBoundLogger

from edgeqa.tls import CertificateFiles
from edgeqa_cloud.database import Database
from edgeqa_cloud.enrolment.authority import Authority
from edgeqa_cloud.enrolment.enrolment_metrics import AuthorityMetrics
from edgeqa_cloud.enrolment.keeper import BrokerFilesKeeper
from edgeqa_cloud.enrolment.refreshing import broker_folder
from edgeqa_cloud.settings import CloudSettings


@contextmanager
def files_kept_fresh(
    settings: CloudSettings,
    authority: Authority,
    database: Database,
    log: FilteringBoundLogger,
    ready: Callable[[], bool],
) -> Iterator[AuthorityMetrics]:
    """Inside the block the broker's files are kept up to date; what it yields tells of them."""
    cert = settings.broker_cert_file
    keeper = BrokerFilesKeeper(
        settings=settings,
        authority=authority,
        database=database,
        ready=ready,
        log=log,
        own=None if cert is None else CertificateFiles(cert, settings.broker_key_file),
    )
    keeper.start()
    try:
        yield AuthorityMetrics(
            authority=authority,
            folder=broker_folder(settings, authority.folder),
            well=lambda: keeper.well,
        )
    finally:
        keeper.stop()
