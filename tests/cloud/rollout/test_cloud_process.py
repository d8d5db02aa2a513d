"""`edgeqa cloud run` itself, killed and started again while simulated devices change."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import func, select
from support.broker import Broker
from support.cloud import CollectorProcess, wait_until
from support.rollout_rows import RolloutRows

from edgeqa.commands import unix_ms
from edgeqa_cloud.database import Database
from edgeqa_cloud.migrate import migrate
from edgeqa_cloud.rollout.service import Rollouts
from edgeqa_cloud.rollout.spec import RolloutSpec
from edgeqa_cloud.settings import DatabaseSettings
from edgeqa_cloud.simulate.models import SimulatedModel
from edgeqa_cloud.tables import devices

FIRST, GOOD, BAD = (
    SimulatedModel(name="reader", version=version, em=em, f1=em + 8)
    for version, em in (("1.0.0", 70.0), ("1.1.0", 71.0), ("1.2.0", 20.0))
)
COUNT = 30
GATES = {name: {"max_drop": 15, "min_questions": 50} for name in ("exact_match", "f1")}
pytestmark = [pytest.mark.slow, pytest.mark.system]


@contextmanager
def simulated(broker: Broker, folder: Path) -> Iterator[None]:
    models = [
        part
        for one in (FIRST, GOOD, BAD)
        for part in ("--model", f"{one.name}@{one.version}:em={one.em}:f1={one.f1}")
    ]
    command = [
        sys.executable, "-m", "edgeqa.cli", "cloud", "simulate", "--broker", broker.url,
        "--devices", str(COUNT), "--fetch-s", "0.5", "--load-s", "0.2",
        "--evaluation-interval-s", "0", *models,
    ]  # fmt: skip
    clean = {name: value for name, value in os.environ.items() if not name.startswith("EDGEQA_")}
    with (folder / "fleet.log").open("wb") as log:
        process = subprocess.Popen(command, env=clean, stdout=log, stderr=log)
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)


def run_model(database: Database, model: SimulatedModel) -> int:
    with database.reading() as connection:
        query = select(func.count()).where(devices.c.model_digest == model.ref().digest)
        return int(connection.execute(query).scalar_one())


@pytest.mark.parametrize(("model", "end"), [(GOOD, "completed"), (BAD, "undone")])
def test_a_cloud_that_is_killed_again_and_again(
    tmp_path: Path, model: SimulatedModel, end: str
) -> None:
    broker = Broker(tmp_path / "broker", persistence=True).start()
    url = f"sqlite:///{tmp_path}/cloud.db"
    cloud = CollectorProcess(
        broker,
        tmp_path,
        url,
        settings={"listen": "off", "metrics_listen": "off", "rollouts_every_s": 0.2},
        command="run",
    )
    spec = RolloutSpec.model_validate(
        {
            "package": {"name": model.name, "version": model.version},
            "target": {"all": True},
            "stages": [{"count": 5, "soak_s": 1}, {"percent": 100, "soak_s": 1}],
            "gates": GATES,
        }
    )
    try:
        with (
            Database.of(DatabaseSettings(database=url)) as database,
            simulated(broker, tmp_path),
        ):
            migrate(database)
            rows = RolloutRows(database, unix_ms())
            for one in (FIRST, GOOD, BAD):
                rows.package(one.ref().model_dump())
            cloud.start()
            wait_until(lambda: run_model(database, FIRST) == COUNT, "all devices are known")
            service = Rollouts(database=database, now_ms=unix_ms)
            rollout = service.create(spec, actor="user:anna").rollout
            for states in ({"wished"}, {"changed"}):
                wait_until(
                    lambda states=states: bool(
                        states & {str(one) for one in service.view(rollout).states}
                    ),
                    f"devices are {states}",
                )
                cloud.kill()
                cloud.start()
            wait_until(lambda: service.view(rollout).state.final, "it ends")
            view = service.view(rollout)
            assert view.state == end, view
            left = run_model(database, model if end == "completed" else FIRST)
            assert left == COUNT
            actions = [one.action for one in service.audit().entries if one.rollout == rollout]
            assert actions.count("rollout_created") == 1
            assert actions.count(end) == 1
    finally:
        cloud.stop()
        broker.stop()
