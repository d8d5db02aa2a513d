"""The engine and its deployer, wired together for `edgeqa cloud run`."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from structlog.typing import FilteringBoundLogger

from edgeqa.broker import resolve_broker
from edgeqa.client_ids import private_client_id
from edgeqa.commands import unix_ms
from edgeqa_cloud.database import Database
from edgeqa_cloud.rollout.deployer import Deployer
from edgeqa_cloud.rollout.engine import Engine
from edgeqa_cloud.rollout.leadership import Leadership
from edgeqa_cloud.rollout.steering import Pace
from edgeqa_cloud.settings import CloudSettings


def wire_engine(
    *,
    settings: CloudSettings,
    database: Database,
    log: FilteringBoundLogger,
    ready: Callable[[], bool] = lambda: True,
    pace: Pace | None = None,
) -> Engine:
    """All parts, not started.

    Args:
        settings: of the process.
        database: for the engine and its deployer.
        ready: whether the tables are there.
        pace: of what is not done at each look.

    Raises:
        ConfigError: a file that the broker's settings name is not usable.
    """
    leadership = Leadership(
        # Two with one name, by mistake, must not both hold it.
        holder=f"{settings.name}-{secrets.token_hex(4)}",
        now_ms=unix_ms,
    )
    deployer = Deployer(
        database=database,
        leadership=leadership,
        broker=resolve_broker(settings),
        client_id=private_client_id(f"{settings.name}-rollouts", settings),
        now_ms=unix_ms,
        log=log,
    )
    return Engine(
        database=database,
        leadership=leadership,
        deployer=deployer,
        every_s=settings.rollouts_every_s,
        now_ms=unix_ms,
        log=log,
        ready=ready,
        pace=pace,
    )


@contextmanager
def steered(
    settings: CloudSettings, log: FilteringBoundLogger, *, ready: Callable[[], bool]
) -> Iterator[Callable[[], None]]:
    """Rollouts are steered inside the block, where the settings say so.

    Yields:
        What wakes the engine, for whoever creates and orders in this process.

    Raises:
        ConfigError: a setting is wrong.
        DatabaseError: the folder of an SQLite file cannot be made.
    """
    if not settings.rollouts:
        yield lambda: None
        return
    with Database.of(settings) as database:
        engine = wire_engine(settings=settings, database=database, log=log, ready=ready)
        engine.start()
        try:
            yield engine.poke
        finally:
            engine.stop()
