"""The part of the demo that rolls models out: a good one, and one that the devices find to be bad.

Beside the two real agents there is a small simulated fleet, so that there is something to roll out
to; the canary stage holds one of the real ones.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from edgeqa.demo_cloud import Cloud
from edgeqa.demo_packages import BAD, GOOD, SMALL
from edgeqa.errors import EdgeqaError
from edgeqa.processes import edgeqa_process
from edgeqa.show import clean

SIMULATED = 30
_PREFIX = "sim-"
_CANARY_SIMULATED = 5
_TIMEOUT_S = 180.0
_EVERY_S = 0.5
_FINAL = frozenset({"completed", "aborted", "undone", "undo_incomplete"})
# As the real models score on the set of the same name; of the spoilt one see `demo_packages`.
_MODELS = (
    ("minilm-l6-squad@0.1.1", "em=70:f1=80:p50=40"),
    ("{}@{}".format(*SMALL), "em=65:f1=76:p50=22"),
    ("{}@{}".format(*GOOD), "em=70:f1=80:p50=40"),
    ("{}@{}".format(*BAD), "em=0.5:f1=9:p50=40"),
)
_MARKS = {
    "passed": "[green]passed[/]",
    "breached": "[red]BREACHED[/]",
    "undecided": "[yellow]undecided[/]",
    "no_data": "no data",
}


@contextmanager
def simulated_fleet(folder: Path, url: str) -> Iterator[int]:
    """Simulated devices inside the block; how many."""
    settings = {
        "EDGEQA_SIMULATE_BROKER": url,
        "EDGEQA_SIMULATE_DEVICES": str(SIMULATED),
        "EDGEQA_SIMULATE_PREFIX": _PREFIX,
        "EDGEQA_SIMULATE_MODELS": ",".join(":".join(model) for model in _MODELS),
        "EDGEQA_SIMULATE_TELEMETRY_INTERVAL_S": "3",
        "EDGEQA_SIMULATE_HEARTBEAT_INTERVAL_S": "10",
        "EDGEQA_SIMULATE_EVALUATION_INTERVAL_S": "20",
        "EDGEQA_SIMULATE_EVALUATION_QUESTIONS": "200",
        "EDGEQA_SIMULATE_QUESTIONS_PER_MINUTE": "60",
        "EDGEQA_SIMULATE_FETCH_S": "1",
        "EDGEQA_SIMULATE_LOAD_S": "0.5",
        "EDGEQA_SIMULATE_REPORT_EVERY_S": "1",
    }
    log = folder / "simulate.log"
    with edgeqa_process(["cloud", "simulate"], log, settings, ready="simulation"):
        yield SIMULATED


def roll_out(
    cloud: Cloud, folder: Path, device: str, console: Console
) -> Iterator[tuple[str, bool]]:
    """Roll the good model out, then the bad one; what was seen, and whether it was right.

    Args:
        cloud: that steers.
        folder: for the files of what is ordered.
        device: a real one, for the canary stage.
        console: shows what happens.
    """
    good = _follow(cloud, _ordered(cloud, folder, GOOD, device), console)
    states = good["states"]
    yield (
        (
            f"{' '.join(GOOD)} rolled out to {good['devices']} devices in {good['stages']} stages, "
            f"each required gate passed on what they measured"
        ),
        good["state"] == "completed" and states == {"changed": good["devices"]},
    )
    bad = _follow(cloud, _ordered(cloud, folder, BAD, device), console)
    states = bad["states"]
    reverted, untouched = states.get("reverted", 0), states.get("untouched", 0)
    yield (
        (
            f"{' '.join(BAD)}, which scores nothing, stopped in the canary stage and undone: "
            f"{reverted} devices are back, {untouched} never had it"
        ),
        bad["state"] == "undone"
        and bad["stage"] == 0
        and reverted == _CANARY_SIMULATED + 1
        and reverted + untouched == bad["devices"],
    )
    name, version = GOOD
    back = cloud.get(f"/devices/{device}")["model"]
    yield (
        f"{device} answers with {name} {version} again",
        (back["name"], back["version"]) == GOOD,
    )


def _ordered(cloud: Cloud, folder: Path, package: tuple[str, str], device: str) -> str:
    """Order a rollout by the command line; its id."""
    name, version = package
    canary = [device, *(f"{_PREFIX}{n:05d}" for n in range(1, _CANARY_SIMULATED + 1))]
    accuracy = {
        "max_drop": 12,
        "min_questions": 100,
    }  # the demo has seconds, not days, for evidence
    spec = {
        "package": {"name": name, "version": version},
        "target": {"all": True},
        "stages": [{"devices": canary, "soak_s": 3}, {"percent": 100, "soak_s": 3}],
        "gates": {
            "exact_match": accuracy,
            "f1": accuracy,
            "p95_latency": {"max_ratio": 3},
        },
        "note": "the demo's",
    }
    file = folder / f"rollout-{name}-{version}.json"
    file.write_text(json.dumps(spec, indent=2))
    created = json.loads(
        cloud.command("rollout", "create", f"{name}@{version}", "--spec", str(file), "--json")
    )
    return str(created["rollout"])


def _follow(cloud: Cloud, rollout: str, console: Console) -> dict[str, Any]:
    """Show a rollout's course until its end; what it was then."""
    begun, told, state = time.monotonic(), "", ""
    judged: dict[str, Any] = {}
    while True:
        view = cloud.get(f"/rollouts/{rollout}")
        if _conclusive(view):
            judged = view
        line = _line(view)
        if line != told:
            console.print(f"         {time.monotonic() - begun:5.1f} s  {line}")
            told = line
        if view["state"] != state and view["reason"]:
            console.print(f"                  {clean(view['reason'])}", markup=False)
        state = view["state"]
        if view["state"] in _FINAL:
            break
        if time.monotonic() - begun > _TIMEOUT_S:
            raise EdgeqaError(f"{rollout} does not end: {line}", code="demo_failed")
        time.sleep(_EVERY_S)
    if judged:
        console.print(_gates(judged))
    return view


def _conclusive(view: dict[str, Any]) -> bool:
    return any(gate["status"] in {"passed", "breached"} for gate in view["gates"])


def _line(view: dict[str, Any]) -> str:
    model = view["model"]
    states = ", ".join(f"{count} {state}" for state, count in sorted(view["states"].items()))
    stage = f"stage {view['stage'] + 1} of {view['stages']}"
    return f"{model['name']} {model['version']} {view['state']}, {stage}; {states}"


def _gates(view: dict[str, Any]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in ("gate", "", "what the stage's devices measured"):
        table.add_column(column)
    for gate in view["gates"]:
        table.add_row(gate["gate"], _MARKS.get(gate["status"], "?"), clean(gate["message"]))
    return table
