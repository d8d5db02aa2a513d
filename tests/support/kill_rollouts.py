"""Kill an engine at one of its transitions, for real, and let another go on; then see what is left.

    python -m support.kill_rollouts FOLDER VERSION POINT [POINT...]

A point is `KIND:NUMBER`: the engine's process kills itself with SIGKILL at the NUMBERth event of
that kind: `before-commit`, `after-commit`, `before-publish`, `after-publish`; `all` runs through
all there are. Each begins with a fleet of its own, which lives in another process and never
notices. Prints a line of JSON for each: the point, whether it was reached, and what came of it.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy import Connection, select

from edgeqa.commands import unix_ms
from edgeqa.mqtt import MqttLink
from edgeqa.packets import Delivered, Outgoing
from edgeqa_cloud.database import Database
from edgeqa_cloud.rollout.deployer import Deployer
from edgeqa_cloud.rollout.engine import Engine
from edgeqa_cloud.rollout.leadership import Leadership
from edgeqa_cloud.rollout.service import Rollouts
from edgeqa_cloud.rollout.spec import RolloutSpec
from edgeqa_cloud.rollout.steering import Pace
from edgeqa_cloud.rollout.tables import audit, rollout_members, rollouts, wishes
from edgeqa_cloud.settings import DatabaseSettings
from support.broker import Broker
from support.fleet import NEW
from support.fleet_databases import Databases
from support.following_fleet import BAD, FollowingFleet
from support.kill_store import silent
from support.rollout_rows import RolloutRows
from support.steered import SPEC

NAMES = [f"pi-{number}" for number in range(4)]
KINDS = ("before-commit", "after-commit", "before-publish", "after-publish")
MOST = 200
_END_S = 30.0
_FINAL = ("completed", "aborted", "undone", "undo_incomplete")


class Fuse:
    """Dies at one event."""

    def __init__(self, point: str) -> None:
        kind, _, number = point.partition(":")
        self._kind, self._left = kind, int(number or 0)

    def event(self, kind: str) -> None:
        if kind == self._kind:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


class Mortal(Database):
    """Its engine dies before or after a commit."""

    fuse: Fuse

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        with super().writing() as connection:
            yield connection
            self.fuse.event("before-commit")
        self.fuse.event("after-commit")


def mortal_link(fuse: Fuse) -> type[MqttLink]:
    """Dies before or after a wish is handed to the connection."""

    class Link(MqttLink):
        def publish(self, message: Outgoing, delivered: Delivered | None = None) -> None:
            fuse.event("before-publish")
            super().publish(message, delivered)
            fuse.event("after-publish")

    return Link


def steer(url: str, broker: Broker, point: str) -> None:
    """An engine, until the rollout is over and all is published."""
    fuse = Fuse(point)
    with Mortal.of(DatabaseSettings(database=url)) as database:
        database.fuse = fuse
        leadership = Leadership(holder=f"engine-{os.getpid()}", now_ms=unix_ms, lease_ms=600)
        deployer = Deployer(
            database=database,
            leadership=leadership,
            broker=broker.address(),
            client_id=f"engine-{os.getpid()}",
            now_ms=unix_ms,
            log=silent(),
            link_type=mortal_link(fuse),
        )
        engine = Engine(
            database=database,
            leadership=leadership,
            deployer=deployer,
            every_s=0.05,
            now_ms=unix_ms,
            log=silent(),
            pace=Pace(gather_s=0.1),
        )
        engine.start()
        deadline = time.monotonic() + _END_S
        while not over(database):
            if time.monotonic() > deadline:
                raise TimeoutError("the rollout does not end")
            time.sleep(0.02)
        engine.stop()


def over(database: Database) -> bool:
    """Whether nothing is left to do."""
    with database.reading() as connection:
        (state,) = connection.execute(select(rollouts.c.state)).one()
        left = connection.execute(select(wishes.c.id).where(wishes.c.published_ms.is_(None)))
        return state in _FINAL and left.first() is None


def forked(act: Callable[[], None]) -> int:
    """Do something in a process of its own; its id."""
    child = os.fork()
    if child == 0:
        code = 0
        try:
            act()
        except BaseException:  # noqa: BLE001  a child's edge
            traceback.print_exc()
            code = 9
        os._exit(code)
    return child


def fleet(url: str, broker: Broker, ready: Path, end: Path, said: Path) -> None:
    """The devices, until the file `end` is there; then what they were wished."""
    with (
        Database.of(DatabaseSettings(database=url)) as database,
        FollowingFleet(broker, database, NAMES) as devices,
    ):
        ready.touch()
        while not end.exists():
            time.sleep(0.02)
        told = {
            name: {"model": one.model["version"], "wishes": one.wishes}
            for name, one in devices.devices.items()
        }
        said.write_text(json.dumps(told))


def trial(databases: Databases, folder: Path, version: str, point: str) -> dict[str, Any]:
    """One life and one death."""
    folder.mkdir(parents=True)
    url = databases.new()
    broker = Broker(folder / "broker").start()
    ready, end, said = (folder / name for name in ("ready", "end", "said"))
    try:
        devices = forked(lambda: fleet(url, broker, ready, end, said))
        while not ready.exists():
            time.sleep(0.01)
        create(url, version)
        _, status = os.waitpid(forked(lambda: steer(url, broker, point)), 0)
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        if killed:
            _, status = os.waitpid(forked(lambda: steer(url, broker, "never")), 0)
        end.touch()
        os.waitpid(devices, 0)
    finally:
        broker.stop()
    return {
        "point": point, "killed": killed, "status": status, **left(url),
        "devices": json.loads(said.read_text()),
    }  # fmt: skip


def create(url: str, version: str) -> None:
    """The rollout."""
    with Database.of(DatabaseSettings(database=url)) as database:
        rows = RolloutRows(database, unix_ms())
        for model in (NEW, BAD):
            rows.package(model)
        spec = {**SPEC, "package": {"name": NEW["name"], "version": version}}
        service = Rollouts(database=database, now_ms=unix_ms)
        service.create(RolloutSpec.model_validate(spec), actor="user:anna")


def left(url: str) -> dict[str, Any]:
    """What is in the database."""
    with Database.of(DatabaseSettings(database=url)) as database, database.reading() as connection:
        log = connection.execute(select(audit.c.action, audit.c.device).order_by(audit.c.id))
        members = connection.execute(select(rollout_members.c.state, rollout_members.c.wish))
        forward = {row.wish: row.state for row in members.all()}
        return {
            "state": connection.execute(select(rollouts.c.state)).scalar_one(),
            "audit": [list(row) for row in log],
            "members": sorted(forward.values()) if None not in forward else None,
            "waiting": len(
                connection.execute(select(wishes.c.id).where(wishes.c.published_ms.is_(None))).all()
            ),
        }


def main() -> None:
    """See the module."""
    folder, version, *points = sys.argv[1:]
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    base = Path(folder)
    base.mkdir(parents=True, exist_ok=True)
    databases = Databases(base, None)
    if points == ["all"]:
        points = [f"{kind}:{number}" for kind in KINDS for number in range(1, MOST)]
    ended: set[str] = set()
    for at, point in enumerate(points):
        kind = point.partition(":")[0]
        if kind in ended:
            continue
        found = trial(databases, base / str(at), version, point)
        if not found["killed"]:
            ended.add(kind)  # there are no more events of this kind
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
