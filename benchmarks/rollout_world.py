"""What `rollouts.py` measures in: a broker that is watched, a cloud, a simulated fleet."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import structlog
from sqlalchemy import insert

from edgeqa.broker import BrokerSettings, resolve_broker
from edgeqa.commands import unix_ms
from edgeqa.errors import EdgeqaError
from edgeqa.mqtt import MqttLink
from edgeqa.packets import Delivery, Subscription
from edgeqa.processes import edgeqa_process, own_process
from edgeqa.topics import Kind, device_in, of_all_devices
from edgeqa_cloud.database import Database
from edgeqa_cloud.rollout.tables import catalogue, packages
from edgeqa_cloud.simulate.models import SimulatedModel

_WAIT_S = 900.0
_LOOK_S = 0.25
_DAY_MS = 86_400_000
FIRST = SimulatedModel(name="reader", version="1.0.0", em=70.0, f1=80.0, p50=45.0)
GOOD = SimulatedModel(name="reader", version="1.1.0", em=70.5, f1=80.5, p50=40.0)
BAD = SimulatedModel(name="reader", version="1.2.0", em=20.0, f1=30.0, p50=40.0)


class Watch:
    """When the broker delivered which version's wish to whom. Use it in a `with` block."""

    def __init__(self, broker: str) -> None:
        self._lock = threading.Lock()
        self._seen: dict[str, dict[str, float]] = {}
        self._link = MqttLink(
            broker=resolve_broker(BrokerSettings(broker=broker)),
            client_id="benchmark",
            subscriptions=[Subscription(of_all_devices(Kind.DESIRED), self._take)],
            log=structlog.get_logger(),
        )

    def __enter__(self) -> Self:
        self._link.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._link.stop()

    def times(self, version: str) -> list[float]:
        """Of the first wish of each device, in order; seconds of the monotonic clock."""
        with self._lock:
            return sorted(self._seen.get(version, {}).values())

    def _take(self, delivery: Delivery) -> None:
        now = time.monotonic()
        if delivery.payload:
            version = json.loads(delivery.payload)["version"]
            with self._lock:
                self._seen.setdefault(version, {}).setdefault(device_in(delivery.topic) or "", now)
        self._link.acknowledge(delivery)


def wait_until(true: Callable[[], bool], what: str) -> None:
    """Look until it is.

    Raises:
        EdgeqaError: not in time.
    """
    deadline = time.monotonic() + _WAIT_S
    while not true():
        if time.monotonic() > deadline:
            raise EdgeqaError(f"not in {_WAIT_S:g} s: {what}", code="demo_failed")
        time.sleep(_LOOK_S)


@contextmanager
def cloud_of(folder: Path, broker: str, url: str) -> Iterator[None]:
    """`edgeqa cloud run`."""
    settings = {
        "EDGEQA_CLOUD_BROKER": broker,
        "EDGEQA_CLOUD_DATABASE": url,
        "EDGEQA_CLOUD_NAME": "cloud",
        "EDGEQA_CLOUD_METRICS_LISTEN": "off",
        "EDGEQA_CLOUD_LISTEN": "off",
        "EDGEQA_CLOUD_LOG_FORMAT": "json",
        "XDG_STATE_HOME": str(folder / "state"),
    }
    with edgeqa_process(["cloud", "run"], folder / "cloud.log", settings, ready="presence_read"):
        yield


@contextmanager
def fleet_of(folder: Path, broker: str, count: int, fetch_s: float) -> Iterator[None]:
    """`edgeqa cloud simulate`."""
    command = ["cloud", "simulate", "--devices", str(count), "--fetch-s", str(fetch_s),
               "--evaluation-interval-s", "0", "--report-every-s", "3600"]  # fmt: skip
    for one in (FIRST, GOOD, BAD):
        command += ["--model", f"{one.name}@{one.version}:em={one.em}:f1={one.f1}:p50={one.p50}"]
    settings = {"EDGEQA_SIMULATE_BROKER": broker}
    whole = [sys.executable, "-m", "edgeqa.cli", *command]
    with own_process(whole, folder / "fleet.log", settings):
        yield


def offer(database: Database) -> None:
    """The packages, as if they had been read from a signed repository."""
    now_ms = unix_ms()
    with database.writing() as connection:
        connection.execute(
            insert(catalogue).values(
                id=1, repository="none", tried_ms=now_ms, read_ms=now_ms,
                expires_ms=now_ms + _DAY_MS,
            )
        )  # fmt: skip
        for one in (FIRST, GOOD, BAD):
            connection.execute(
                insert(packages).values(
                    name=one.name, version=one.version, digest=one.ref().digest, bytes=1,
                    manifest={}, first_seen_ms=now_ms, last_seen_ms=now_ms,
                )
            )  # fmt: skip
