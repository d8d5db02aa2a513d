"""A soak of model swaps: many clients ask without pause while the model is changed again and again.

A real broker, a real agent. Each answer is compared with what the model that it names gives
offline; each message is counted. Then, in a fresh agent, hundreds of swaps with few questions, and
its memory at rest between them.

    python benchmarks/swaps.py --data SQUAD.json
    python benchmarks/swaps.py --data SQUAD.json --packages A B --swaps 10 --memory-swaps 0

Exit code 1 if a question was lost, answered twice, wrongly, namelessly or not, or a swap failed.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from soak.device import DEVICE, Device, running_device
from soak.judge import LOST_AFTER_S, judge
from soak.load import Load
from soak.memory import at_rest
from soak.report import LoadPart, Look, MemoryPart, Soak, write_report
from soak.truth import Expected, Question, Truth, choose, read_offline, without_ties

from edgeqa.errors import DataError, EdgeqaError
from edgeqa.logs import configure_logs
from edgeqa.manifest import Package, open_package
from edgeqa.processes import broker_process
from edgeqa_agent.settings import default_package

_WARM_UP_S = 3.0
_POLL_S = 0.05
# While memory is looked at, each client asks so long after each answer; rest before each look.
_LIGHT_PAUSE_S = 1.0
_REST_S = 1.0
_FIRST_LOOK, _LOOK_EVERY = 3, 10
# Answered without pause before each look: memory that a model takes when it is first busy is there.
_BUSY_QUESTIONS = 200


@dataclass(frozen=True)
class Plan:
    """What the command line says of both parts."""

    packages: list[Package]
    truth: Truth
    clients: int
    swap_timeout_s: float
    settings: dict[str, str]
    output: Path
    bar: Progress


def main(
    data: Annotated[
        Path | None, typer.Option(help="SQuAD JSON; the packages' check questions if not said.")
    ] = None,
    packages: Annotated[
        tuple[Path, Path] | None, typer.Option(help="Two folders; the default packages.")
    ] = None,
    swaps: Annotated[int, typer.Option(min=0, help="While all clients ask; 0: leave out.")] = 100,
    questions: Annotated[int, typer.Option(min=1, help="Answered at least meanwhile.")] = 10_000,
    memory_swaps: Annotated[
        int, typer.Option(min=0, help="To look at the memory after; 0: leave out.")
    ] = 300,
    clients: Annotated[int, typer.Option(min=1, help="Connections, a question open on each.")] = 8,
    sample: Annotated[int, typer.Option(min=1, help="Different questions, of the data.")] = 400,
    most_chars: Annotated[int, typer.Option(min=50, help="Longest text, of the data.")] = 1000,
    seed: Annotated[int, typer.Option(help="Of the sample.")] = 0,
    steady_s: Annotated[float, typer.Option(min=0.1, help="Between swaps, at least.")] = 3.0,
    drain_s: Annotated[float, typer.Option(min=0, help="After `active`, still swapping.")] = 1.0,
    warm_up: Annotated[
        int, typer.Option(min=0, help="Questions before the memory's first swap.")
    ] = 1100,
    threads: Annotated[int, typer.Option(min=0, help="Of the agent; 0: all cores.")] = 0,
    swap_timeout_s: Annotated[float, typer.Option(min=1)] = 120.0,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="NAME=VALUE of the agent; repeatable.")
    ] = None,
    output: Annotated[Path, typer.Option(help="Folder for the report.")] = Path("bench-out/swaps"),
) -> None:
    """Measure, print the tables, and write swaps.json, swaps.md and swaps.svg."""
    threads = threads or len(os.sched_getaffinity(0))
    output.mkdir(parents=True, exist_ok=True)
    configure_logs(level="error", fmt="console")
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
        console=Console(stderr=True),
    )  # fmt: skip
    soak = Soak(threads=threads, clients=clients, drain_s=drain_s)
    with bar:
        both = [open_package(path) for path in packages or _default_pair()]
        asked = choose(data, both, sample=sample, most_chars=most_chars, seed=seed)
        source = data.name if data else "the packages' check questions"
        plan = Plan(
            packages=both,
            truth=_offline(bar, both, asked, threads, source),
            clients=clients,
            swap_timeout_s=swap_timeout_s,
            settings={"threads": str(threads), **dict(_setting(one) for one in settings or [])},
            output=output,
            bar=bar,
        )
        soak.packages, soak.truth = both, plan.truth
        try:
            if swaps:
                soak.load = LoadPart(wanted=swaps)
                with _noting(soak.load):
                    _under_load(plan, soak.load, questions, steady_s=steady_s, drain_s=drain_s)
            if memory_swaps:
                soak.memory = MemoryPart(wanted=memory_swaps)
                with _noting(soak.memory):
                    _with_few_questions(plan, soak.memory, warm_up)
        except KeyboardInterrupt:
            soak.interrupted = True
    Console(highlight=False, soft_wrap=True).print(write_report(soak, output))
    if soak.faults:
        raise typer.Exit(1)
    if soak.interrupted:
        raise typer.Exit(130)


def _default_pair() -> tuple[Path, Path]:
    first = default_package()
    [second, *_] = [path for path in sorted(first.parent.iterdir()) if path != first]
    return first, second


def _setting(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise typer.BadParameter(f"--set {text}: say NAME=VALUE")
    return name, value


def _offline(
    bar: Progress, packages: list[Package], asked: list[Question], threads: int, source: str
) -> Truth:
    expected: dict[str, list[Expected]] = {}
    for package in packages:
        task = bar.add_task(f"offline, {package.manifest.name}", total=len(asked))
        expected[package.digest] = []
        for answer in read_offline(package, asked, threads=threads):
            expected[package.digest].append(answer)
            bar.advance(task)
    return without_ties(asked, expected, source)


@contextmanager
def _noting(part: LoadPart | MemoryPart) -> Iterator[None]:
    """What ends one part early is noted, and the rest goes on."""
    try:
        yield
    except (EdgeqaError, OSError) as error:
        part.problem = str(error)


@contextmanager
def _serving(plan: Plan, part: LoadPart | MemoryPart, name: str) -> Iterator[
    tuple[Device, Load]
]:  # fmt: skip
    """An agent and its clients; what they saw is judged at the end, whatever ends it."""
    folder = plan.output / name
    folder.mkdir(exist_ok=True)
    # A broker of its own too: the wish and the report of an agent before would still be there.
    with tempfile.TemporaryDirectory() as work, broker_process(Path(work), 0) as url:
        load = Load(url, DEVICE, plan.truth.questions, clients=plan.clients, folder=folder)
        device = running_device(
            url,
            plan.packages,
            folder=Path(work),
            log=folder / "agent.log",
            settings=plan.settings,
        )
        try:
            with device as running, load:
                yield running, load
        finally:
            part.verdict = judge(*load.seen(), plan.truth)


def _under_load(
    plan: Plan, part: LoadPart, questions: int, *, steady_s: float, drain_s: float
) -> None:
    bars = plan.bar.add_task("swaps", total=part.wanted)
    answers = plan.bar.add_task("answers", total=questions)
    with _serving(plan, part, "load") as (device, load):

        def steady(least: int) -> None:
            since = time.monotonic()
            _await_answers(
                device, load, least, lambda: plan.bar.update(answers, completed=load.answered)
            )
            time.sleep(max(0.0, since + steady_s - time.monotonic()))
            part.end = time.monotonic()

        load.ask()
        time.sleep(_WARM_UP_S)
        part.begin = time.monotonic()
        steady(0)
        for number in range(1, part.wanted + 1):
            part.swaps.append(device.swap(plan.packages[number % 2], timeout_s=plan.swap_timeout_s))
            time.sleep(drain_s)
            plan.bar.advance(bars)
            steady(questions * number // part.wanted)
        load.pause()
        time.sleep(_REST_S)
        part.rest = at_rest(device.pid)


def _with_few_questions(plan: Plan, part: MemoryPart, warm_up: int) -> None:
    # The same model serves after the last as after the third.
    last = part.wanted = part.wanted + 1 - part.wanted % 2
    looked_at = {_FIRST_LOOK, *range(_LOOK_EVERY + 1, last, _LOOK_EVERY), last}
    task = plan.bar.add_task("swaps, memory", total=last)
    with _serving(plan, part, "memory") as (device, load):
        load.ask()
        _await_answers(device, load, warm_up)
        load.ask(pause_s=_LIGHT_PAUSE_S)
        for number in range(1, last + 1):
            part.swaps.append(device.swap(plan.packages[number % 2], timeout_s=plan.swap_timeout_s))
            _check_alive(device, load)
            if number in looked_at:
                load.ask()
                _await_answers(device, load, load.answered + _BUSY_QUESTIONS)
                load.pause()
                time.sleep(_REST_S)
                part.looks.append(Look(number, device.active.digest, **at_rest(device.pid)))
                load.ask(pause_s=_LIGHT_PAUSE_S)
            plan.bar.advance(task)


def _await_answers(
    device: Device, load: Load, least: int, tell: Callable[[], None] = lambda: None
) -> None:
    """Wait for so many answers since the clients began.

    Raises:
        DataError: none comes any more.
    """
    seen, since = -1, time.monotonic()
    while True:
        _check_alive(device, load)
        tell()
        if load.answered >= least:
            return
        if load.answered != seen:
            seen, since = load.answered, time.monotonic()
        elif time.monotonic() - since > 2 * LOST_AFTER_S:
            raise DataError(f"no answer for {2 * LOST_AFTER_S:.0f} s")
        time.sleep(_POLL_S)


def _check_alive(device: Device, load: Load) -> None:
    if not device.alive:
        raise DataError("the agent has ended; see its log in the output folder")
    if not load.alive:
        raise DataError("the clients have ended")


def _command() -> None:
    try:
        typer.run(main)
    except EdgeqaError as error:
        print(f"error: {error} [{error.code}]", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    _command()
