"""The report of a soak: JSON for programs, tables for people, a plot."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from edgeqa.manifest import Package
from soak.device import Swap
from soak.judge import LOST_AFTER_S, Verdict
from soak.latency import latencies, silences
from soak.plot import draw
from soak.truth import Truth

_COUNTS = (
    "asked", "answered", "lost", "late", "doubled", "wrong", "without_digest", "refused", "unasked",
)  # fmt: skip


@dataclass
class LoadPart:
    """Swaps while all clients ask without pause; times as `time.monotonic()` gives them."""

    wanted: int
    swaps: list[Swap] = field(default_factory=list)
    begin: float = 0.0
    end: float = 0.0
    rest: dict[str, float] = field(default_factory=dict)
    verdict: Verdict = field(default_factory=Verdict)
    problem: str | None = None


@dataclass(frozen=True)
class Look:
    """Memory at rest after so many swaps."""

    swap: int
    digest: str
    processes: float
    rss_mib: float
    pss_mib: float
    main_rss_mib: float


@dataclass
class MemoryPart:
    """Swaps with few questions, and looks at the memory between them."""

    wanted: int
    swaps: list[Swap] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)
    verdict: Verdict = field(default_factory=Verdict)
    problem: str | None = None


@dataclass
class Soak:
    """All that was seen."""

    threads: int
    clients: int
    drain_s: float
    packages: list[Package] = field(default_factory=list)
    truth: Truth = field(default_factory=lambda: Truth([], {}))
    load: LoadPart | None = None
    memory: MemoryPart | None = None
    interrupted: bool = False

    @property
    def faults(self) -> int:
        """Everything that must not be: of questions, of swaps, and of the run itself."""
        parts: list[LoadPart | MemoryPart] = [p for p in (self.load, self.memory) if p is not None]
        return sum(
            part.verdict.faults + len(_not_active(part.swaps)) + bool(part.problem)
            for part in parts
        )


def write_report(soak: Soak, folder: Path) -> str:
    """Write swaps.json, swaps.md and swaps.svg; the tables."""
    document = {
        "machine": _machine(),
        "threads": soak.threads,
        "clients": soak.clients,
        "interrupted": soak.interrupted,
        "packages": {package.digest: _about(package) for package in soak.packages},
        "questions": {
            "data": soak.truth.data,
            "different": len(soak.truth.questions),
            "left_out_as_ties": soak.truth.ties,
        },
        "load": soak.load and _load(soak.load, soak.drain_s),
        "memory": soak.memory and _memory(soak.memory),
        "faults": soak.faults,
    }
    (folder / "swaps.json").write_text(json.dumps(document, indent=2) + "\n")
    names = {one.digest: f"{one.manifest.name} {one.manifest.version}" for one in soak.packages}
    markdown = _markdown(document, names)
    (folder / "swaps.md").write_text(markdown)
    load, memory = soak.load or LoadPart(0), soak.memory or MemoryPart(0)
    looks = [(look.swap, look.rss_mib, look.pss_mib) for look in memory.looks]
    (folder / "swaps.svg").write_bytes(draw(load.verdict.trips, load.swaps, looks, names))
    return markdown


def _load(part: LoadPart, drain_s: float) -> dict[str, Any]:
    span = {"drain_s": drain_s, "begin": part.begin, "end": part.end}
    trips = part.verdict.trips
    return {
        **_common(part),
        "measured_s": round(part.end - part.begin, 1),
        "drain_s": drain_s,
        "latency": latencies(trips, part.swaps, **span),
        "longest_silence": silences(trips, part.swaps, **span),
        "memory_at_rest_after": part.rest,
    }


def _memory(part: MemoryPart) -> dict[str, Any]:
    first, last = (part.looks[0], part.looks[-1]) if len(part.looks) > 1 else (None, None)
    return {
        **_common(part),
        "looks": [asdict(look) for look in part.looks],
        "rss_last_to_first": first and last and round(last.rss_mib / first.rss_mib, 3),
        "pss_last_to_first": first and last and round(last.pss_mib / first.pss_mib, 3),
        "rss_least_and_most_mib": sorted(look.rss_mib for look in part.looks)[
            :: len(part.looks) - 1
        ]
        if first
        else None,
    }


def _common(part: LoadPart | MemoryPart) -> dict[str, Any]:
    took = [swap.ended_at - swap.begun_at for swap in part.swaps]
    counts = {name: getattr(part.verdict, name) for name in _COUNTS}
    return {
        "swaps_wanted": part.wanted,
        "swaps": len(part.swaps),
        "not_active": _not_active(part.swaps),
        "problem": part.problem,
        "counts": {**counts, "by_digest": dict(part.verdict.by_digest)},
        "examples": part.verdict.examples,
        "wish_to_active_s": {
            "median": round(statistics.median(took), 2),
            "max": round(max(took), 2),
        }
        if took
        else None,
        "peak_rss_mib": max((swap.peak_mib for swap in part.swaps), default=None),
        "each_swap": [
            {"to": swap.target, "s": round(swap.ended_at - swap.begun_at, 3), "state": swap.state,
             "peak_rss_mib": swap.peak_mib}
            for swap in part.swaps
        ],
    }  # fmt: skip


def _not_active(swaps: Sequence[Swap]) -> list[str]:
    return [swap.state for swap in swaps if swap.state != "active"]


def _markdown(document: dict[str, Any], names: dict[str, str]) -> str:
    machine, asked = document["machine"], document["questions"]
    lines = [
        f"{' and '.join(names.values())} on {machine['cpu']}, {machine['cores']} cores, "
        f"{document['threads']} threads; {document['clients']} clients, {asked['different']} "
        f"questions of {asked['data']}" + ("; stopped by Ctrl-C" if document["interrupted"] else "")
    ]
    for title, part in (("under load", document["load"]), ("memory", document["memory"])):
        if part is not None:
            lines += ["", *_counted(title, part)]
    if document["load"] is not None:
        lines += ["", *_latency(document["load"], names)]
    if document["memory"] is not None:
        lines += ["", *_looks(document["memory"])]
    return "\n".join(lines) + "\n"


def _counted(title: str, part: dict[str, Any]) -> list[str]:
    counts, took = part["counts"], part["wish_to_active_s"] or {"median": "-", "max": "-"}
    lines = [
        f"| {title}: swaps | not active | asked | answered | lost | twice | wrong | no digest "
        "| refused | wish to active, median | longest | peak resident |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
        f"| {part['swaps']} of {part['swaps_wanted']} | {len(part['not_active'])} "
        f"| {counts['asked']} | {counts['answered']} | {counts['lost']} "
        f"| {counts['doubled'] + counts['unasked']} | {counts['wrong']} "
        f"| {counts['without_digest']} | {counts['refused']} | {took['median']} s "
        f"| {took['max']} s | {part['peak_rss_mib']} MiB |",
    ]
    if part["problem"]:
        lines += ["", f"Ended early: {part['problem']}"]
    return lines + [f"- {example}" for example in part["examples"]]


def _latency(part: dict[str, Any], names: dict[str, str]) -> list[str]:
    table = part["latency"]
    rows = [
        *((f"steady, {names.get(d, d)}", row) for d, row in table["steady"].items()),
        *(
            (f"swapping, {names.get(row['from'])} to {names.get(row['to'])}", row)
            for row in table["swapping"]
        ),
    ]
    if table["swapping_all"]:
        rows.append(("swapping, all", table["swapping_all"]))
    lines = ["| | questions | p50 | p99 | longest |", "|---|---|---|---|---|"]
    lines += [
        f"| {title} | {row['questions']} | {row['p50_ms']} ms | {row['p99_ms']} ms "
        f"| {row['max_ms']} ms |"
        for title, row in rows
    ]
    if "ratio" in table:
        lines += [
            "",
            f"p99 swapping: {table['ratio']} times the slower model's steady p99 "
            f"({table['ratio_of_worse_direction']} in the worse direction), "
            f"{table['ratio_to_mixed']} times that of both models mixed "
            f"({table['mixed_reference_p99_ms']} ms).",
        ]
    quiet = part["longest_silence"]
    lines.append(
        f"Longest time without any answer: {quiet['steady_ms']} ms steady, {quiet['swapping_ms']} "
        f"ms swapping. A question is lost after {LOST_AFTER_S:.0f} s."
    )
    return lines


def _looks(part: dict[str, Any]) -> list[str]:
    looks = part["looks"]
    lines = ["| after swaps | processes | resident | proportional |", "|---|---|---|---|"]
    shown = {
        look["swap"]: look for look in (*looks[:1], *looks[len(looks) // 2 :][:1], *looks[-1:])
    }
    lines += [
        f"| {look['swap']} | {look['processes']} | {look['rss_mib']} MiB | {look['pss_mib']} MiB |"
        for look in shown.values()
    ]
    if part["rss_last_to_first"]:
        lines += [
            "",
            f"Last to first: resident {part['rss_last_to_first']}, proportional "
            f"{part['pss_last_to_first']}; resident at all {len(looks)} looks between "
            f"{' and '.join(map(str, part['rss_least_and_most_mib']))} MiB.",
        ]
    return lines


def _about(package: Package) -> dict[str, Any]:
    manifest = package.manifest
    return {
        "name": manifest.name,
        "version": manifest.version,
        "precision": manifest.precision,
        "parameters": manifest.architecture.parameters,
    }


def _machine() -> dict[str, Any]:
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return {
        "cpu": next(iter(names), platform.machine()),
        "cores": len(os.sched_getaffinity(0)),
        "machine": platform.machine(),
        "python": platform.python_version(),
    }
