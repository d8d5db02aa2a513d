"""A simulated fleet against one collector: does a backlog build up, does memory grow, is all there?

A real Mosquitto, a real collector, `edgeqa cloud simulate` with a real connection for each device.
At the end every record that a device wrote is looked up in the database.

    python benchmarks/fleet_load.py
    python benchmarks/fleet_load.py --devices 1000 --minutes 2 --database postgresql

Exit code 1 if a record is missing, twice or changed, a backlog remains or memory grows.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rows.check import Verdict, check, count_rows, lags_ms, open_database
from rows.databases import HELP, database_url
from rows.parts import Part, edgeqa, mosquitto, raise_descriptors
from rows.samples import Sample, quantile, slope_mib_per_minute

from edgeqa.commands import unix_ms
from edgeqa_cloud.simulate.ledger import read_ledger

# Descriptors beside the connections, of broker and simulator.
_SPARE = 300
# What is on its way at any moment is no backlog: what comes in this time.
_ON_ITS_WAY_S = 5.0
# Memory is flat if it grows by less than this share of itself a minute in the second half.
# SQLite's cache in the collector fills up to 64 MiB (database.py), and that takes its time.
_FLAT_SHARE_PER_MINUTE = 0.015
# A shorter run shows how caches fill.
_TELLING_MINUTES = 8.0
# Beyond what the rate says, on a busy machine.
_CONNECTED_S = 15.0
_MIB = 1 << 20
_SETTLE_S = 120.0


@dataclass(frozen=True)
class Plan:
    """What the command line says."""

    devices: int
    minutes: float
    telemetry_s: float
    heartbeat_s: float
    connect_rate: float
    sample_s: float
    database: str
    folder: Path
    extra: list[str]


def main(
    devices: Annotated[int, typer.Option(min=1)] = 10_000,
    minutes: Annotated[float, typer.Option(min=0.1, help="After all are connected.")] = 10.0,
    telemetry_s: Annotated[float, typer.Option(min=0.1, help="Interval of each device.")] = 60.0,
    heartbeat_s: Annotated[float, typer.Option(min=0.1, help="Interval of each device.")] = 60.0,
    connect_rate: Annotated[float, typer.Option(min=1, help="Connections a second.")] = 300.0,
    sample_s: Annotated[float, typer.Option(min=0.5, help="Between samples.")] = 5.0,
    database: Annotated[str, typer.Option(help=HELP)] = "sqlite",
    extra: Annotated[
        list[str] | None, typer.Option("--simulate", help="More for the simulator; repeatable.")
    ] = None,
    output: Annotated[Path, typer.Option(help="Folder for logs and figures.")] = Path(
        "bench-out/fleet-load"
    ),
) -> None:
    """Run, print the table and the verdicts, and write fleet_load.json."""
    limit = raise_descriptors()
    if limit < devices + _SPARE:
        raise typer.BadParameter(
            f"{devices} devices need {devices + _SPARE} open files, and {limit} are allowed "
            f"(`ulimit -Hn`)",
            param_hint="--devices",
        )
    output.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        database_url(database, Path(folder)) as url,
    ):
        plan = Plan(
            devices=devices,
            minutes=minutes,
            telemetry_s=telemetry_s,
            heartbeat_s=heartbeat_s,
            connect_rate=connect_rate,
            sample_s=sample_s,
            database=url,
            folder=Path(folder),
            extra=extra or [],
        )
        samples, verdict, lags = run(plan, output)
    report(plan, samples, verdict, lags, output)


def run(plan: Plan, output: Path) -> tuple[list[Sample], Verdict, list[float]]:
    """Start everything, take samples, end everything, check."""
    broker = mosquitto(plan.folder)
    url = f"mqtt://127.0.0.1:{broker.port}"
    cloud = {
        "EDGEQA_CLOUD_BROKER": url,
        "EDGEQA_CLOUD_DATABASE": plan.database,
        "EDGEQA_CLOUD_LOG_FORMAT": "json",
    }
    for log in output.glob("*.log"):
        log.unlink()
    collector = edgeqa(
        "collector", ["cloud", "collect"], output / "collector.log", cloud, "collector_online"
    )
    ledger = plan.folder / "ledger"
    connecting_s = plan.devices / plan.connect_rate + _CONNECTED_S
    simulator = edgeqa(
        "simulator", _simulate(plan, url, ledger, connecting_s), output / "simulator.log", {},
        "simulation",
    )  # fmt: skip
    parts = [broker, collector, simulator]
    try:
        broker.start()
        collector.start()
        simulator.start()
        samples = list(_samples(plan, parts, connecting_s))
        while simulator.alive:
            time.sleep(0.2)
    finally:
        for part in reversed(parts):
            part.stop()
    # Records wait for their device's first connection: lags are of those written after that.
    since_ms = next((s.time_ms for s in samples if s.connected == plan.devices), 0)
    with open_database(plan.database) as opened:
        return samples, check(opened, read_ledger(ledger)), lags_ms(opened, since_ms=since_ms)


def _simulate(plan: Plan, url: str, ledger: Path, connecting_s: float) -> list[str]:
    return [
        "cloud", "simulate", "--broker", url, "--devices", str(plan.devices),
        "--telemetry-interval-s", str(plan.telemetry_s),
        "--heartbeat-interval-s", str(plan.heartbeat_s),
        "--connect-rate", str(plan.connect_rate),
        "--duration-s", str(connecting_s + 60 * plan.minutes),
        "--settle-s", str(_SETTLE_S),
        "--report-every-s", str(min(1.0, plan.sample_s)),
        "--ledger", str(ledger), *plan.extra,
    ]  # fmt: skip


def _samples(plan: Plan, parts: list[Part], connecting_s: float) -> Iterator[Sample]:
    simulator = parts[-1]
    cpu_before = {part.name: part.cpu_s() for part in parts}
    at_before = began = time.monotonic()
    with open_database(plan.database) as database:
        # The last moments, in which devices come to rest and leave, are none of these.
        last_s = connecting_s + 60 * plan.minutes - plan.sample_s
        while simulator.alive:
            time.sleep(plan.sample_s)
            told = last_line(simulator.log)
            if not simulator.alive or told["seconds"] > last_s:
                return
            now = time.monotonic()
            cpu = {part.name: part.cpu_s() for part in parts}
            yield Sample(
                time_ms=unix_ms(),
                seconds=round(now - began, 1),
                connected=told["connected"],
                written=told["appended"],
                unsent=told["waiting"],
                stored=count_rows(database),
                resident={part.name: part.resident_bytes() for part in parts},
                cpu={
                    name: round((used - cpu_before[name]) / (now - at_before), 3)
                    for name, used in cpu.items()
                },
            )
            cpu_before, at_before = cpu, now


def last_line(log: Path) -> dict[str, int]:
    """The last figures that the simulator logged."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 20_000))
        lines = file.read().decode(errors="replace").splitlines()
    found = [line for line in lines if '"event": "simulation"' in line and line.endswith("}")]
    told: dict[str, int] = json.loads(found[-1])
    return told


