"""The report: what was measured, as tables for people and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.aims import aims
from bench.machine import in_words
from bench.results import Row, latency, rows, started
from bench.state import Record, State
from bench.stats import Spread
from bench.tasks import Task
from edgeqa.files import write_atomic

REPORT_FILE, JSON_FILE = "report.md", "report.json"
_BASE = "transformers"
_OPERATORS = 8
_HEADINGS = {
    "peers": "Beside others, on the same weights and questions",
    "engine": "The engine alone, beside bare onnxruntime",
    "broker": "Through the broker",
    "latency": "Latency",
    "limit": "The limit: the matrix products alone",
    "start": "Start and memory",
}


def write_report(
    tasks: Sequence[Task], state: State, missing: dict[str, str], plots: Sequence[str], folder: Path
) -> str:
    """Write both files; the tables as they stand in the first."""
    records = {task.key: state.record(task.key) for task in tasks}
    document = {
        **state.basis,
        "missing": missing,
        "unfinished": [t.title for t in tasks if not t.done(records[t.key])],
        "aims": [{**asdict(aim), "reached": aim.reached} for aim in aims(records, state.basis)],
        "sections": [_section(task, records[task.key], state.basis) for task in tasks],
    }
    text = "\n".join(_lines(document, tasks, records, state.basis, plots)) + "\n"
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / JSON_FILE, (json.dumps(document, indent=2) + "\n").encode())
    write_atomic(folder / REPORT_FILE, text.encode())
    return text


def _section(task: Task, record: Record, basis: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "section": task.section,
        "model": task.model,
        "title": task.about["title"],
        "turns": len(record.turns),
        "seconds": round(record.seconds, 1),
        "opened_s": round(record.opened_s, 1),
        "error": record.error,
    }
    if not record.turns:
        return found
    if task.about["sides"]:
        found["block"] = record.about["block"]
        found["rows"] = [asdict(row) for row in rows(record)]
    elif task.section == "latency":
        found["latency"] = asdict(latency(record, basis["load_share"]))
    elif task.section == "start":
        found["start"] = asdict(started(record))
    else:
        found["limit"] = record.turns[-1]
    return found


def _lines(
    document: dict[str, Any], tasks: Sequence[Task], records: dict[str, Record],
    basis: dict[str, Any], plots: Sequence[str],
) -> Iterator[str]:  # fmt: skip
    yield "# Benchmarks of this machine\n"
    yield f"Machine: {in_words(basis['machine'])}.\n"
    yield "Versions: " + ", ".join(f"{k} {v}" for k, v in basis["versions"].items()) + "."
    yield f"EdgeQA's code: {basis['code']}. Python {basis['machine']['python']}.\n"
    yield (
        f"Questions: {basis['questions']['name']} "
        f"(sha256 {basis['questions']['fingerprint'].removeprefix('sha256:')[:12]}…), "
        f"seed {basis['seed']}. Threads: {basis['threads']}. "
        "A ratio is the median over the turns, with its quartiles.\n"
    )
    if document["unfinished"]:
        yield f"Not finished: {'; '.join(document['unfinished'])}.\n"
    yield from _aims(document["aims"])
    for section, heading in _HEADINGS.items():
        own = [task for task in tasks if task.section == section]
        if not own:
            continue
        yield f"## {heading}\n"
        shown = [task for task in own if records[task.key].turns]
        if section in {"peers", "engine", "broker"}:
            for task in shown:
                yield from _compared(section, task, records[task.key], basis)
        elif section == "latency":
            yield from _latency(shown, records, basis)
        elif section == "start":
            yield from _start(shown, records)
        else:
            for task in shown:
                yield from _limit(task, records[task.key])
        for task in own:
            if records[task.key].error:
                yield f"{task.title}: {records[task.key].error}\n"
        if section == "peers" and document["missing"]:
            yield "Not here:\n"
            yield "\n".join(f"- {name}: {why}" for name, why in document["missing"].items()) + "\n"
        yield from (f"![{heading}]({p})\n" for p in plots if p.startswith(f"{section}-"))


def _aims(found: Sequence[dict[str, Any]]) -> Iterator[str]:
    if not found:
        return
    yield "| aim | asked | measured | reached |"
    yield "|---|---|---|---|"
    for aim in found:
        sign = "at most" if aim["most"] else "at least"
        reached = "yes" if aim["reached"] else "no"
        yield f"| {aim['what']} | {sign} {aim['asked']:g} | {aim['measured']:.3g} | {reached} |"
    yield ""


def _compared(section: str, task: Task, record: Record, basis: dict[str, Any]) -> Iterator[str]:
    found = rows(record)
    ours = f"int8-edgeqa-{basis['threads']}"
    turns, block = len(record.turns), record.about["block"]
    yield f"### {task.about['title']}\n"
    yield f"{turns} turns of {block} questions.\n"
    against = {
        "peers": [
            (_BASE, "times the pipeline's rate", False),
            (ours, "EdgeQA's rate by its", True),
        ],
        "engine": [],
        "broker": [("int8-broker", "the broker's rate by its", True)],
    }[section]
    heads = ["", "questions/s", "a question", *(head for _, head, _ in against)]
    if section == "engine":
        heads.append("by bare onnxruntime")
    if section == "peers":
        heads += ["same answers", "EM", "F1"] if task.about["trained"] else ["same answers"]
    yield "| " + " | ".join(heads) + " |"
    yield "|" + "---|" * len(heads)
    for row in found:
        if row.per_s is None:
            continue
        cells = [row.title, _spread(row.per_s, 1), f"{1000 / row.per_s.median:.1f} ms"]
        for other, _, inverse in against:
            cells.append(_than(found, row, other, inverse=inverse))
        if section == "engine":
            bare = row.key.replace("-edgeqa-", "-onnxruntime-")
            cells.append("" if bare == row.key else _than(found, row, bare))
        if section == "peers":
            cells.append(_percent(row.same, " %"))
            cells += [_percent(row.exact_match), _percent(row.f1)] if task.about["trained"] else []
        yield "| " + " | ".join(cells) + " |"
    yield ""
    if section == "peers":
        yield from _settings(found)
    yield from (f"- {row.title} took no part or ended early: {row.out}" for row in found if row.out)


def _than(found: Sequence[Row], row: Row, other: str, *, inverse: bool = False) -> str:
    if row.key == other:
        return "1"
    if inverse:
        against = next((r for r in found if r.key == other), None)
        value = against.than.get(row.key) if against else None
    else:
        value = row.than.get(other)
    return _spread(value, 2) if value else ""


def _settings(found: Sequence[Row]) -> Iterator[str]:
    said = set()
    for row in found:
        versions = ", ".join(f"{k} {v}" for k, v in (row.versions or {}).items())
        line = f"{row.settings}{'; ' if versions and row.settings else ''}{versions}"
        if line and line not in said:
            said.add(line)
            yield f"- {row.title}: {line}"
    yield ""


def _latency(
    tasks: Sequence[Task], records: dict[str, Record], basis: dict[str, Any]
) -> Iterator[str]:
    share = basis["load_share"]
    yield (
        f"{basis['clients']} connections ask at random times (Poisson), {100 * share:.0f} % of "
        "what the agent can answer; *alone*: one client that asks when it has its answer; *added*: "
        "its round trip less the time in the model. Milliseconds.\n"
    )
    yield (
        "| | can answer | asked | questions | p50 | p95 | p99 | longest | p99 by p50 "
        "| refused | alone p50 | p99 | added p50 | p99 |"
    )
    yield "|" + "---|" * 14
    for task in tasks:
        got = latency(records[task.key], share)
        if not got.load:
            continue
        load = " | ".join(f"{got.load[name]:.1f}" for name in ("p50", "p95", "p99", "longest"))
        one = " | ".join(f"{p[n]:.1f}" for p in (got.alone, got.added) for n in ("p50", "p99"))
        worse = f"{got.load['p99'] / got.load['p50']:.2f}"
        yield (
            f"| {task.about['title']} | {got.capacity_per_s:.1f}/s | {got.asked_per_s:.1f}/s "
            f"| {got.questions} | {load} | {worse}, a turn {_spread(got.worse, 2)} "
            f"| {got.refused} | {one} |"
        )
    yield ""


def _start(tasks: Sequence[Task], records: dict[str, Record]) -> Iterator[str]:
    yield "Of a new process; memory of all the agent's processes, resident added up.\n"
    yield "| | starts | to the first answer | resident then | resident after work | proportional |"
    yield "|" + "---|" * 6
    for task in tasks:
        got = started(records[task.key])
        yield (
            f"| {task.about['title']} | {len(records[task.key].turns)} "
            f"| {_spread(got.first_answer_s, 2)} s | {_spread(got.idle_resident_mib, 1)} MiB "
            f"| {_spread(got.resident_mib, 1)} MiB | {_spread(got.proportional_mib, 1)} MiB |"
        )
    yield ""


def _limit(task: Task, record: Record) -> Iterator[str]:
    yield f"### {task.about['title']}\n"
    turn = record.turns[-1]
    yield "| | tokens | threads | peak, 10^9/s | limit | products alone | model | of the limit |"
    yield "|" + "---|" * 8
    for s in turn["shares"]:
        yield (
            f"| {s['model']} | {s['tokens']} | {s['threads']} | {s['peak']:.0f}, "
            f"{s['peak_kernel']} | {s['limit_ms']:.1f} ms | {s['products_ms']:.1f} ms "
            f"| {s['model_ms']:.1f} ms | {100 * s['share']:.0f} % ({100 * s['share_low']:.0f} to "
            f"{100 * s['share_high']:.0f}) |"
        )
    yield ""
    for profile in turn["profiles"]:
        yield f"{profile['of']}, by operator, the {_OPERATORS} that take longest:\n"
        yield "| operator | calls | time | share |"
        yield "|---|---|---|---|"
        for o in profile["operators"][:_OPERATORS]:
            yield (
                f"| {o['name']} | {o['calls']:.0f} | {o['milliseconds']:.2f} ms "
                f"| {100 * o['share']:.1f} % |"
            )
        yield ""


def _spread(value: Spread | None, digits: int) -> str:
    if value is None:
        return ""
    low, high = f"{value.low:.{digits}f}", f"{value.high:.{digits}f}"
    return f"{value.median:.{digits}f} ({low} to {high})"


def _percent(value: float | None, unit: str = "") -> str:
    return "" if value is None else f"{value:.1f}{unit}"
