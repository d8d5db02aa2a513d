"""Whatever the simulation does to records, a real collector's database ends up exact."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select
from support.broker import Broker

from edgeqa.operator import Operator
from edgeqa.processes import edgeqa_process
from edgeqa_cloud.database import Database
from edgeqa_cloud.settings import DatabaseSettings
from edgeqa_cloud.simulate.ledger import payload_digest, read_ledger
from edgeqa_cloud.tables import boots, devices, evaluations, gaps, quarantine, records, swaps

pytestmark = pytest.mark.system

QUICK = {
    "DEVICES": "20",
    "TELEMETRY_INTERVAL_S": "0.5",
    "HEARTBEAT_INTERVAL_S": "0.5",
    "EVALUATION_INTERVAL_S": "2",
    "EVALUATION_QUESTIONS": "20",
    "CONNECT_RATE": "1000",
    "DURATION_S": "2",
    "SETTLE_S": "20",
}


@dataclass(frozen=True)
class Cloud:
    """A broker, and a database that a collector writes; tests share them, each with a prefix."""

    broker: Broker
    database: Database

    def count(self, table: Any, *where: Any) -> int:
        with self.database.reading() as connection:
            query = select(func.count()).select_from(table).where(*where)
            return int(connection.execute(query).scalar_one())

    def rows(self, query: Any) -> list[Any]:
        with self.database.reading() as connection:
            return list(connection.execute(query).all())


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    folder = tmp_path_factory.mktemp("cloud")
    broker = Broker(folder=folder / "broker").start()
    url = f"sqlite:///{folder / 'cloud.db'}"
    settings = {
        "EDGEQA_CLOUD_BROKER": broker.url,
        "EDGEQA_CLOUD_DATABASE": url,
        "EDGEQA_CLOUD_GAP_SETTLE_S": "0.5",
        "EDGEQA_CLOUD_GAP_RETRY_S": "0.5",
        "EDGEQA_CLOUD_JOBS_EVERY_S": "0.3",
        "EDGEQA_CLOUD_LOG_FORMAT": "json",
    }
    log = folder / "collector.log"
    try:
        with (
            edgeqa_process(["cloud", "collect"], log, settings, ready="presence_read"),
            Database.of(DatabaseSettings(database=url)) as opened,
        ):
            yield Cloud(broker, opened)
    finally:
        broker.stop()


def simulate(cloud: Cloud, folder: Path, prefix: str, **settings: object) -> dict[str, Any]:
    """Run a simulation to its end; its figures."""
    values = QUICK | {name.upper(): str(value) for name, value in settings.items()}
    environment = {f"EDGEQA_SIMULATE_{name}": value for name, value in values.items()}
    done = subprocess.run(
        [sys.executable, "-m", "edgeqa.cli", "cloud", "simulate", "--broker", cloud.broker.url,
         "--json", "--prefix", prefix, "--ledger", str(folder / "ledger")],
        env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    figures: dict[str, Any] = json.loads(done.stdout)
    assert "Traceback" not in done.stderr
    return figures


def assert_exact(cloud: Cloud, ledger: Path) -> None:
    """Each record that was written is there once, unchanged, and nothing else."""
    written = [(e.device, e.boot_id, e.seq, e.digest) for e in read_ledger(ledger)]
    assert len(written) == len(set(written)) > 0
    names = {device for device, *_ in written}
    query = (
        select(devices.c.device, boots.c.boot_id, records.c.seq, records.c.payload)
        .join_from(records, boots, records.c.boot == boots.c.id)
        .join(devices, boots.c.device_id == devices.c.id)
        .where(records.c.kind != "quarantined", devices.c.device.in_(names))
    )
    stored = {(d, b, seq, payload_digest(p.encode())) for d, b, seq, p in cloud.rows(query)}
    assert stored == set(written)


def test_without_faults_all_is_there(cloud: Cloud, tmp_path: Path) -> None:
    figures = simulate(cloud, tmp_path, "plain-")
    assert figures["connected"] == 20
    assert figures["appended"] == figures["acknowledged"] >= 20 * 4
    assert figures["waiting"] == figures["lost"] == figures["resends"] == 0
    assert_exact(cloud, tmp_path / "ledger")
    mine = devices.c.device.like("plain-%")
    found = cloud.rows(select(devices.c.presence, devices.c.presence_reason).where(mine))
    assert set(found) == {("offline", "stopped")}
    own = select(devices.c.id).where(mine)
    assert cloud.count(evaluations, evaluations.c.device_id.in_(own)) == figures["evaluations"] > 0


def test_every_fault_at_once_loses_nothing(cloud: Cloud, tmp_path: Path) -> None:
    year_s = 366 * 86_400
    figures = simulate(
        cloud, tmp_path, "bad-", loss=0.1, duplicates=0.2, reorder=0.2, offline=0.2,
        offline_spell_s=1, clock_jump=0.5, clock_jump_s=20 * year_s, bad_payloads=0.2, seed=5,
        settle_s=90,
    )  # fmt: skip
    made = ("lost", "duplicated", "reordered", "jumped", "spells", "malformed", "resent")
    assert all(figures[fault] > 0 for fault in made), figures
    assert figures["outstanding"] == figures["waiting"] == figures["missing"] == 0
    assert_exact(cloud, tmp_path / "ledger")
    assert cloud.count(gaps) > 0
    assert cloud.count(gaps, gaps.c.state == "lost") == 0
    # Each malformed message is kept; one whose PUBACK was late may be there twice.
    kept = [payload for (payload,) in cloud.rows(select(quarantine.c.payload))]
    assert len(set(kept)) <= figures["malformed"] <= len(kept)
    # A clock that jumped changes no time: within its boot a record's follows the uptime.
    times = cloud.rows(
        select(records.c.time_ms, records.c.device_time_ms, records.c.received_ms)
        .join_from(records, boots, records.c.boot == boots.c.id)
        .join(devices, boots.c.device_id == devices.c.id)
        .where(devices.c.device.like("bad-%"))
    )
    assert any(abs(device - received) > 9 * year_s * 1000 for _, device, received in times)
    assert all(abs(time_ms - received) < 120_000 for time_ms, _, received in times)


def test_a_model_that_is_wished_for_comes_and_a_bad_one_shows(cloud: Cloud, tmp_path: Path) -> None:
    models = "good@1.0.0:em=70:f1=80,bad@2.0.0:em=30:f1=40,broken@3.0.0:fail=1"
    with Operator(broker=cloud.broker.url) as operator:
        operator.wish("wish-00001", "bad", "2.0.0", wish_id="w1")
        operator.wish("wish-00002", "broken", "3.0.0", wish_id="w2")
        operator.wish("wish-00003", "unheard-of", "1.0.0", wish_id="w3")
        figures = simulate(
            cloud, tmp_path, "wish-", models=models, devices=4, fetch_s=0.1, load_s=0.1,
            duration_s=4, evaluation_questions=400, evaluation_interval_s=1,
        )  # fmt: skip
    assert (figures["swaps"], figures["swaps_failed"]) == (1, 2)
    assert_exact(cloud, tmp_path / "ledger")
    mine = devices.c.device.like("wish-%")
    ends = cloud.rows(
        select(devices.c.device, swaps.c.state, swaps.c.wish, swaps.c.code)
        .join_from(swaps, devices, swaps.c.device_id == devices.c.id)
        .where(mine)
    )
    by_device = {device: (state, wish, code) for device, state, wish, code in ends}
    assert by_device["wish-00001"] == ("active", "w1", None)
    assert by_device["wish-00002"][:2] == ("failed", "w2")
    assert by_device["wish-00003"] == ("failed", "w3", "unknown_package")
    active = cloud.rows(select(devices.c.model_name).where(devices.c.device == "wish-00001"))
    assert active[0][0] == "bad"
    scores = cloud.rows(
        select(evaluations.c.model_name, func.avg(evaluations.c.f1))
        .join_from(evaluations, devices, evaluations.c.device_id == devices.c.id)
        .where(mine)
        .group_by(evaluations.c.model_name)
    )
    found = {name: float(f1) for name, f1 in scores}
    assert found["good"] == pytest.approx(80, abs=8)
    assert found["bad"] == pytest.approx(40, abs=8)
