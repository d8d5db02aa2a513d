"""An agent in a process of its own, and the memory that it takes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.clients import DEVICE
from edgeqa.processes import own_process

# Questions come again in these benchmarks, and what is measured is how they are answered the first
# time.
_NO_CACHES = {"answer_cache_entries": "0", "context_cache_mb": "0"}


@contextmanager
def running_agent(
    url: str, package: Path, threads: int, log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """One that begins to serve `package`, without a state folder from before."""
    settings = {
        "broker": url,
        "device": DEVICE,
        "package": str(package),
        "threads": str(threads),
        "log_format": "json",
        **_NO_CACHES,
    }
    environment = {f"EDGEQA_AGENT_{name.upper()}": value for name, value in settings.items()}
    command = [sys.executable, "-m", "edgeqa.cli", "agent", "run"]
    with own_process(command, log, environment) as process:
        yield process


def memory_mib(pid: int) -> dict[str, float]:
    """Resident and proportional set sizes of a process and its children, added up."""
    pids = [pid]
    for task in Path(f"/proc/{pid}/task").iterdir():
        pids += [int(child) for child in (task / "children").read_text().split()]
    totals = {"Rss": 0, "Pss": 0}
    for one in pids:
        for line in Path(f"/proc/{one}/smaps_rollup").read_text().splitlines():
            name, _, value = line.partition(":")
            if name in totals:
                totals[name] += int(value.split()[0])
    return {
        "processes": len(pids),
        "resident_mib": round(totals["Rss"] / 1024, 1),
        "proportional_mib": round(totals["Pss"] / 1024, 1),
    }
