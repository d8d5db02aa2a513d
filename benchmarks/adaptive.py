"""What two models on a device are worth: one alone, the other alone, and both with a choice.

Three agents, one for each side, are asked the same questions at the same times, in turns: a calm
stretch, a rush that the better model cannot bear, and calm again. Each question has its time,
whether those before are answered or not.

    python benchmarks/adaptive.py --data SQUAD.json --rounds 4
"""

from __future__ import annotations

import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import typer
from crowd import Came, Crowd
from rich.console import Console
from rich.progress import Progress

from edgeqa.manifest import open_package
from edgeqa.processes import broker_process, log_line, own_process
from edgeqa.squad import Example, best, f1, read_squad
from edgeqa_agent.settings import default_package

SIDES = ("better", "quicker", "both")
CLIENTS = 16
_ONLINE_S = 120.0


@dataclass(slots=True)
class Part:
    """What one side did in one part of all rounds.

    Attributes:
        ms: from when a question was due to its answer, of those that were answered.
        f1: of those, percent.
        models: answers by model.
        reasons: answers by `choice`.
        refused: by code.
        changes: of the model from an answer to the next, in the order of the questions.
    """

    ms: list[float] = field(default_factory=list)
    f1: list[float] = field(default_factory=list)
    models: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    changes: int = 0

    def add(self, came: list[Came], examples: list[Example]) -> None:
        """Count the answers of a round."""
        order = []
        for one in sorted(came, key=lambda one: one.number):
            answer: Any = one.answer
            if answer["status"] != "ok":
                self.refused[answer["error"]["code"]] += 1
                continue
            order.append(answer["model"]["name"])
            self.ms.append(1000 * (one.at - one.due_at))
            self.reasons[answer.get("choice", "none")] += 1
            text = answer["answers"][0]["text"] if answer["answers"] else ""
            self.f1.append(100 * best(f1, examples[one.number].answers, text))
        self.models.update(order)
        self.changes += sum(before != after for before, after in pairwise(order))

    def figures(self, quicker: str) -> dict[str, Any]:
        """For the report."""
        ms = sorted(self.ms)
        return {
            "asked": len(ms) + self.refused.total(),
            "refused": dict(self.refused),
            "p50_ms": round(statistics.median(ms), 1),
            "p99_ms": round(ms[int(0.99 * (len(ms) - 1))], 1),
            "f1": round(statistics.mean(self.f1), 2),
            "share_of_quicker": round(self.models[quicker] / len(ms), 3),
            "reasons": dict(self.reasons),
            "changes": self.changes,
        }


def main(
    data: Annotated[Path, typer.Option(help="SQuAD JSON.")],
    better: Annotated[Path | None, typer.Option(help="The default package if not said.")] = None,
    quicker: Annotated[Path | None, typer.Option(help="The embedded one of 3 layers.")] = None,
    threads: Annotated[int, typer.Option(min=0, help="Of each model; 0: all cores.")] = 0,
    rounds: Annotated[int, typer.Option(min=1, help="Turns of each side.")] = 4,
    part_s: Annotated[float, typer.Option(min=1, help="Length of each of the three parts.")] = 4.0,
    calm: Annotated[float, typer.Option(help="Load, of what the better model bears.")] = 0.3,
    rush: Annotated[float, typer.Option(help="The same in the rush.")] = 2.0,
    seed: Annotated[int, typer.Option(help="Of the times.")] = 1,
    output: Annotated[Path, typer.Option(help="Folder for the report.")] = Path("bench-out"),
) -> None:
    """Measure, print a table, and write adaptive.json."""
    better = better or default_package()
    quicker = quicker or next(default_package().parent.glob("minilm-l3-*"))
    examples = read_squad(data)
    random.Random(seed).shuffle(examples)
    parts = {side: {part: Part() for part in ("calm", "rush", "calm again")} for side in SIDES}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url = stack.enter_context(broker_process(folder, 0))
        crowds = {
            side: stack.enter_context(_side(folder, url, side, better, quicker, threads))
            for side in SIDES
        }
        bears = _bears(crowds["better"], examples[:100])
        bar = stack.enter_context(Progress())
        task = bar.add_task("rounds", total=rounds * len(SIDES))
        for turn in range(rounds):
            rng = random.Random(f"{seed} {turn}")
            times, bounds = _times(rng, part_s, [calm * bears, rush * bears, calm * bears])
            chosen = [examples[(200 + turn * 997 + n) % len(examples)] for n in range(len(times))]
            for side in SIDES[turn % 3 :] + SIDES[: turn % 3]:
                came = crowds[side].ask_at([_payload(one) for one in chosen], times)
                for part, (first, last) in zip(parts[side].values(), bounds, strict=True):
                    part.add([one for one in came if first <= one.number < last], chosen)
                bar.advance(task)
                time.sleep(1)
    name = open_package(quicker).manifest.name
    report = {
        "cores": len(os.sched_getaffinity(0)),
        "better": better.name,
        "quicker": quicker.name,
        "better_bears_per_s": round(bears, 1),
        "calm": calm,
        "rush": rush,
        "part_s": part_s,
        "rounds": rounds,
        "sides": {
            side: {part: one.figures(name) for part, one in parts[side].items()} for side in SIDES
        },
    }
    output.mkdir(parents=True, exist_ok=True)
    (output / "adaptive.json").write_text(json.dumps(report, indent=2) + "\n")
    Console(highlight=False).print(_markdown(report), markup=False, soft_wrap=True)


