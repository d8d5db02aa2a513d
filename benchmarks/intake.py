"""How many messages a second one collector process takes into SQLite and into PostgreSQL.

Full telemetry records of many devices, QoS 1, over a real Mosquitto into a real `edgeqa cloud run`;
all on this machine: generator, broker, collector and database. Against the same collector that
inserts and commits message by message. The runs take turns; medians are reported.

    python benchmarks/intake.py
    python benchmarks/intake.py --seconds 60 --rounds 5 --devices 10000

Exit code 1 if a message is not in the database exactly once at the end.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer
from load_generator import Load
from rich.console import Console
from rich.table import Table
from rows.machine import machine
from sqlalchemy import func, select

from edgeqa.errors import EdgeqaError
from edgeqa.postgres_process import PostgresServer
from edgeqa.processes import edgeqa_process, free_port, own_process
from edgeqa_cloud.database import Database
from edgeqa_cloud.settings import DatabaseSettings
from edgeqa_cloud.tables import boots, devices, records

_WARM_UP_S = 5.0
_LOOK_S = 0.25
_DRAIN_S = 60.0
# The generator is at most so far ahead of what is committed: room for full batches.
_AHEAD = 20_000
_AHEAD_ROW_BY_ROW = 500
_ROW_BY_ROW = {"EDGEQA_CLOUD_BATCH_MESSAGES": "1", "EDGEQA_CLOUD_BATCH_WAIT_MS": "0"}
_STORED = re.compile(
    r'^edgeqa_collector_messages_stored_total\{kind="telemetry"\} (\S+)$', re.MULTILINE
)


@dataclass(frozen=True)
class Run:
    """One run."""

    database: str
    mode: str
    messages_s: float
    messages: int
    payload_bytes: int
    collector_cpu: float
    rows_exact: bool


def main(
    seconds: Annotated[float, typer.Option(min=1, help="Measured, after a warm-up.")] = 30.0,
    baseline_seconds: Annotated[float, typer.Option(min=1, help="The same, row by row.")] = 10.0,
    rounds: Annotated[int, typer.Option(min=1)] = 3,
    devices_count: Annotated[
        int, typer.Option("--devices", min=1, help="That send in turn.")
    ] = 1000,
    databases: Annotated[str, typer.Option(help="Of these, by commas.")] = "sqlite,postgresql",
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="NAME=VALUE of the collector; repeatable.")
    ] = None,
    output: Annotated[Path, typer.Option(help="File for the report.")] = Path(
        "bench-out/intake.json"
    ),
) -> None:
    """Measure."""
    extra = {
        f"EDGEQA_CLOUD_{name.upper()}": value
        for name, _, value in (one.partition("=") for one in settings or [])
    }
    runs: list[Run] = []
    console = Console(stderr=True)
    for number in range(rounds):
        for kind in databases.split(","):
            for mode, how, length in (
                ("batches", {}, seconds),
                ("row by row", _ROW_BY_ROW, baseline_seconds),
            ):
                run = _measure(kind, mode, {**extra, **how}, length, devices_count)
                runs.append(run)
                console.print(
                    f"round {number + 1}: {kind}, {mode}: {run.messages_s:.0f} messages/s"
                )
    report = {
        "machine": machine(),
        "devices": devices_count,
        "seconds": seconds,
        "settings": extra,
        "runs": [asdict(one) for one in runs],
        "summary": _summary(runs),
    }
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(report, indent=2) + "\n")
    _show(report["summary"], Console())
    if not all(one.rows_exact for one in runs):
        console.print("some messages are not in the database exactly once")
        sys.exit(1)


def _measure(
    kind: str, mode: str, settings: dict[str, str], seconds: float, device_count: int
) -> Run:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="edgeqa-intake-")))
        folder.chmod(0o755)
        port = stack.enter_context(_broker(folder))
        url = stack.enter_context(_database(kind, folder))
        metrics = free_port()
        collector = stack.enter_context(
            edgeqa_process(
                ["cloud", "run"],
                folder / "collector.log",
                {
                    "EDGEQA_CLOUD_BROKER": f"mqtt://127.0.0.1:{port}",
                    "EDGEQA_CLOUD_DATABASE": url,
                    "EDGEQA_CLOUD_NAME": "collector",
                    "EDGEQA_CLOUD_METRICS_LISTEN": f"127.0.0.1:{metrics}",
                    "EDGEQA_CLOUD_LISTEN": "off",
                    "EDGEQA_CLOUD_ROLLOUTS": "false",
                    "EDGEQA_CLOUD_LOG_FORMAT": "json",
                    **settings,
                },
                ready="presence_read",
            )
        )
        ahead = _AHEAD if mode == "batches" else _AHEAD_ROW_BY_ROW
        with Load(port=port, devices=device_count, boot_id="boot", ahead=ahead) as load:
            _follow(load, metrics, _WARM_UP_S)
            began, cpu = time.monotonic(), _cpu_s(collector.pid)
            before = _stored(metrics)
            _follow(load, metrics, seconds)
            took = time.monotonic() - began
            taken = _stored(metrics) - before
            cpu = (_cpu_s(collector.pid) - cpu) / took
            load.stop()
            sent = load.sent
            end = time.monotonic() + _DRAIN_S
            while _stored(metrics) < sent and time.monotonic() < end:
                time.sleep(_LOOK_S)
        exact, size = _check(url, sent, device_count)
        return Run(kind, mode, taken / took, taken, size, round(cpu, 2), exact)


def _follow(load: Load, metrics: int, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        load.committed(_stored(metrics))
        time.sleep(_LOOK_S)


def _stored(port: int) -> int:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        found = _STORED.search(answer.read().decode())
    return int(float(found[1])) if found else 0


def _check(url: str, sent: int, device_count: int) -> tuple[bool, int]:
    """Whether each message is there once, with every device, and how large one is."""
    with Database.of(DatabaseSettings(database=url)) as database, database.reading() as connection:
        count = connection.execute(select(func.count()).select_from(records)).scalar_one()
        many = connection.execute(select(func.count()).select_from(devices)).scalar_one()
        started = connection.execute(select(func.count()).select_from(boots)).scalar_one()
        size = connection.execute(select(func.length(records.c.payload)).limit(1)).scalar()
    return count == sent and many == started == min(device_count, sent), size or 0


@contextmanager
def _broker(folder: Path) -> Iterator[int]:
    """Mosquitto as docs/collector.md asks for it."""
    port = free_port()
    config = folder / "mosquitto.conf"
    config.write_text(
        f"listener {port} 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\n"
        "max_inflight_messages 0\nmax_queued_messages 0\nlog_dest none\n"
    )
    program = "/usr/sbin/mosquitto"
    with own_process([program, "-c", str(config)], folder / "mosquitto.log", {}):
        time.sleep(1)
        yield port


@contextmanager
def _database(kind: str, folder: Path) -> Iterator[str]:
    if kind == "sqlite":
        yield f"sqlite:///{folder / 'cloud.db'}"
        return
    if kind != "postgresql":
        raise EdgeqaError(f"{kind}: neither sqlite nor postgresql", code="usage")
    server = PostgresServer(folder / "postgresql", durable=True)
    server.make()
    with server.running():
        yield server.url


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _summary(runs: list[Run]) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for kind in dict.fromkeys(one.database for one in runs):
        batches = [one.messages_s for one in runs if (one.database, one.mode) == (kind, "batches")]
        single = [one.messages_s for one in runs if (one.database, one.mode) != (kind, "batches")
                  and one.database == kind]  # fmt: skip
        rows.append(
            {
                "database": kind,
                "messages_s": round(statistics.median(batches)),
                "row_by_row_messages_s": round(statistics.median(single)),
                "ratio": round(
                    statistics.median(a / b for a, b in zip(batches, single, strict=True)), 1
                ),
            }
        )
    return rows


def _show(summary: object, console: Console) -> None:
    table = Table("database", "messages/s", "row by row", "ratio")
    for row in summary if isinstance(summary, list) else []:
        table.add_row(*(str(row[name]) for name in row))
    console.print(table)


if __name__ == "__main__":
    try:
        typer.run(main)
    except EdgeqaError as error:
        sys.exit(f"intake: {error}")
