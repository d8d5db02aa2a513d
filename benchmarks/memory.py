"""What a model process takes of the memory, beside what `edgeqa_agent.memory` expects of it.

Each package is loaded as the agent loads it, in a process of its own, which then answers questions
of many lengths, as many at once as it reads. Largest (VmHWM) and present (RSS, PSS) memory are
those of that process, as the kernel counts them.

    python benchmarks/memory.py models/packages/* --threads 1 --threads 2
"""

from __future__ import annotations

import json
import os
import platform
import random
import threading
import time
from pathlib import Path
from typing import Annotated, Any

import structlog
import typer
from rich.console import Console

from edgeqa.errors import ModelLoadError
from edgeqa.manifest import MODEL_FILE, Package, open_package
from edgeqa_agent.idle import IDLE_S
from edgeqa_agent.jobs import Done, Job, Task
from edgeqa_agent.memory import needed_bytes
from edgeqa_agent.model_process import ModelProcess

MIB = 1 << 20
# Shortest and longest text that is asked about, words: from one small window to several full ones.
SHORTEST, LONGEST = 10, 1200


def main(
    packages: Annotated[list[Path], typer.Argument(help="Package folders.")],
    threads: Annotated[list[int] | None, typer.Option(help="Repeatable; 1 and 2.")] = None,
    questions: Annotated[int, typer.Option(min=1, help="Asked once it is loaded.")] = 100,
    timeout_s: Annotated[float, typer.Option(help="For one start, and for all questions.")] = 600,
    output: Annotated[Path, typer.Option(help="Folder for the report.")] = Path("bench-out"),
) -> None:
    """Measure, print a table, and write memory.json and memory.md."""
    runs = []
    for path in packages:
        for count in threads or [1, 2]:
            runs.append(measure(open_package(path), count, questions, timeout_s))
            Console(highlight=False, soft_wrap=True).print(_row(runs[-1]))
    report = {"machine": _machine(), "questions": questions, "runs": runs}
    output.mkdir(parents=True, exist_ok=True)
    (output / "memory.json").write_text(json.dumps(report, indent=2) + "\n")
    markdown = _markdown(report)
    (output / "memory.md").write_text(markdown)
    Console(highlight=False, soft_wrap=True).print(markdown)


def measure(package: Package, threads: int, questions: int, timeout_s: float) -> dict[str, Any]:
    """Memory of one model process after its start, after it has answered, and when it is idle.

    Raises:
        EdgeqaError: it does not start, or does not answer in time.
    """
    served = _Served(questions)
    process = ModelProcess(
        package=package,
        threads=threads,
        on_done=served.done,
        on_exit=served.died,
        log=structlog.get_logger(),
    )
    try:
        ready = process.start(timeout_s=timeout_s)
        start = memory_of(process.pid)
        for number, task in enumerate(_tasks(package, questions)):
            process.submit(Job(number, [task], None))
        served.wait(timeout_s)
        end = memory_of(process.pid)
        time.sleep(IDLE_S + 2)
        idle = memory_of(process.pid)
    finally:
        process.stop()
    needed = needed_bytes(package, threads=threads)
    return {
        "package": f"{package.manifest.name} {package.manifest.version}",
        "precision": package.manifest.precision,
        "threads": threads,
        "model_mib": _mib(package.manifest.files[MODEL_FILE].bytes),
        "start": start,
        "reported_mib": _mib(ready.scores.memory_bytes),
        "end": end,
        "idle": idle,
        "needed_mib": _mib(needed),
        "needed_to_peak": round(needed / MIB / end["peak_mib"], 2),
        "scores": ready.scores.model_dump(),
    }


def memory_of(pid: int) -> dict[str, float]:
    """Largest and present resident memory and the proportional set size of a process, MiB."""
    found = {}
    for file, names in (
        ("status", {"VmHWM": "peak_mib", "VmRSS": "rss_mib"}),
        ("smaps_rollup", {"Pss": "pss_mib"}),
    ):
        for line in Path(f"/proc/{pid}/{file}").read_text().splitlines():
            name, _, value = line.partition(":")
            if name in names:
                found[names[name]] = round(int(value.split()[0]) / 1024, 1)
    return found


class _Served:
    """Waits until so many jobs are done."""

    def __init__(self, jobs: int) -> None:
        self._left = jobs
        self._changed = threading.Condition()
        self._dead = False

    def done(self, _: Done) -> None:
        with self._changed:
            self._left -= 1
            self._changed.notify_all()

    def died(self, _: ModelProcess) -> None:
        with self._changed:
            self._dead = True
            self._changed.notify_all()

    def wait(self, timeout_s: float) -> None:
        with self._changed:
            ended = self._changed.wait_for(lambda: self._dead or not self._left, timeout_s)
        if self._dead or not ended:
            raise ModelLoadError(f"{self._left} questions have no answer")


def _tasks(package: Package, count: int) -> list[Task]:
    rng = random.Random(1)
    checks = package.checks()
    words = " ".join(check.context for check in checks).split()
    tasks = []
    for _ in range(count):
        length = rng.randint(SHORTEST, LONGEST)
        text = " ".join((words * (1 + length // len(words)))[:length])
        tasks.append(Task(rng.choice(checks).question, text, 1))
    return tasks


def _mib(size: int) -> float:
    return round(size / MIB, 1)


def _machine() -> dict[str, Any]:
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return {
        "cpu": next(iter(names), platform.machine()),
        "machine": platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "page_bytes": os.sysconf("SC_PAGE_SIZE"),
        "python": platform.python_version(),
    }


def _markdown(report: dict[str, Any]) -> str:
    machine = report["machine"]
    lines = [
        f"MiB, after the start / after {report['questions']} questions / idle; {machine['cpu']}, "
        f"{machine['machine']}, Python {machine['python']}",
        "",
        "| package | threads | model file | peak | resident | proportional | expected | expected "
        "to peak |",
        "|---|---|---|---|---|---|---|---|",
        *(_row(run) for run in report["runs"]),
    ]
    return "\n".join(lines) + "\n"


def _row(run: dict[str, Any]) -> str:
    times = (run["start"], run["end"], run["idle"])
    pairs = " | ".join(
        " / ".join(f"{at[name]:.0f}" for at in times[: 2 if name == "peak_mib" else 3])
        for name in ("peak_mib", "rss_mib", "pss_mib")
    )
    return (
        f"| {run['package']} | {run['threads']} | {run['model_mib']:.0f} | {pairs} "
        f"| {run['needed_mib']:.0f} | {run['needed_to_peak']:.2f} |"
    )


if __name__ == "__main__":
    typer.run(main)