@contextmanager
def _side(
    folder: Path, url: str, side: str, better: Path, quicker: Path, threads: int
) -> Iterator[Crowd]:
    """An agent that serves, and the clients that ask it."""
    settings = {
        "EDGEQA_AGENT_BROKER": url,
        "EDGEQA_AGENT_DEVICE": side,
        "EDGEQA_AGENT_PACKAGE": str(quicker if side == "quicker" else better),
        "EDGEQA_AGENT_STATE_DIR": str(folder / side),
        "EDGEQA_AGENT_THREADS": str(threads),
        "EDGEQA_AGENT_EVALUATION_DATA": "off",
        "EDGEQA_AGENT_ANSWER_CACHE_ENTRIES": "0",
        "EDGEQA_AGENT_LOG_FORMAT": "json",
    }
    if side == "both":
        settings["EDGEQA_AGENT_COMPANION"] = str(quicker)
    log = folder / f"{side}.log"
    command = ["-m", "edgeqa.cli", "agent", "run"]
    with own_process([sys.executable, *command], log, settings), Crowd(url, side, CLIENTS) as crowd:
        crowd.wait_online(_payload(None), timeout_s=_ONLINE_S)
        until = time.monotonic() + _ONLINE_S
        while side == "both" and not log_line(log, "companion_serves"):
            if time.monotonic() > until:
                raise typer.Exit(1)
            time.sleep(0.1)
        yield crowd


def _bears(crowd: Crowd, examples: list[Example]) -> float:
    """Most questions a second that a side answers when it never waits for one; of four tries."""
    payloads = [_payload(one) for one in examples]
    rates = []
    for _ in range(4):
        begun = time.perf_counter()
        crowd.ask(payloads)
        rates.append(len(payloads) / (time.perf_counter() - begun))
    return max(rates)


def _times(
    rng: random.Random, part_s: float, rates: list[float]
) -> tuple[list[float], list[tuple[int, int]]]:
    """Poisson arrivals, part after part, and the numbers of each part's questions."""
    times: list[float] = []
    bounds = []
    for part, rate in enumerate(rates):
        first, at = len(times), part * part_s
        while (at := at + rng.expovariate(rate)) < (part + 1) * part_s:
            times.append(at)
        bounds.append((first, len(times)))
    return times, bounds


def _payload(example: Example | None) -> bytes:
    if example is None:
        return json.dumps({"question": "Who is there?", "context": "Nobody is there."}).encode()
    return json.dumps({"question": example.question, "context": example.context}).encode()


def _markdown(report: dict[str, Any]) -> str:
    lines = [
        f"{report['better']} bears {report['better_bears_per_s']} questions/s; calm is "
        f"{report['calm']} of that, the rush {report['rush']}; {report['rounds']} rounds of "
        f"{report['part_s']} s each part.",
        "",
        "| part | models | asked | refused | p50 ms | p99 ms | F1 | by the quicker | changes |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for part in ("calm", "rush", "calm again"):
        for side in SIDES:
            one = report["sides"][side][part]
            lines.append(
                f"| {part} | {side} | {one['asked']} | {sum(one['refused'].values())} "
                f"| {one['p50_ms']} | {one['p99_ms']} | {one['f1']} "
                f"| {100 * one['share_of_quicker']:.0f} % | {one['changes']} |"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    typer.run(main)
