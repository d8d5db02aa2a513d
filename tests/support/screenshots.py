"""Pictures of the pages for the documentation: `cd tests && python -m support.screenshots`.

They are of a real fleet in small: a broker, `edgeqa cloud run`, `edgeqa cloud simulate`, a rollout
that completes, one that is halted in its first stage and undone, and one under way. Takes some
three minutes.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import insert

from edgeqa.commands import unix_ms
from edgeqa.processes import edgeqa_process, free_port
from edgeqa_cloud.access import account_rows
from edgeqa_cloud.access.roles import Kind, Role
from edgeqa_cloud.access.secrets_at_rest import hash_password
from edgeqa_cloud.database import Database
from edgeqa_cloud.rollout.tables import catalogue, packages
from edgeqa_cloud.settings import DatabaseSettings
from edgeqa_cloud.simulate.models import SimulatedModel
from support.broker import Broker
from support.browser import Chromium, Visitor

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "screenshots"
# In a repository, for ever.
MAX_BYTES = 200_000
DEVICES = 60
CANARIES = 6
_HEIGHT = 860
_PATIENCE_S = 300.0
_PASSWORD = "only for these pictures"
_DAY_MS = 86_400_000
OLD = SimulatedModel(name="minilm-l6-squad", version="0.1.1", em=70.2, f1=80.2, p50=45.3)
GOOD = SimulatedModel(
    name="minilm-l3-distil-squad", version="0.2.0", em=67.5, f1=78.0, p50=24.8, memory=110
)
BAD = SimulatedModel(name="minilm-l6-squad", version="0.1.2", em=8.0, f1=15.0, p50=45.0)
LOOKS: Mapping[str, Mapping[str, bool]] = {
    "light": {}, "dark": {"dark": True}, "phone": {"phone": True},
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Cloud:
    """Where it is, and how it is asked."""

    url: str
    client: httpx.Client

    def begin(self, model: SimulatedModel, note: str, soak_s: float = 4.0) -> str:
        """Begin a rollout; its id."""
        accuracy = {"max_drop": 8, "min_questions": 200}
        spec = {
            "package": {"name": model.name, "version": model.version},
            "target": {"all": True},
            "stages": [{"count": CANARIES, "soak_s": soak_s}, {"percent": 40, "soak_s": soak_s},
                       {"percent": 100, "soak_s": soak_s}],
            "gates": {"exact_match": accuracy, "f1": accuracy, "p95_latency": {"max_ratio": 2}},
            "note": note,
        }  # fmt: skip
        response = self.client.post("/api/v1/rollouts", json=spec)
        assert response.status_code == 201, response.text
        return str(response.json()["rollout"])

    def get(self, path: str) -> Any:
        """Of the API."""
        response = self.client.get(f"/api/v1{path}")
        response.raise_for_status()
        return response.json()

    def wait(self, true: Callable[[], bool], what: str) -> None:
        """Until it is."""
        end = time.monotonic() + _PATIENCE_S
        while not true():
            assert time.monotonic() < end, f"not in {_PATIENCE_S:g} s: {what}"
            time.sleep(0.5)


@contextmanager
def a_cloud(folder: Path) -> Iterator[Cloud]:
    """All of it, running."""
    with ExitStack() as stack:
        broker = Broker(folder=folder / "broker").start()
        stack.callback(broker.stop)
        url = f"sqlite:///{folder / 'cloud.db'}"
        port = free_port()
        settings = {
            "EDGEQA_CLOUD_BROKER": f"mqtt://127.0.0.1:{broker.port}",
            "EDGEQA_CLOUD_DATABASE": url,
            "EDGEQA_CLOUD_LISTEN": f"127.0.0.1:{port}",
            "EDGEQA_CLOUD_METRICS_LISTEN": "off",
            "EDGEQA_CLOUD_LOG_FORMAT": "json",
            "XDG_STATE_HOME": str(folder / "state"),
        }
        stack.enter_context(
            edgeqa_process(["cloud", "run"], folder / "cloud.log", settings, ready="presence_read")
        )
        database = stack.enter_context(Database.of(DatabaseSettings(database=url)))
        _offer(database)
        page = f"http://127.0.0.1:{port}"
        client = stack.enter_context(
            httpx.Client(base_url=page, headers={"Origin": page}, timeout=30.0)
        )
        logged_in = client.post("/login", data={"name": "anna", "password": _PASSWORD})
        assert logged_in.status_code == 303, logged_in.text
        stack.enter_context(_fleet(folder, settings["EDGEQA_CLOUD_BROKER"]))
        yield Cloud(page, client)


@contextmanager
def _fleet(folder: Path, broker: str) -> Iterator[None]:
    models = [
        f"{one.name}@{one.version}:em={one.em}:f1={one.f1}:p50={one.p50}:memory={one.memory}"
        for one in (OLD, GOOD, BAD)
    ]
    settings = {
        "EDGEQA_SIMULATE_BROKER": broker,
        "EDGEQA_SIMULATE_DEVICES": str(DEVICES),
        "EDGEQA_SIMULATE_PREFIX": "kiosk-",
        "EDGEQA_SIMULATE_MODELS": ",".join(models),
        "EDGEQA_SIMULATE_TELEMETRY_INTERVAL_S": "3",
        "EDGEQA_SIMULATE_HEARTBEAT_INTERVAL_S": "10",
        "EDGEQA_SIMULATE_EVALUATION_INTERVAL_S": "12",
        "EDGEQA_SIMULATE_EVALUATION_QUESTIONS": "200",
        "EDGEQA_SIMULATE_QUESTIONS_PER_MINUTE": "120",
        "EDGEQA_SIMULATE_FETCH_S": "1",
        "EDGEQA_SIMULATE_LOAD_S": "0.5",
        "EDGEQA_SIMULATE_REPORT_EVERY_S": "1",
    }
    log = folder / "fleet.log"
    with edgeqa_process(["cloud", "simulate"], log, settings, ready="simulation"):
        yield


def _offer(database: Database) -> None:
    """Somebody who logs in, and the packages, as if they had been read from a repository."""
    now_ms = unix_ms()
    with database.writing() as connection:
        account_rows.create(
            connection, Kind.USER, "anna", role=Role.OPERATOR, secret=hash_password(_PASSWORD),
            actor="screenshots", now_ms=now_ms,
        )  # fmt: skip
        connection.execute(
            insert(catalogue).values(
                id=1, repository="https://models.example.org/repository", tried_ms=now_ms,
                read_ms=now_ms, expires_ms=now_ms + 30 * _DAY_MS,
            )
        )  # fmt: skip
        for one in (OLD, GOOD, BAD):
            file = ROOT / "models" / "packages" / f"{one.name}-{one.version}" / "manifest.json"
            manifest = json.loads(file.read_text()) if file.exists() else {"precision": "int8"}
            connection.execute(
                insert(packages).values(
                    name=one.name, version=one.version, digest=one.ref().digest,
                    bytes=18_700_000, manifest=manifest, first_seen_ms=now_ms, last_seen_ms=now_ms,
                )
            )  # fmt: skip


def take(cloud: Cloud, folder: Path) -> None:
    """The course of the fleet, then its pictures."""
    cloud.wait(
        lambda: cloud.get("/fleet")["evaluation_questions"] >= 150 * DEVICES,
        "evaluations of all devices",
    )
    good = cloud.begin(GOOD, "the smaller reader: half the time for an answer")
    ended = {"completed", "undone", "undo_incomplete", "aborted"}

    def over(rollout: str) -> bool:
        return cloud.get(f"/rollouts/{rollout}")["state"] in ended

    cloud.wait(lambda: over(good), "the good rollout")
    bad = cloud.begin(BAD, "fine-tuned again on last month's questions")
    cloud.wait(lambda: over(bad), "the bad rollout")
    under_way = cloud.begin(OLD, "back to the larger reader", soak_s=600.0)
    cloud.wait(lambda: cloud.get(f"/rollouts/{under_way}")["soak_begun_ms"] is not None, "the soak")
    time.sleep(5)  # for gates that are judged
    pages = {
        "overview": "/", "devices": "/devices", "device": "/devices/kiosk-00001",
        "rollouts": "/rollouts", "rollout-under-way": f"/rollouts/{under_way}",
        "rollout-good": f"/rollouts/{good}", "rollout-halted": f"/rollouts/{bad}",
        "packages": "/packages", "audit": "/audit",
        "new-rollout": f"/rollouts/new?package={GOOD.name}@{GOOD.version}",
    }  # fmt: skip
    with Chromium() as chromium:
        for look, options in LOOKS.items():
            with chromium.visitor(cloud.url, **options) as visitor:
                visitor.log_in("anna", _PASSWORD)
                for name, path in pages.items():
                    _picture(visitor, path, folder / f"{name}-{look}.png")


def _picture(visitor: Visitor, path: str, file: Path) -> None:
    page = visitor.page
    if (page.viewport_size or {}).get("width", 0) > _HEIGHT:
        page.set_viewport_size({"width": 1280, "height": _HEIGHT})
    visitor.see(path)
    visitor.wait_live()
    page.locator(".chart:not([data-state])").wait_for(state="detached")
    visitor.picture(file)
    size = file.stat().st_size
    assert size <= MAX_BYTES, f"{file.name} has {size:,} bytes"


def main() -> None:
    """Into docs/screenshots, unless said."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=FOLDER)
    folder: Path = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="edgeqa-") as state, a_cloud(Path(state)) as cloud:
        take(cloud, folder)


if __name__ == "__main__":
    main()
