"""An engine over a real broker and a real database, and devices that follow it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import structlog
from sqlalchemy import select

from edgeqa.commands import unix_ms
from edgeqa_cloud.database import Database
from edgeqa_cloud.rollout.engine import Engine
from edgeqa_cloud.rollout.service import Rollouts
from edgeqa_cloud.rollout.spec import RolloutSpec
from edgeqa_cloud.rollout.states import Action
from edgeqa_cloud.rollout.steering import Pace
from edgeqa_cloud.rollout.tables import audit, rollout_members
from edgeqa_cloud.rollout.views import RolloutView
from edgeqa_cloud.rollout.wiring import wire_engine
from edgeqa_cloud.settings import CloudSettings
from edgeqa_cloud.tables import devices
from support.broker import Broker
from support.cloud import wait_until
from support.fleet import NEW
from support.following_fleet import BAD, THIRD, FollowingFleet
from support.rollout_rows import RolloutRows

# Evaluations of these devices have 50 questions each.
GATES: dict[str, Any] = {
    "exact_match": {"max_drop": 5, "min_questions": 50},
    "f1": {"max_drop": 5, "min_questions": 50},
    "silent_devices": None,
}
SPEC: dict[str, Any] = {
    "package": {"name": NEW["name"], "version": NEW["version"]},
    "target": {"all": True},
    "stages": [{"count": 2, "soak_s": 0.2}, {"percent": 100, "soak_s": 0.2}],
    "gates": GATES,
}


@dataclass
class Steered:
    """Attributes: fleet, and what a person has of it."""

    database: Database
    settings: CloudSettings
    fleet: FollowingFleet
    engines: list[Engine] = field(default_factory=list)
    _databases: dict[Engine, Database] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.rollouts = Rollouts(database=self.database, now_ms=unix_ms, poke=self.poke)

    def poke(self) -> None:
        for one in self.engines:
            one.poke()

    def start(self) -> Engine:
        """An engine of its own database connections, as another process has."""
        database = Database.of(self.settings)
        engine = wire_engine(
            settings=self.settings,
            database=database,
            log=structlog.get_logger(),
            pace=Pace(gather_s=0.1, join_s=0.2),
        )
        self.engines.append(engine)
        self._databases[engine] = database
        engine.start()
        return engine

    def stop(self, engine: Engine | None = None) -> None:
        """One of them, or all."""
        for one in [*self.engines] if engine is None else [engine]:
            self.engines.remove(one)
            one.stop()
            self._databases.pop(one).close()

    def create(self, version: str = NEW["version"], **fields: Any) -> str:
        spec: Mapping[str, Any] = {
            **SPEC,
            "package": {"name": NEW["name"], "version": version},
            **fields,
        }
        return self.rollouts.create(RolloutSpec.model_validate(spec), actor="user:anna").rollout

    def order(self, rollout: str, action: Action) -> str:
        return self.rollouts.order(rollout, action, actor="user:anna", wait_s=10).state

    def view(self, rollout: str) -> RolloutView:
        return self.rollouts.view(rollout)

    def wait(self, rollout: str, state: str, *, timeout_s: float = 20) -> RolloutView:
        def there() -> bool:
            return self.view(rollout).state == state

        try:
            wait_until(there, f"{rollout} {state}", timeout_s=timeout_s)
        except AssertionError:
            raise AssertionError(self.told(rollout)) from None
        return self.view(rollout)

    def wait_members(self, rollout: str, **states: int) -> None:
        def there() -> bool:
            return self.members(rollout) == states

        try:
            wait_until(there, f"{states}", timeout_s=20)
        except AssertionError:
            raise AssertionError(self.told(rollout)) from None

    def members(self, rollout: str) -> dict[str, int]:
        return {str(state): count for state, count in self.view(rollout).states.items()}

    def state_of(self, rollout: str, device: str) -> Any:
        """A member's row."""
        with self.database.reading() as connection:
            return connection.execute(
                select(rollout_members)
                .join(devices, devices.c.id == rollout_members.c.device_id)
                .where(devices.c.device == device)
                .order_by(rollout_members.c.rollout_id)
            ).all()[self._number(rollout)]

    def _number(self, rollout: str) -> int:
        page = self.rollouts.list_rollouts()
        return [one.rollout for one in reversed(page.rollouts)].index(rollout)

    def actions(self, rollout: str) -> list[str]:
        """Of the audit log, oldest first."""
        with self.database.reading() as connection:
            query = select(audit.c.action).where(audit.c.rollout == rollout).order_by(audit.c.id)
            return [row[0] for row in connection.execute(query)]

    def told(self, rollout: str) -> str:
        with self.database.reading() as connection:
            query = select(audit.c.action, audit.c.device, audit.c.message).order_by(audit.c.id)
            log = "\n".join(str(tuple(row)) for row in connection.execute(query))
        return f"{self.view(rollout).model_dump_json(indent=1)}\n{log}"


@contextmanager
def steered(
    database: Database, broker: Broker, names: Iterable[str], **settings: Any
) -> Iterator[Steered]:
    """A fleet and an engine that is not started yet."""
    rows = RolloutRows(database, unix_ms())
    for model in (NEW, BAD, THIRD):
        rows.package(model)
    made = CloudSettings.model_validate(
        {
            "broker": broker.url,
            "database": str(database.engine.url.render_as_string(hide_password=False)),
            "name": "cloud",
            "rollouts_every_s": 0.05,
            "broker_connect_timeout_s": 1.0,
            **settings,
        }
    )
    with ExitStack() as stack:
        fleet = stack.enter_context(FollowingFleet(broker, database, names))
        bench = Steered(database, made, fleet)
        stack.callback(bench.stop)
        yield bench
