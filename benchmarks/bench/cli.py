"""The command: reads the settings, makes what is missing, measures, and writes the report."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Annotated

import typer
from peers import PEERS, available
from rich.console import Console

from bench import questions as asked
from bench.lineup import ENGINE
from bench.machine import machine
from bench.models import MODELS, Model, default_model, make_models
from bench.plan import ONLY_INT8, SECTIONS, basis, plan
from bench.report import REPORT_FILE, write_report
from bench.settings import Settings
from bench.state import State
from bench.tasks import Task, run_all
from edgeqa.errors import EdgeqaError, UsageError
from edgeqa.logs import configure_logs
from edgeqa.processes import broker_process

_MINUTES, _QUICK_MINUTES = 12.0, 1.5
_QUICK_MODELS = ("default", "distilbert")
_QUICK_PEERS = ("transformers", "tensorflow", "optimum")
_INTERRUPTED = 130
_INSTALL = Path(__file__).parents[1] / "peers" / "install.py"

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def main(
    data: Annotated[
        str,
        typer.Option(
            envvar="EDGEQA_BENCH_DATA",
            help="Questions: a SQuAD file, a folder, a hub id, or the set that ships.",
        ),
    ] = asked.DEFAULT,
    split: Annotated[str, typer.Option(help="Of a data set that has several.")] = "validation",
    only: Annotated[
        str, typer.Option(metavar="A,B", help=f"Sections: {', '.join(SECTIONS)}.")
    ] = ",".join(SECTIONS),
    models: Annotated[
        str | None,
        typer.Option(metavar="A,B", help=f"Of {', '.join(MODELS)}; all, or two with --quick."),
    ] = None,
    peers: Annotated[
        str | None,
        typer.Option(
            metavar="A,B",
            help=f"Of {', '.join(name for name in PEERS if name != ENGINE)}; all that are here, or "
            f"{', '.join(_QUICK_PEERS)} with --quick; `none` for no other.",
        ),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Few turns: within 4 minutes.")] = False,
    minutes: Annotated[
        float | None,
        typer.Option(
            min=0.1,
            help="Time to measure, all sections and models together, but for what they take to "
            "load; 12, or 1.5 with --quick.",
        ),
    ] = None,
    threads: Annotated[
        int, typer.Option(min=0, help="Cores that each side may use; 0: all that there are.")
    ] = 0,
    clients: Annotated[
        int, typer.Option(min=1, help="MQTT connections, and of what else is asked over a network.")
    ] = 16,
    block: Annotated[int, typer.Option(min=1, help="Questions of a turn, beside others.")] = 16,
    turn_s: Annotated[
        float, typer.Option(min=0.2, help="Length of a turn of EdgeQA's own sections.")
    ] = 2.0,
    load: Annotated[
        float, typer.Option(min=0.05, max=1.5, help="Of the capacity, for the latency.")
    ] = 0.7,
    seed: Annotated[int, typer.Option(help="Of the order of questions and of the load.")] = 0,
    install: Annotated[
        bool,
        typer.Option(help="Install the others that are missing, in environments of their own."),
    ] = True,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Forget what an earlier run measured.")
    ] = False,
    work: Annotated[
        Path, typer.Option(envvar="EDGEQA_BENCH_WORK", help="Folder for the models, made once.")
    ] = Path("build/bench"),
    output: Annotated[
        Path, typer.Option(envvar="EDGEQA_BENCH_OUTPUT", help="Folder for report and state.")
    ] = Path("bench-out/bench"),
) -> None:
    """How fast EdgeQA is on this machine: beside others, beside the limit, and as a service.

    Writes report.md, report.json and plots. What was measured is kept in the output folder: a run
    that Ctrl-C ended goes on with the same command, and one with more --minutes adds turns.
    """
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    try:
        if quick and peers is None:
            peers = ",".join(name for name in _QUICK_PEERS if name in PEERS)
        chosen_peers = _names("--peers", peers, PEERS) if peers != "none" else []
        chosen_models = _names(
            "--models", models or ",".join(_QUICK_MODELS if quick else MODELS), MODELS
        )
        sections = _names("--only", only, SECTIONS) or []
        logs = output / "logs"
        shutil.rmtree(logs, ignore_errors=True)
        logs.mkdir(parents=True)
        questions = asked.read_questions(data, split=split, seed=seed)
        if install and "peers" in sections:
            _install(chosen_peers, console)
        missing = {} if chosen_peers == [] else _missing(chosen_peers, console)
        settings = Settings(
            minutes=minutes or (_QUICK_MINUTES if quick else _MINUTES),
            threads=threads or len(os.sched_getaffinity(0)),
            clients=clients,
            block=block,
            share=load,
            seed=seed,
            sections=sections,
            models=_models(chosen_models or [], sections, work, logs, console),
            peers=chosen_peers,
            turn_s=turn_s,
            quick=quick,
            memory_mib=machine()["memory_mib"],
        )
        state = State.open(output, basis(settings, questions), fresh=fresh)
        with tempfile.TemporaryDirectory() as scratch, broker_process(Path(scratch), 0) as url:
            tasks = plan(settings, questions, url, logs)
            finished = _measure(tasks, state, console)
        _report(tasks, state, missing, output, console)
    except EdgeqaError as error:
        console.print(f"bench: {error} [{error.code}]", markup=False)
        raise typer.Exit(error.exit_code) from error
    except KeyboardInterrupt as error:
        console.print("stopped")
        raise typer.Exit(_INTERRUPTED) from error
    if not finished:
        console.print("stopped; the same command goes on from here")
        raise typer.Exit(_INTERRUPTED)


def run() -> None:
    """What `python -m bench` does."""
    configure_logs(level="error", fmt="console")
    app(prog_name="bench")


def _measure(tasks: Sequence[Task], state: State, console: Console) -> bool:
    if all(task.done(state.record(task.key)) for task in tasks):
        console.print("all of it was measured before; --fresh measures anew, --minutes adds turns")
        return True
    try:
        run_all(tasks, state, console)
    except KeyboardInterrupt:
        return False
    return True


def _report(
    tasks: Sequence[Task], state: State, missing: dict[str, str], output: Path, console: Console
) -> None:
    plots: list[str] = []
    try:
        from bench.plots import draw_all
    except ImportError as error:
        console.print(f"no plots: {error}; make dev", markup=False)
    else:
        plots = draw_all(tasks, {task.key: state.record(task.key) for task in tasks}, output)
    text = write_report(tasks, state, missing, plots, output)
    Console(highlight=False, soft_wrap=True).print(text, markup=False)
    console.print(f"report: {output / REPORT_FILE}", markup=False)


def _models(
    names: Sequence[str], sections: Sequence[str], work: Path, logs: Path, console: Console
) -> list[Model]:
    if list(names) == ["default"] and set(sections) <= set(ONLY_INT8):
        return [default_model()]
    console.print("models: those that are missing are made now, which takes minutes")
    return make_models(names, work / "models", logs / "models.log")


def _names(option: str, text: str | None, known: Collection[str]) -> list[str] | None:
    if text is None:
        return None
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        raise UsageError(f"{option} {text}: choose of {', '.join(known)}")
    return [name for name in known if name in names]


def _install(chosen: Sequence[str] | None, console: Console) -> None:
    """What can be installed here is; what cannot be is a peer that is missing."""
    environments = sorted(
        {
            peer.environment
            for peer, why in available()
            if why and peer.environment and (chosen is None or peer.name in chosen)
        }
    )
    if environments and _INSTALL.exists():
        console.print(f"installing {', '.join(environments)}: --no-install leaves them out")
        subprocess.run([sys.executable, str(_INSTALL), *environments], check=False)


def _missing(chosen: Sequence[str] | None, console: Console) -> dict[str, str]:
    missing = {
        peer.title: why
        for peer, why in available()
        if why and (chosen is None or peer.name in chosen)
    }
    for title, why in missing.items():
        console.print(f"not here: {title}: {why}", markup=False)
    return missing
