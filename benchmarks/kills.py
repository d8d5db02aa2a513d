"""`kill -9` of collector, agents and broker, again and again; then every record is in the cloud.

A real Mosquitto, real collectors, real agents with the default model that are asked questions, and
a simulated fleet, all killed at random moments by a seed. Then they are left in peace, until gaps
are found and filled. At last each outbox is compared with the database: every record once, with the
same payload, and nothing else.

    python benchmarks/kills.py
    python benchmarks/kills.py --kills 20 --collectors 2 --persistence --seed 7

Exit code 1 if a record is lost, twice or changed.
"""

from __future__ import annotations

import json
import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress
from rows.asking import Asker
from rows.check import Verdict, asked_again, check, end_leases, open_database
from rows.databases import HELP, database_url
from rows.duplicates import Duplicates
from rows.outboxes import entries, waiting
from rows.parts import Part, edgeqa, mosquitto
from rows.victims import Killer, kind_of

from edgeqa.processes import free_port

# Nothing is made any more: as long as a setting allows.
_NEVER_S = "86400"
_SETTLE_S = 180.0
_LOOK_S = 1.0


@dataclass(frozen=True)
class Plan:
    """What the command line says."""

    kills: int
    agents: int
    simulated: int
    collectors: int
    persistence: bool
    pause_s: float
    away_s: float
    seed: int
    database: str
    folder: Path
    output: Path
    hurry: bool = False


@dataclass
class Outcome:
    """What came of it."""

    kills: dict[str, int] = field(default_factory=dict)
    asked: int = 0
    answered: int = 0
    killing_s: float = 0.0
    settling_s: float = 0.0
    gaps: int = 0
    resends: int = 0
    received_twice: int = 0
    verdict: Verdict = field(default_factory=Verdict)

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {**asdict(self), "verdict": self.verdict.as_dict()}


def main(
    kills: Annotated[int, typer.Option(min=1)] = 100,
    agents: Annotated[int, typer.Option(min=0, help="Real ones.")] = 2,
    simulated: Annotated[int, typer.Option(min=0, help="Simulated devices.")] = 20,
    collectors: Annotated[int, typer.Option(min=1, max=8)] = 1,
    persistence: Annotated[bool, typer.Option(help="Of the broker.")] = False,
    pause_s: Annotated[float, typer.Option(min=0.1, help="Between kills, at most.")] = 4.0,
    away_s: Annotated[float, typer.Option(min=0, help="A killed part, at most.")] = 1.5,
    seed: Annotated[int, typer.Option(help="Of the moments and the victims.")] = 0,
    database: Annotated[str, typer.Option(help=HELP)] = "sqlite",
    hurry: Annotated[
        bool, typer.Option(help="Do not wait until a killed collector's lease of jobs runs out.")
    ] = False,
    output: Annotated[Path, typer.Option(help="Folder for logs and figures.")] = Path(
        "bench-out/kills"
    ),
) -> None:
    """Kill, settle, check, print the verdict, and write kills.json."""
    output.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        database_url(database, Path(folder)) as url,
    ):
        plan = Plan(
            kills=kills,
            agents=agents,
            simulated=simulated,
            collectors=collectors,
            persistence=persistence,
            pause_s=pause_s,
            away_s=away_s,
            seed=seed,
            database=url,
            folder=Path(folder),
            output=output,
            hurry=hurry,
        )
        outcome = run(plan)
    (output / "kills.json").write_text(json.dumps(outcome.as_dict(), indent=1))
    show(outcome)
    if not outcome.verdict.exact or not outcome.verdict.expected:
        raise typer.Exit(1)


def run(plan: Plan) -> Outcome:
    """All of it.

    Raises:
        EdgeqaError: a part does not start.
    """
    for log in plan.output.glob("*.log"):
        log.unlink()
    broker = mosquitto(plan.folder, persistence=plan.persistence)
    url = f"mqtt://127.0.0.1:{broker.port}"
    ports = [free_port() for _ in range(plan.collectors)]
    collectors = [_collector(plan, url, n, port) for n, port in enumerate(ports, start=1)]
    writers = list(_writers(plan, url))
    parts = [broker, *collectors, *writers]
    outcome = Outcome()
    devices = [f"agent-{n}" for n in range(1, plan.agents + 1)]
    try:
        broker.start()
        for part in parts[1:]:
            part.spawn()
        for part in parts[1:]:
            part.wait_ready()
        began = time.monotonic()
        killer = Killer(parts, random.Random(plan.seed), plan.pause_s, plan.away_s)
        with Duplicates(ports) as duplicates:
            with Asker(url, devices) as asker, Progress(transient=True) as bar:
                task = bar.add_task("kill -9", total=plan.kills)
                killer.run(plan.kills, lambda done: bar.update(task, completed=done))
                outcome.asked, outcome.answered = asker.asked, asker.answered
            outcome.kills = dict(sorted(killer.kills.items()))
            outcome.killing_s = round(time.monotonic() - began, 1)
            _settle(plan, writers, outcome)
        outcome.received_twice = duplicates.total
    finally:
        for part in writers:
            if part.alive:
                part.kill()  # a stop would write one more record, behind the check
        for part in collectors:
            part.end()
        for part in reversed(parts):
            part.stop()
    return outcome


