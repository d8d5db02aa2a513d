"""`edgeqa cloud run`: a collector, rollouts, the API and the page, metrics for Prometheus, the
signed repository, read every so often; where there is an authority, the broker's files and the
renewal of certificates.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from prometheus_client import CollectorRegistry
from structlog.typing import FilteringBoundLogger

from edgeqa_cloud.collector import Collector
from edgeqa_cloud.database import Database
from edgeqa_cloud.enrolment.refreshing import open_authority
from edgeqa_cloud.enrolment.renewals_link import renewing
from edgeqa_cloud.enrolment.wiring import files_kept_fresh
from edgeqa_cloud.fleet_metrics import FleetMetrics
from edgeqa_cloud.metrics import CollectorMetrics
from edgeqa_cloud.metrics_server import MetricsServer
from edgeqa_cloud.metrics_settings import listen_address
from edgeqa_cloud.packages.wiring import wire_catalogue
from edgeqa_cloud.rollout.wiring import steered
from edgeqa_cloud.settings import CloudSettings
from edgeqa_cloud.watching import Watched


def run_cloud(settings: CloudSettings, log: FilteringBoundLogger) -> None:
    """Collect, steer rollouts and serve until asked to stop.

    Raises:
        ConfigError: a setting is wrong, or the database is of a later version.
        DatabaseError: the database cannot be reached or written at the start.
        BrokerError: no connection to the broker in time.
        ListenError: the address for metrics, or of the API, is taken.
        AuthorityError: the authority's folder or its passphrase is not what it should be.
    """
    authority = open_authority(settings)
    metrics = None
    if settings.metrics_listen != "off":
        metrics = CollectorMetrics(models=settings.metrics_models)
    watcher = None if metrics is None else Watched(metrics)
    collector = Collector(settings=settings, log=log, watcher=watcher)

    def ready() -> bool:
        # It has made the tables, or brought them up to date.
        return collector.state.writer is not None

    with ExitStack() as stack:
        database = stack.enter_context(Database.of(settings))
        registry = None if metrics is None else metrics.registry()
        if authority is not None:
            kept = files_kept_fresh(settings, authority, database, log, ready)
            of_authority = stack.enter_context(kept)
            stack.enter_context(renewing(settings, authority, database, log, ready))
            if registry is not None:
                registry.register(of_authority)
        if metrics is not None and registry is not None:
            _watch_queue(metrics, collector)
            stack.enter_context(_metrics_server(settings, database, registry, collector, log))
        catalogue = wire_catalogue(settings, database, log, ready)
        if catalogue is not None:
            stack.enter_context(catalogue)
        # Last in, first out: the engine ends before what it decides by, and nobody orders of one
        # that has ended.
        poke = stack.enter_context(steered(settings, log, ready=ready))
        if settings.listen != "off":
            from edgeqa_cloud.api.wiring import served  # noqa: PLC0415  FastAPI takes its time

            stack.enter_context(served(settings, log, poke=poke, catalogue=catalogue))
        collector.run()


@contextmanager
def _metrics_server(
    settings: CloudSettings,
    database: Database,
    registry: CollectorRegistry,
    collector: Collector,
    log: FilteringBoundLogger,
) -> Iterator[None]:
    host, port = listen_address(settings.metrics_listen)
    fleet = FleetMetrics(
        database=database,
        models=settings.metrics_models,
        each_device=settings.metrics_devices,
        cache_s=settings.metrics_cache_s,
    )
    server = MetricsServer(
        host=host,
        port=port,
        registries={"/metrics": registry, "/metrics/fleet": fleet.registry()},
        healthy=lambda: _ill(collector),
    )
    with server:
        log.info("metrics_served", url=f"{server.url}/metrics")
        yield


def _watch_queue(metrics: CollectorMetrics, collector: Collector) -> None:
    inbox = collector.inbox
    metrics.watch_queue(limit=inbox.most, waiting=lambda: len(inbox), oldest_s=inbox.oldest_s)


def _ill(collector: Collector) -> str | None:
    """Why this is not well; a broker or a database that is away is its own alert."""
    return None if collector.state.threads_alive else "a thread of the collector does not run"
