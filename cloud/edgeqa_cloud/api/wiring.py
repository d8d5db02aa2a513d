"""The API and the pages, wired together for `edgeqa cloud run`."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from structlog.typing import FilteringBoundLogger

from edgeqa.commands import unix_ms
from edgeqa.topics import is_name
from edgeqa_cloud.access.accounts import Accounts
from edgeqa_cloud.access.operator_token import ensure_operator_token
from edgeqa_cloud.api.app import build_app
from edgeqa_cloud.api.asker import Asker
from edgeqa_cloud.api.changes import Changes
from edgeqa_cloud.api.chores import Chores
from edgeqa_cloud.api.idempotency import Idempotency
from edgeqa_cloud.api.parts import Console
from edgeqa_cloud.api.server import ApiServer
from edgeqa_cloud.database import Database
from edgeqa_cloud.metrics_settings import listen_address
from edgeqa_cloud.migrate import migrate
from edgeqa_cloud.packages.catalogue_job import CatalogueJob
from edgeqa_cloud.rollout.service import Rollouts
from edgeqa_cloud.serving_history import DAY_MS
from edgeqa_cloud.settings import CloudSettings


def wire_console(
    *,
    settings: CloudSettings,
    database: Database,
    log: FilteringBoundLogger,
    poke: Callable[[], None] = lambda: None,
    catalogue: CatalogueJob | None = None,
) -> Console:
    """All parts, not started.

    Args:
        poke: wakes the engine of this process.
    """
    return Console(
        database=database,
        settings=settings,
        rollouts=Rollouts(database=database, now_ms=unix_ms, poke=poke),
        accounts=Accounts(database=database, now_ms=unix_ms, session_hours=settings.session_hours),
        changes=Changes(database=database, now_ms=unix_ms, log=log),
        asker=Asker(broker=settings),
        catalogue=catalogue,
        now_ms=unix_ms,
        log=log,
    )


@contextmanager
def served(
    settings: CloudSettings,
    log: FilteringBoundLogger,
    *,
    poke: Callable[[], None] = lambda: None,
    catalogue: CatalogueJob | None = None,
) -> Iterator[None]:
    """The API and the pages are served inside the block, unless the settings say `off`.

    Raises:
        ConfigError: a setting is wrong, or the database is of a later version.
        DatabaseError: the database cannot be reached at the start.
        ListenError: the address is taken.
    """
    if settings.listen == "off":
        yield
        return
    with Database.of(settings) as database:
        console = wire_console(
            settings=settings, database=database, log=log, poke=poke, catalogue=catalogue
        )
        host, port = listen_address(settings.listen)
        server = ApiServer(
            app=build_app(console),
            host=host,
            port=port,
            log=log,
            proxied=settings.public_url is not None,
            before_stop=lambda: _let_go(console),
        )
        keys = Idempotency(database=database, now_ms=unix_ms)
        chores = Chores(
            chores=(console.accounts.tidy, keys.tidy, lambda: _look_ahead(console)), log=log
        )
        # Accounts need the tables; the collector, which makes them too, begins later.
        migrate(database)
        _make_token(settings, console)
        with server:
            log.info("console_served", url=settings.public_url or server.url)
            console.changes.start()
            chores.start()
            try:
                yield
            finally:
                server.stop()
                chores.stop()


def _look_ahead(console: Console) -> None:
    """Whoever opens the overview next finds the last hours read."""
    console.figures.history("24h", lambda now_ms: now_ms - DAY_MS)


def _let_go(console: Console) -> None:
    console.changes.stop()
    console.asker.stop()


def _make_token(settings: CloudSettings, console: Console) -> None:
    path = settings.token_file
    if path is None or str(path) in {"", ".", "off"}:
        return
    host = platform.node()
    ensure_operator_token(
        path,
        database=console.database,
        accounts=console.accounts,
        now_ms=console.now_ms(),
        host=host if is_name(host) else "here",
        log=console.log,
    )