def show(outcome: Outcome) -> None:
    """For people."""
    console = Console(highlight=False, soft_wrap=True)
    victims = ", ".join(f"{kind} {n}" for kind, n in outcome.kills.items())
    console.print(f"killed in {outcome.killing_s:.0f} s: {victims}")
    console.print(f"{outcome.answered:,} of {outcome.asked:,} questions answered meanwhile")
    console.print(
        f"settled in {outcome.settling_s:.0f} s: {outcome.gaps:,} gaps, asked again "
        f"{outcome.resends:,} times; received twice and stored once: {outcome.received_twice:,}"
    )
    for line in outcome.verdict.lines():
        console.print(line)


def _settle(plan: Plan, writers: Sequence[Part], outcome: Outcome) -> None:
    """Let nothing new be written, and wait until all that was is in the database."""
    for part in writers:
        part.end()
    for part in writers:
        part.stop()
        part.settings = part.settings | _quiet(part)
        part.spawn()
    for part in writers:
        part.wait_ready()
    began = time.monotonic()
    files = outbox_files(plan.folder)
    with open_database(plan.database) as database:
        if plan.hurry:
            end_leases(database)
        while True:
            verdict = check(database, entries(files))
            done = verdict.exact and not waiting(files)
            if done or time.monotonic() - began > _SETTLE_S:
                break
            time.sleep(_LOOK_S)
        outcome.gaps, outcome.resends = asked_again(database)
    outcome.verdict = verdict
    outcome.settling_s = round(time.monotonic() - began, 1)


def outbox_files(folder: Path) -> list[Path]:
    """The outboxes of all devices."""
    return sorted(folder.glob("*-state/**/outbox.sqlite"))


def _collector(plan: Plan, url: str, number: int, port: int) -> Part:
    settings = {
        "EDGEQA_CLOUD_BROKER": url,
        "EDGEQA_CLOUD_DATABASE": plan.database,
        "EDGEQA_CLOUD_NAME": f"collector-{number}",
        "EDGEQA_CLOUD_METRICS_LISTEN": f"127.0.0.1:{port}",
        "EDGEQA_CLOUD_LISTEN": "off",
        "EDGEQA_CLOUD_GAP_SETTLE_S": "2",
        "EDGEQA_CLOUD_GAP_RETRY_S": "4",
        "EDGEQA_CLOUD_JOBS_EVERY_S": "1",
        "EDGEQA_CLOUD_LOG_FORMAT": "json",
    }
    name = f"collector-{number}"
    return edgeqa(name, ["cloud", "run"], plan.output / f"{name}.log", settings, "collector_online")


def _writers(plan: Plan, url: str) -> Iterator[Part]:
    for number in range(1, plan.agents + 1):
        name = f"agent-{number}"
        settings = {
            "EDGEQA_AGENT_BROKER": url,
            "EDGEQA_AGENT_DEVICE": name,
            "EDGEQA_AGENT_STATE_DIR": str(plan.folder / f"{name}-state"),
            "EDGEQA_AGENT_THREADS": "1",
            "EDGEQA_AGENT_TELEMETRY_INTERVAL_S": "1",
            "EDGEQA_AGENT_TELEMETRY_IDLE_INTERVAL_S": "1",
            "EDGEQA_AGENT_HEARTBEAT_INTERVAL_S": "1",
            "EDGEQA_AGENT_LOG_FORMAT": "json",
            "EDGEQA_AGENT_ANSWER_CACHE_ENTRIES": "0",  # each question is work for the model
        }
        log = plan.output / f"{name}.log"
        yield edgeqa(name, ["agent", "run"], log, settings, "agent_online")
    if plan.simulated:
        settings = {
            "EDGEQA_SIMULATE_BROKER": url,
            "EDGEQA_SIMULATE_DEVICES": str(plan.simulated),
            "EDGEQA_SIMULATE_STATE_DIR": str(plan.folder / "simulator-state"),
            "EDGEQA_SIMULATE_TELEMETRY_INTERVAL_S": "1",
            "EDGEQA_SIMULATE_HEARTBEAT_INTERVAL_S": "1",
            "EDGEQA_SIMULATE_EVALUATION_INTERVAL_S": "10",
            "EDGEQA_SIMULATE_REPORT_EVERY_S": "0.5",
        }
        log = plan.output / "simulator.log"
        yield edgeqa("simulator", ["cloud", "simulate"], log, settings, "simulation")


def _quiet(part: Part) -> dict[str, str]:
    if kind_of(part) == "agent":
        return {
            "EDGEQA_AGENT_TELEMETRY_INTERVAL_S": _NEVER_S,
            "EDGEQA_AGENT_TELEMETRY_IDLE_INTERVAL_S": _NEVER_S,
        }
    return {
        "EDGEQA_SIMULATE_TELEMETRY_INTERVAL_S": _NEVER_S,
        "EDGEQA_SIMULATE_EVALUATION_INTERVAL_S": "0",
    }


if __name__ == "__main__":
    typer.run(main)
