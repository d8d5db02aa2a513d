"""The report's plots, each as PNG and SVG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from plot_style import GREY, LINE, STYLE

from bench.results import rows
from bench.state import Record
from bench.tasks import Task

# Source: Okabe and Ito 2008, Color Universal Design.
_OURS, _OTHER, _THIRD = "#0072B2", "#D55E00", "#009E73"


def draw_all(tasks: Sequence[Task], records: dict[str, Record], folder: Path) -> list[str]:
    """One for each comparison, one for all latencies, one for the limits; names of the PNGs."""
    made: list[str] = []
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(STYLE)
        for task in tasks:
            record = records[task.key]
            if task.section in {"peers", "engine", "broker"} and record.turns:
                figure = _rates(task, record)
            elif task.section == "latency" and record.turns:
                figure = _latencies(task, record)
            elif task.section == "limit" and record.turns:
                figure = _limits(task, record)
            else:
                continue
            # Peers that do not fit into memory together are compared in several tasks.
            name = f"{task.section}-{task.model}"
            name += f"-{1 + len(made)}" if f"{name}.png" in made else ""
            _save(figure, folder, name, task.title)
            made.append(f"{name}.png")
    return made


def _save(figure: Figure, folder: Path, name: str, title: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    about: dict[str, Any] = {"Title": title, "Date": None, "Creator": None}
    figure.savefig(folder / f"{name}.svg", format="svg", metadata=about)
    figure.savefig(folder / f"{name}.png", format="png", metadata={"Title": title})


def _figure(height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(9.6, height), dpi=160, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots()


def _rates(task: Task, record: Record) -> Figure:
    """A dot for each side, with its quartiles; a logarithmic axis, as ratios are what counts."""
    found = [row for row in rows(record) if row.per_s]
    found.sort(key=lambda row: row.per_s.median if row.per_s else 0.0)
    figure, axes = _figure(1.2 + 0.32 * len(found))
    for place, row in enumerate(found):
        assert row.per_s is not None
        colour = _OURS if row.title.startswith("EdgeQA") else _OTHER
        axes.plot([row.per_s.low, row.per_s.high], [place, place], color=colour, linewidth=2)
        axes.plot([row.per_s.median], [place], "o", color=colour, markersize=6)
        axes.annotate(
            f"{row.per_s.median:.1f}", (row.per_s.high, place), xytext=(6, 0),
            textcoords="offset points", va="center", fontsize=8, color=GREY,
        )  # fmt: skip
    axes.set_yticks(range(len(found)), [row.title for row in found])
    axes.set_xscale("log")
    axes.margins(x=0.12)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_formatter(lambda value, _: f"{value:g}" if _leads(value) else "")
    _frame(axes, task.about["title"], "questions a second: median and quartiles of the turns")
    return figure


def _leads(value: float) -> bool:
    """Whether a minor tick of the logarithmic axis gets a number: 2 and 5 of each decade."""
    return f"{value:e}"[0] in "25"


def _latencies(task: Task, record: Record) -> Figure:
    figure, axes = _figure(3.6)
    for name, label, colour in (
        ("trips_ms", "under load", _OTHER),
        ("alone_ms", "one client alone", _OURS),
    ):
        ordered = sorted(value for turn in record.turns for value in turn[name])
        shares = [(number + 1) / len(ordered) for number in range(len(ordered))]
        axes.step(ordered, shares, where="post", color=colour, label=label, linewidth=1.4)
    axes.set_ylabel("share of the questions")
    axes.set_ylim(0, 1.01)
    axes.set_xlim(left=0)
    axes.legend(loc="lower right", fontsize=8)
    _frame(axes, task.about["title"], "from when a question was due to its answer (ms)")
    return figure


def _limits(task: Task, record: Record) -> Figure:
    shares = record.turns[-1]["shares"]
    figure, axes = _figure(1.5 + 0.75 * len(shares))
    kinds = (
        ("limit_ms", "products at the machine's peak", _THIRD),
        ("products_ms", "products alone, in their shapes", _OURS),
        ("model_ms", "the whole model", _OTHER),
    )
    for number, (name, label, colour) in enumerate(kinds):
        places = [place + 0.26 * (1 - number) for place in range(len(shares))]
        bars = axes.barh(places, [s[name] for s in shares], 0.24, color=colour, label=label)
        axes.bar_label(bars, fmt="%.1f", padding=3, fontsize=8, color=GREY)
    axes.set_yticks(
        range(len(shares)),
        [f"{s['precision']}, {s['tokens']} tokens, {s['threads']} thread(s)" for s in shares],
    )
    axes.margins(x=0.08)
    figure.legend(loc="outside lower center", ncols=len(kinds), fontsize=8)
    _frame(axes, task.about["title"], "one inference (ms)")
    return figure


def _frame(axes: Axes, title: str, below: str) -> None:
    axes.set_title(title, loc="left", fontsize=11, weight="bold")
    axes.set_xlabel(below)
    axes.grid(True, color=LINE, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, which="both")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