def report(
    plan: Plan, samples: list[Sample], verdict: Verdict, lags: list[float], output: Path
) -> None:
    """Print the table and the verdicts; exit 1 if one is bad."""
    console = Console(highlight=False, width=120)
    table = Table(title=f"{plan.devices} devices", title_justify="left")
    names = list(samples[-1].resident)
    for title in ("s", "connected", "written", "backlog", *(f"{n} MiB" for n in names),
                  *(f"{n} cpu" for n in names)):  # fmt: skip
        table.add_column(title, justify="right")
    for sample in samples[:: max(1, len(samples) // 20)]:
        table.add_row(
            f"{sample.seconds:.0f}", f"{sample.connected:,}", f"{sample.written:,}",
            f"{sample.backlog:,}", *(f"{sample.resident[n] / _MIB:.0f}" for n in names),
            *(f"{sample.cpu[n]:.2f}" for n in names),
        )  # fmt: skip
    console.print(table)
    found = verdicts(plan, samples, verdict)
    lag = {"p50": quantile(lags, 0.5), "p95": quantile(lags, 0.95), "p99": quantile(lags, 0.99)}
    console.print("ms from record to receipt: " + ", ".join(f"{k} {v:.0f}" for k, v in lag.items()))
    for line in verdict.lines():
        console.print(line)
    for what, (good, figure) in found.items():
        console.print(f"{'ok ' if good else 'BAD'} {what}: {figure}")
    figures = {
        "devices": plan.devices,
        "minutes": plan.minutes,
        "database": plan.database.partition(":")[0],
        "lag_ms": lag,
        "rows": verdict.as_dict(),
        "verdicts": {what: {"good": good, "figure": said} for what, (good, said) in found.items()},
        "samples": [sample.as_dict() for sample in samples],
    }
    (output / "fleet_load.json").write_text(json.dumps(figures, indent=1))
    if not all(good for good, _ in found.values()):
        raise typer.Exit(1)


def verdicts(plan: Plan, samples: list[Sample], verdict: Verdict) -> dict[str, tuple[bool, str]]:
    """What the run had to show, whether it did, and the figure."""
    end = samples[-1]
    bearable = max(50, round(_ON_ITS_WAY_S * plan.devices / plan.telemetry_s))
    found = {
        "all devices connected": (end.connected == plan.devices, f"{end.connected:,}"),
        "backlog at the end": (
            end.backlog <= bearable,
            f"{end.backlog:,} records of {end.written:,}; what comes in {_ON_ITS_WAY_S:.0f} s, "
            f"{bearable:,}, is on its way",
        ),
        "every record once": (verdict.exact, f"{verdict.stored:,} of {verdict.expected:,}"),
    }
    for part in end.resident:
        slope = slope_mib_per_minute(samples, part)
        level = end.resident[part] / _MIB
        short = plan.minutes < _TELLING_MINUTES
        found[f"memory of the {part}"] = (
            short or slope <= _FLAT_SHARE_PER_MINUTE * level,
            f"{level:.0f} MiB, {slope:+.2f} MiB a minute"
            f"{'; too short a run to judge' if short else ''}",
        )
    return found


if __name__ == "__main__":
    typer.run(main)
