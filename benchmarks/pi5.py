"""For the owner of a Raspberry Pi 5: measures what docs/pi5.md only estimates.

    make fleet && .venv/bin/python benchmarks/pi5.py        (or: make dev, for the peers too)

One question at a time, windows of known length, with one thread and with all cores, in turns; with
the temperature and what the firmware says of throttling before and after. Then `make bench` in its
quick form. Nothing is installed by this script, and nothing leaves the board.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from arm64view.question import QUESTION, another, load, text, window
from bench.machine import in_words, machine, versions
from gemm.timing import quartiles
from rich.console import Console
from rich.progress import Progress

from edgeqa.errors import ConfigError, EdgeqaError
from edgeqa.manifest import Package, open_package
from edgeqa_agent.hardware import describe_hardware
from edgeqa_agent.probes import temperature_celsius
from edgeqa_agent.throttling import throttled

REPOSITORY = Path(__file__).parent.parent
ESTIMATE = Path(__file__).parent / "arm64view" / "estimate.json"
BOARD = "Raspberry Pi 5"
_WARM = 2


@dataclass(frozen=True, slots=True)
class Condition:
    """How the board is; None where nothing tells it."""

    celsius: float | None
    megahertz: int | None
    flags: list[str] | None

    @classmethod
    def now(cls) -> Condition:
        """Read it."""
        clock = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq")
        try:
            megahertz = int(clock.read_text(encoding="ascii")) // 1000
        except (OSError, ValueError):
            megahertz = None
        return cls(temperature_celsius(), megahertz, throttled())

    def __str__(self) -> str:
        celsius = "temperature unknown" if self.celsius is None else f"{self.celsius:.1f} °C"
        clock = "" if self.megahertz is None else f", {self.megahertz} MHz"
        if self.flags is None:
            return f"{celsius}{clock}, nothing tells of throttling"
        return f"{celsius}{clock}, {', '.join(self.flags) or 'not throttled since it booted'}"


@dataclass(frozen=True, slots=True)
class Row:
    """One model, length and number of threads; milliseconds a question, and what was estimated."""

    model: str
    tokens: int
    threads: int
    questions: int
    median: float
    low: float
    high: float
    estimated: dict[str, float] | None

    def __str__(self) -> str:
        told = self.estimated
        words = "no estimate | "
        if told:
            inside = told["quick"] <= self.median <= told["slow"]
            words = (
                f"{told['likely']:.0f} ms ({told['quick']:.0f} to {told['slow']:.0f}) | "
                f"{'in' if inside else 'out of'} the range"
            )
        return (
            f"| {self.model} | {self.tokens} | {self.threads} | {self.median:.1f} ms "
            f"({self.low:.1f} to {self.high:.1f}) | {words} |"
        )


def main(
    packages: Annotated[
        list[Path] | None, typer.Argument(help="Package folders; the default packages.")
    ] = None,
    tokens: Annotated[
        list[int] | None, typer.Option(min=32, help="Repeatable; 160 and 384.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Turns of each side.")] = 7,
    turn_s: Annotated[float, typer.Option(min=0, help="Seconds of a turn.")] = 1.0,
    bench: Annotated[bool, typer.Option(help="Also `make bench` in its quick form.")] = True,
    any_board: Annotated[bool, typer.Option(help="Measure whatever board this is.")] = False,
    output: Annotated[Path, typer.Option(help="Folder for the report.")] = Path("bench-out/pi5"),
) -> None:
    """Measure this Raspberry Pi 5 and print the table that replaces the estimate."""
    console = Console(highlight=False, soft_wrap=True)
    notes = Console(stderr=True, highlight=False, soft_wrap=True)
    try:
        _check_board(any_board=any_board)
        opened = [
            open_package(path)
            for path in packages or sorted((REPOSITORY / "models/packages").glob("*"))
        ]
        before = Condition.now()
        notes.print(f"before: {before}")
        rows = measure(opened, tokens or [160, 384], rounds, turn_s, notes)
        after = Condition.now()
        notes.print(f"after: {after}")
        report = _report(rows, before, after)
        output.mkdir(parents=True, exist_ok=True)
        document = {
            "machine": machine(),
            "versions": versions(),
            "before": asdict(before),
            "after": asdict(after),
            "rows": [asdict(row) for row in rows],
        }
        (output / "pi5.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
        (output / "pi5.md").write_text(report, encoding="utf-8")
        console.print(report, markup=False)
        notes.print(f"report: {output / 'pi5.md'}", markup=False)
        if bench:
            _bench(notes)
    except EdgeqaError as error:
        notes.print(f"pi5: {error} [{error.code}]", markup=False)
        raise typer.Exit(error.exit_code) from error
    except KeyboardInterrupt as error:
        notes.print("stopped; nothing is kept of a turn that was not finished")
        raise typer.Exit(130) from error


def measure(
    packages: Sequence[Package],
    lengths: Sequence[int],
    rounds: int,
    turn_s: float,
    console: Console,
) -> list[Row]:
    """Each package, length and number of threads, in turns."""
    estimates = _estimates() if _is_pi5() else {}
    cores = len(os.sched_getaffinity(0))
    sides: dict[tuple[str, int, int], Callable[[int], object]] = {}
    for package in packages:
        name = package.manifest.name
        for threads in sorted({1, cores}):
            engine = load(package.path, threads)
            for length in lengths:
                context = text(engine, length)
                tokens = len(window(engine, context).ids)

                def ask(number: int, engine: Any = engine, context: str = context) -> object:
                    return engine.answer(QUESTION, another(context, number))

                sides[name, tokens, threads] = ask
    taken: dict[tuple[str, int, int], list[float]] = {key: [] for key in sides}
    asked = 0
    with Progress(console=console) as progress:
        task = progress.add_task("measuring", total=rounds * len(sides))
        order = list(sides)
        for _ in range(rounds):
            for key in order:
                for _ in range(_WARM):
                    asked += 1
                    sides[key](asked)
                until = time.perf_counter() + turn_s
                while True:
                    asked += 1
                    begun = time.perf_counter()
                    sides[key](asked)
                    taken[key].append(time.perf_counter() - begun)
                    if time.perf_counter() >= until:
                        break
                progress.advance(task)
            order.append(order.pop(0))
    rows = []
    for (name, tokens, threads), seconds in taken.items():
        low, _, high = quartiles(seconds)
        rows.append(
            Row(
                model=name,
                tokens=tokens,
                threads=threads,
                questions=len(seconds),
                median=1000 * statistics.median(seconds),
                low=1000 * low,
                high=1000 * high,
                estimated=estimates.get((name, tokens, threads)),
            )
        )
    return rows


def _check_board(*, any_board: bool) -> None:
    if not any_board and not _is_pi5():
        board = describe_hardware().board or "a machine without a device tree"
        raise ConfigError(f"this is {board}, not a {BOARD}; --any-board measures it all the same")


def _is_pi5() -> bool:
    return (describe_hardware().board or "").startswith(BOARD)


def _report(rows: Sequence[Row], before: Condition, after: Condition) -> str:
    hot = [flag for flag in after.flags or [] if flag not in (before.flags or [])]
    lines = [
        in_words(machine()),
        ", ".join(f"{name} {number}" for name, number in versions().items()),
        f"Before: {before}. After: {after}.",
    ]
    if hot:
        lines.append(
            f"The firmware held the board back meanwhile ({', '.join(hot)}): these are not its "
            "best times. A fan and the power supply of 27 W help."
        )
    lines += [
        "",
        "| model | tokens | threads | a question, median (quartiles) | estimated | |",
        "|---|---|---|---|---|---|",
        *(str(row) for row in rows),
    ]
    return "\n".join(lines) + "\n"


def _estimates() -> dict[tuple[str, int, int], dict[str, float]]:
    views = json.loads(ESTIMATE.read_text(encoding="utf-8"))["views"]
    return {
        (view["model"], view["tokens"], threads): view[name]
        for view in views
        for threads, name in ((1, "one_thread"), (4, "four_threads"))
    }


def _bench(console: Console) -> None:
    if shutil.which("make") is None:
        raise ConfigError("make is missing: sudo apt-get install make, or --no-bench")
    console.print("make bench, in its quick form")
    code = subprocess.run(["make", "bench", "ARGS=--quick"], cwd=REPOSITORY, check=False).returncode
    if code:
        raise ConfigError(f"make bench ended with {code}; what it said stands above")


if __name__ == "__main__":
    typer.run(main)
