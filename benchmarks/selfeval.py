"""What self-evaluation costs those who ask: latency of live questions with it over without it.

Three real agents on one real broker: one that never evaluates itself, one that does so without end
as eagerly as the default settings allow, and one that waits for nobody and may use a whole core.
They take turns; while one answers, the others are stopped (SIGSTOP). In each round all are asked
the same questions at the same moments: bursts with pauses between them, some long enough for an
evaluation to begin.

    python benchmarks/selfeval.py
    python benchmarks/selfeval.py --data SQUAD.json --rounds 10 --turn-s 6

Exit code 1 if the median ratio of p95 with the default settings is above `--most`.
"""

from __future__ import annotations

import json
import math
import os
import platform
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from edgeqa import evaluation_set
from edgeqa.client import Client
from edgeqa.errors import EdgeqaError
from edgeqa.processes import broker_process, own_process
from edgeqa.squad import Example, read_squad

# Settings of each agent, beside those that all have.
_ALWAYS = {"evaluation_interval_s": "1", "evaluation_questions": "20"}
ARMS: dict[str, dict[str, str]] = {
    "without": {"evaluation_data": "off"},
    "default budget": _ALWAYS,
    "no budget": {**_ALWAYS, "evaluation_idle_s": "0", "evaluation_cpu_share": "1"},
}
_BASE = "without"
_BURST = 8  # questions, one after the other
_GAP_S = 0.05  # from an answer to the next question of a burst
_PAUSES_S = (1.5, 4.0)  # between bursts, from and to; the default waits for 2 s of quiet
_WARM_UP = 3  # questions of a turn that do not count: the agent was stopped
_START_S = 60.0
_TIMEOUT_S = 30.0


@dataclass
class Arm:
    """One agent, and how long its answers took, turn by turn."""

    name: str
    device: str
    process: subprocess.Popen[bytes]
    log: Path
    turns: list[list[float]] = field(default_factory=list)

    def let(self, number: signal.Signals) -> None:
        """Stop it, or let it go on, with its model."""
        os.killpg(self.process.pid, number)

    @property
    def evaluated(self) -> int:
        """Questions that it asked itself, in evaluations that ended."""
        lines = self.log.read_text(encoding="utf-8").splitlines()
        done = [json.loads(line) for line in lines if '"evaluation_done"' in line]
        return sum(int(one["questions"]) for one in done)


def main(
    data: Annotated[
        Path | None, typer.Option(help="SQuAD JSON; the embedded evaluation set if not said.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Turns of each agent.")] = 30,
    turn_s: Annotated[float, typer.Option(min=1, help="Length of a turn.")] = 12.0,
    threads: Annotated[int, typer.Option(min=0, help="Of one inference; 0: all cores.")] = 0,
    seed: Annotated[int, typer.Option(help="Of questions and pauses.")] = 0,
    most: Annotated[float, typer.Option(help="Ratio of p95 that is good enough.")] = 1.1,
    output: Annotated[Path, typer.Option(help="Folder for the report.")] = Path("bench-out"),
) -> None:
    """Measure, print a table, and write selfeval.json."""
    # Ended by a signal, it must not leave agents behind that are stopped, or evaluate for ever.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    questions = read_squad(data or evaluation_set.PATH)
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        url = stack.enter_context(broker_process(Path(name), 0))
        client = stack.enter_context(Client(broker=url))
        arms = [
            stack.enter_context(_running(Path(name), url, arm, settings, threads, client))
            for arm, settings in ARMS.items()
        ]
        _measure(arms, client, questions, rounds, turn_s, seed)
        report = _report(arms, rounds, turn_s, len(questions))
    output.mkdir(parents=True, exist_ok=True)
    (output / "selfeval.json").write_text(json.dumps(report, indent=2) + "\n")
    _print(report)
    if report["arms"][1]["p95_ratio"] > most:
        raise typer.Exit(1)


