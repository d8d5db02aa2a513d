"""Collectors in processes of their own, and messages for them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import Table, func, select

from edgeqa.telemetry_examples import EVALUATIONS, HEARTBEATS, SWAPS, TELEMETRY
from edgeqa.topics import DeviceTopics
from edgeqa_cloud.database import Database
from edgeqa_cloud.quarantine import Keep
from edgeqa_cloud.reading import Arrival, Message, Refused, read
from edgeqa_cloud.settings import DatabaseSettings
from edgeqa_cloud.storage import Storage
from edgeqa_cloud.stored import Stored
from support.broker import Broker

WAIT_S = 60.0
NOW_MS = 1_800_000_000_000
MOST_BYTES = 256 << 10


def telemetry(**fields: Any) -> dict[str, Any]:
    return {**TELEMETRY["serving"], **fields}


def evaluation(**fields: Any) -> dict[str, Any]:
    return {**EVALUATIONS["afterSwap"], **fields}


def swap(**fields: Any) -> dict[str, Any]:
    return {**SWAPS["failed"], **fields}


def heartbeat(**fields: Any) -> dict[str, Any]:
    return {**HEARTBEATS["heartbeat"], **fields}


def arrival(
    kind: str, body: dict[str, Any] | bytes, *, device: str = "pi5", at_ms: int = NOW_MS
) -> Arrival:
    payload = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Arrival(f"{DeviceTopics(device).root}/{kind}", payload, len(payload), at_ms)


def judged(*arrivals: Arrival) -> list[Message | Refused]:
    items = [read(one, most_bytes=MOST_BYTES) for one in arrivals]
    return [one for one in items if one is not None]


def wait_until(true: Callable[[], bool], what: str, *, timeout_s: float = WAIT_S) -> None:
    deadline = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline, f"not in time: {what}"
        time.sleep(0.1)


@dataclass
class Store:
    """A database and what a collector's writer does with it."""

    database: Database
    keep: Keep = field(default_factory=lambda: Keep(1000, 4096))
    storage: Storage = field(init=False)

    def __post_init__(self) -> None:
        self.storage = Storage(database=self.database, keep=self.keep)

    def store(self, *arrivals: Arrival) -> Stored:
        return self.storage.store(judged(*arrivals))

    def rows(self, table: Table, **where: Any) -> list[Any]:
        conditions = [table.c[name] == value for name, value in where.items()]
        query = select(table).where(*conditions).order_by(*table.primary_key.columns)
        with self.database.reading() as connection:
            return list(connection.execute(query))

    def one(self, table: Table, **where: Any) -> Any:
        (row,) = self.rows(table, **where)
        return row


def count(url: str, table: Table) -> int:
    with Database.of(DatabaseSettings(database=url)) as database, database.reading() as connection:
        return int(connection.execute(select(func.count()).select_from(table)).scalar_one())


@dataclass
class CollectorProcess:
    """`edgeqa cloud collect` or `run` against a broker; settings are fields of `CloudSettings`."""

    broker: Broker
    folder: Path
    database: str
    name: str = "collector"
    settings: dict[str, object] = field(default_factory=dict)
    command: str = "collect"
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def log_file(self) -> Path:
        return self.folder / f"{self.name}.log"

    @property
    def events(self) -> list[dict[str, Any]]:
        lines = self.log_file.read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def start(self, *, ready: str = "presence_read") -> CollectorProcess:
        self.folder.mkdir(parents=True, exist_ok=True)
        clean = {name: value for name, value in os.environ.items() if not name.startswith("EDGEQA")}
        values: dict[str, object] = {
            "broker": self.broker.url,
            "database": self.database,
            "name": self.name,
            "log_format": "json",
            "batch_wait_ms": 10,
            "jobs_every_s": 0.2,
            "gap_settle_s": 0.2,
            **self.settings,
        }
        ours = {f"EDGEQA_CLOUD_{name.upper()}": str(value) for name, value in values.items()}
        before = len(self.events) if self.log_file.exists() else 0
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "edgeqa.cli", "cloud", self.command],
                env={**clean, **ours},
                stdout=log,
                stderr=log,
            )
        wait_until(
            lambda: (
                any(one["event"] == ready for one in self.events[before:])
                or self._process is None
                or self._process.poll() is not None
            ),
            f"{ready} of {self.name}",
        )
        assert self._process.poll() is None, self.log_file.read_text()
        return self

    def signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """No time to say goodbye."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stop(self) -> int:
        assert self._process is not None
        if self._process.poll() is None:
            self.signal(signal.SIGTERM)
        return self._process.wait(WAIT_S)

    def has(self, event: str) -> bool:
        return any(one["event"] == event for one in self.events)
