"""Writes a database of this version's schema, with rows in every table, as SQL.

    cd tests && python -m support.schema_snapshot

makes `cloud/schemas/REVISION.sqlite.sql` and `….postgresql.sql`. Done once for each revision that
was released; `test_migrate.py` upgrades every one of them.
"""

from __future__ import annotations

import re
import sqlite3
import subprocess
import tempfile
from pathlib import Path

from sqlalchemy import Table, insert

from edgeqa.postgres_process import PostgresServer, programs
from edgeqa_cloud.access.tables import accounts, idempotency, sessions
from edgeqa_cloud.database import Database
from edgeqa_cloud.enrolment.tables import credentials
from edgeqa_cloud.migrate import migrate
from edgeqa_cloud.rollout.tables import (
    audit,
    catalogue,
    device_tags,
    packages,
    rollout_claims,
    rollout_members,
    rollout_orders,
    rollouts,
    wishes,
)
from edgeqa_cloud.schema import metadata
from edgeqa_cloud.tables import fleet_hours, fleet_hours_due, gaps, leases, rollups
from support.cloud import Store, arrival, evaluation, heartbeat, swap, telemetry
from support.fleet_databases import Databases, postgres_server

_BY = {"rollout_id": 1, "device_id": 1}
_NAMED = {"name": "minilm", "version": "1.0.0", "digest": "sha256:" + "0" * 64}
_ROLLOUT_ROWS: tuple[tuple[Table, dict[str, object]], ...] = (
    (rollouts, {"rollout": "r-1", "created_ms": 1, "created_by": "user:anna", "spec": {},
                "state": "completed", "updated_ms": 1,
                **{f"model_{name}": value for name, value in _NAMED.items()}}),
    (rollout_members, {**_BY, "stage": 0, "position": 0, "state": "changed"}),
    (rollout_orders, {"rollout_id": 1, "action": "pause", "actor": "user:anna", "note": "",
                      "ordered_ms": 1, "state": "obeyed"}),
    (wishes, {**_BY, "device": "pi-1", "payload": "{}", "made_ms": 1}),
    (rollout_claims, _BY),
    (device_tags, {"device_id": 1, "tag": "hall"}),
    (packages, {**_NAMED, "bytes": 1, "manifest": {}, "first_seen_ms": 1, "last_seen_ms": 1}),
    (catalogue, {"id": 1, "repository": "file:///r", "tried_ms": 1}),
    (audit, {"time_ms": 1, "actor": "engine", "action": "completed", "message": "",
             "evidence": {}}),
    (accounts, {"kind": "user", "name": "anna", "role": "admin", "secret": "x", "created_ms": 1,
                "created_by": "shell"}),
    (sessions, {"secret": "x", "account_id": 1, "created_ms": 1, "expires_ms": 2}),
    (credentials, {"role": "device", "name": "pi-1", "method": "certificate", "serial": "1f",
                   "fingerprint": "0" * 64, "issued_ms": 1, "issued_by": "shell",
                   "expires_ms": 2}),
    (idempotency, {"account": "user:anna", "key": "k", "request": "x", "made_ms": 1}),
)  # fmt: skip

FOLDER = Path(__file__).parents[1] / "cloud" / "schemas"


def fill(database: Database) -> None:
    """Rows in every table."""
    Store(database).store(
        arrival("heartbeat", heartbeat()),
        arrival("telemetry", telemetry()),
        arrival("evaluation", evaluation(seq=42)),
        arrival("swap", swap(seq=43)),
        arrival("telemetry", b"?"),
    )
    with database.writing() as connection:
        connection.execute(insert(gaps).values(boot=1, first=1, last=2, found_ms=3, state="open"))
        connection.execute(insert(leases).values(name="jobs", holder="one", until_ms=1))
        connection.execute(
            insert(rollups).values(
                device_id=1, period="hour", start_ms=0, model_digest="", records=1, covered_s=60,
                answered=1, outcomes={"answered": 1}, reconnects=0, evaluations=0,
                evaluation_questions=0,
            )
        )  # fmt: skip
        connection.execute(
            insert(fleet_hours).values(
                start_ms=0, devices=1, covered_s=60, answered=1, refused=0, evaluation_questions=0
            )
        )
        connection.execute(insert(fleet_hours_due).values(start_ms=0, mark_ms=1))
        for table, row in _ROLLOUT_ROWS:
            connection.execute(insert(table).values(**row))


def _sqlite(path: Path) -> str:
    with sqlite3.connect(path) as connection:
        text = "\n".join(connection.iterdump())
    connection.close()
    return text


def _postgresql(server: PostgresServer, url: str) -> str:
    command = [str(programs() / "pg_dump"), "--inserts", "--no-owner", "--no-privileges", url]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    # What only psql understands, and what is about one server.
    kept = [line for line in text.splitlines() if not re.match(r"(\\|--|SET |$)", line)]
    return "\n".join(line for line in kept if "set_config" not in line)


def main() -> None:
    """See the module."""
    FOLDER.mkdir(exist_ok=True)
    assert metadata.tables
    with tempfile.TemporaryDirectory() as name, postgres_server() as server:
        folder = Path(name)
        for databases, kind in ((Databases(folder, None), "sqlite"),
                                (Databases(folder, server), "postgresql")):  # fmt: skip
            url = databases.new()
            with databases.open(url) as database:
                revision = migrate(database).after
                fill(database)
            text = (
                _sqlite(Path(url.removeprefix("sqlite:///")))
                if kind == "sqlite"
                else _postgresql(server, url)
            )
            (FOLDER / f"{revision}.{kind}.sql").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