@contextmanager
def _running(
    folder: Path, url: str, name: str, settings: dict[str, str], threads: int, client: Client
) -> Iterator[Arm]:
    device = name.replace(" ", "-")
    values = {
        "broker": url,
        "device": device,
        "threads": str(threads),
        "log_format": "json",
        "answer_cache_entries": "0",  # each live question is to be work for the model
        # Evaluations go on while the agent is stopped, by their clock.
        "evaluation_timeout_s": "86400",
        **settings,
    }
    environment = {f"EDGEQA_AGENT_{key.upper()}": value for key, value in values.items()}
    command = [sys.executable, "-m", "edgeqa.cli", "agent", "run"]
    log = folder / f"{device}.log"
    with own_process(command, log, environment) as process:
        arm = Arm(name, device, process, log)
        deadline = time.monotonic() + _START_S
        while '"agent_online"' not in log.read_text(encoding="utf-8"):
            if time.monotonic() > deadline or process.poll() is not None:
                raise EdgeqaError(f"the agent does not start: {log.read_text()}")
            time.sleep(0.05)
        client.ask("Does it answer?", context="It answers.", device=device, timeout_s=_TIMEOUT_S)
        arm.let(signal.SIGSTOP)
        try:
            yield arm
        finally:
            arm.let(signal.SIGCONT)


def _measure(
    arms: list[Arm],
    client: Client,
    questions: list[Example],
    rounds: int,
    turn_s: float,
    seed: int,
) -> None:
    order = random.Random(seed)
    with Progress() as bar:
        task = bar.add_task("turns", total=rounds * len(arms))
        for number in range(rounds):
            for arm in order.sample(arms, len(arms)):
                arm.let(signal.SIGCONT)
                # The same questions and pauses for all in a round.
                arm.turns.append(
                    _turn(client, arm.device, questions, turn_s, random.Random(seed + number))
                )
                arm.let(signal.SIGSTOP)
                bar.advance(task)


def _turn(
    client: Client, device: str, questions: list[Example], turn_s: float, chance: random.Random
) -> list[float]:
    def ask() -> float:
        example = chance.choice(questions)
        begun = time.perf_counter()
        client.ask(example.question, context=example.context, device=device, timeout_s=_TIMEOUT_S)
        return 1000 * (time.perf_counter() - begun)

    for _ in range(_WARM_UP):
        ask()
    times: list[float] = []
    left_s = turn_s
    while left_s > 0:
        pause_s = chance.uniform(*_PAUSES_S)
        time.sleep(pause_s)
        for _ in range(_BURST):
            times.append(ask())
            time.sleep(_GAP_S)
        # By the plan and not by the clock, so that all are asked equally many.
        left_s -= pause_s + _BURST * 2 * _GAP_S
    return times


def _report(arms: list[Arm], rounds: int, turn_s: float, questions: int) -> dict[str, Any]:
    base = next(arm for arm in arms if arm.name == _BASE)
    return {
        "machine": f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores",
        "rounds": rounds,
        "turn_s": turn_s,
        "different_questions": questions,
        "arms": [_figures(arm, base) for arm in arms],
    }


def _figures(arm: Arm, base: Arm) -> dict[str, Any]:
    figures: dict[str, Any] = {
        "name": arm.name,
        "settings": ARMS[arm.name],
        "questions": sum(map(len, arm.turns)),
        "evaluated": arm.evaluated,
    }
    everything = sorted(time_ms for turn in arm.turns for time_ms in turn)
    for share in (50, 95):
        ratios = [
            _percentile(mine, share) / _percentile(theirs, share)
            for mine, theirs in zip(arm.turns, base.turns, strict=True)
        ]
        figures[f"p{share}_ms"] = round(_percentile(everything, share), 2)
        figures[f"p{share}_ratio"] = round(statistics.median(ratios), 3)
        figures[f"p{share}_ratio_of_all"] = round(
            _percentile(everything, share) / _percentile([t for x in base.turns for t in x], share),
            3,
        )
    return figures


def _percentile(values: list[float], percent: int) -> float:
    ordered = sorted(values)
    return ordered[max(0, math.ceil(percent / 100 * len(ordered)) - 1)]


def _print(report: dict[str, Any]) -> None:
    table = Table(title=f"live questions, {report['machine']}, {report['rounds']} rounds")
    for head in ("self-evaluation", "live", "evaluated", "p50 ms", "ratio", "p95 ms", "ratio",
                 "of all"):  # fmt: skip
        table.add_column(head, justify="left" if head == "self-evaluation" else "right")
    for arm in report["arms"]:
        table.add_row(
            arm["name"],
            str(arm["questions"]),
            str(arm["evaluated"]),
            f"{arm['p50_ms']:.1f}",
            f"{arm['p50_ratio']:.3f}",
            f"{arm['p95_ms']:.1f}",
            f"{arm['p95_ratio']:.3f}",
            f"{arm['p95_ratio_of_all']:.3f}",
        )
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
