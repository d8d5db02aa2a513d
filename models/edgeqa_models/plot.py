"""The plot of a comparison: F1 against time, each model a circle with the area of its size.

The same comparison gives the same bytes: no dates, no random ids, matplotlib's own font and
settings whatever this machine prefers.
"""

from __future__ import annotations

import io
import math
import textwrap
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator
from matplotlib.typing import ColorType

from edgeqa.errors import UsageError
from edgeqa_models.comparison import Comparison, Entry
from edgeqa_models.labels import Spot, place_labels
from edgeqa_models.report import Report

Format = Literal["png", "svg"]

# Colours that people with any colour vision tell apart. Source: Okabe and Ito 2008, Color
# Universal Design; its yellow and black are left out: one is faint, one is the text's.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_HEADING = "F1 against inference time"
_INK, _GREY, _LINE = "#222222", "#666666", "#E4E4E4"
_LARGEST_AREA = 2600.0  # of the largest model's circle, in square points
_LEADING = 3.0  # pixels between the lines of a label, for their white edges
_LOG_FROM = 3.0  # slowest over quickest from which a linear axis would crowd the quick ones


def plot_files(path: Path) -> dict[Path, Format]:
    """The files that `--plot` names: one by its suffix, or both without.

    Raises:
        UsageError: the suffix is neither .png nor .svg.
    """
    if not path.suffix:
        return {path.with_suffix(".png"): "png", path.with_suffix(".svg"): "svg"}
    for kind in ("png", "svg"):
        if path.suffix.lower() == f".{kind}":
            return {path: kind}
    raise UsageError(f"{path}: a plot is a .png or a .svg file")


def draw_plot(comparison: Comparison, kind: Format) -> bytes:
    """Draw a comparison of models that were asked at least one question."""
    entries = comparison.entries
    with _own_settings():
        figure = Figure(figsize=(8.4, 5.4), dpi=160, facecolor="white")
        FigureCanvasAgg(figure)  # the figure keeps it, and measures texts with it
        axes = figure.add_axes((0.085, 0.115, 0.885, 0.715))
        _frame(axes, entries)
        _title(figure, comparison)
        largest = max(entry.report.model_bytes for entry in entries)
        order = sorted(range(len(entries)), key=lambda i: -entries[i].report.model_bytes)
        for index in order:  # small circles over large ones
            _circle(axes, entries[index], COLOURS[index % len(COLOURS)], largest)
        _label(figure, axes, entries, largest)
        made = io.BytesIO()
        about = {"Title": _HEADING, "Description": ", ".join(entry.title for entry in entries)}
        silent = {"Software": None} if kind == "png" else {"Date": None, "Creator": None}
        figure.savefig(made, format=kind, metadata={**about, **silent})
    return made.getvalue()


@contextmanager
def _own_settings() -> Iterator[None]:
    with mpl.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # a name in letters that the font has not
        mpl.rcdefaults()
        mpl.rcParams.update(
            {
                "font.family": "DejaVu Sans",  # comes with matplotlib
                "font.size": 10,
                "svg.hashsalt": "edgeqa",
                "svg.fonttype": "path",  # looks the same where the font is missing
                "axes.edgecolor": "#BBBBBB",
                "axes.labelcolor": _INK,
                "text.color": _INK,
                "text.parse_math": False,  # a name with $ is no formula
                "xtick.color": _GREY,
                "ytick.color": _GREY,
            }
        )
        yield


def _time_ms(entry: Entry) -> float:
    return 1000 * entry.report.seconds / entry.report.questions


def _area(entry: Entry, largest: int) -> float:
    return _LARGEST_AREA * entry.report.model_bytes / largest


def _circle(axes: Axes, entry: Entry, colour: str, largest: int) -> None:
    report = entry.report
    x, low, high = _time_ms(entry), *report.f1_interval
    axes.vlines(x, low, high, color=colour, linewidth=1.4, alpha=0.55, zorder=3)
    axes.scatter([x, x], [low, high], s=60, marker="_", color=colour, alpha=0.55, zorder=3)
    axes.scatter([x], [report.f1], s=_area(entry, largest), color=colour, alpha=0.30, zorder=4,
                 edgecolors="none")  # fmt: skip
    axes.scatter([x], [report.f1], s=_area(entry, largest), facecolors="none", zorder=5,
                 edgecolors=colour, linewidths=1.6)  # fmt: skip
    axes.scatter([x], [report.f1], s=14, color=colour, zorder=6, linewidths=0)


def _frame(axes: Axes, entries: Sequence[Entry]) -> None:
    times = [_time_ms(entry) for entry in entries]
    lows = [entry.report.f1_interval[0] for entry in entries]
    highs = [entry.report.f1_interval[1] for entry in entries]
    room = max(1.0, 0.22 * (max(highs) - min(lows)))
    axes.set_ylim(max(-2.0, min(lows) - room), min(102.0, max(highs) + room))
    if max(times) / min(times) >= _LOG_FROM:
        axes.set_xscale("log")
        axes.set_xlim(min(times) / 1.7, max(times) * 1.7)
        axes.xaxis.set_major_locator(LogLocator(10, subs=(1.0, 2.0, 5.0)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_minor_formatter(NullFormatter())
    else:  # from 0, so that half the time is half the way
        axes.set_xlim(0.0, 1.4 * max(times))
    axes.yaxis.set_major_locator(MaxNLocator(8, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlabel("time a question, mean (ms)   ←  quicker")
    axes.set_ylabel("F1 (%), with 95 % interval")
    axes.grid(True, color=_LINE, linewidth=0.8, zorder=0)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _title(figure: Figure, comparison: Comparison) -> None:
    first = comparison.entries[0].report
    machines = sorted({entry.report.machine for entry in comparison.entries})
    where = f"{', '.join(machines)}, {first.threads} thread{'s' if first.threads > 1 else ''}"
    stopped = "" if comparison.complete else "stopped by Ctrl-C: "
    figure.text(0.085, 0.955, _HEADING, fontsize=14, weight="bold", va="center")
    lines = [
        f"{stopped}{first.questions} questions of {first.dataset}",
        f"{where}; the area of a circle is the size of the model",
    ]
    short = [textwrap.shorten(line, 110, placeholder=" …") for line in lines]
    figure.text(0.085, 0.92, "\n".join(short), fontsize=8.5, color=_GREY, va="top",
                linespacing=1.5)  # fmt: skip


def _label(figure: Figure, axes: Axes, entries: Sequence[Entry], largest: int) -> None:
    pixels = figure.dpi / 72  # a point
    texts, spots = [], []
    for index, entry in enumerate(entries):
        report = entry.report
        name = _text(axes, entry.title, _darker(COLOURS[index % len(COLOURS)]), "bold")
        figures = f"F1 {report.f1:.1f}   EM {report.exact_match:.1f}   {_megabytes(report)} MB"
        detail = _text(axes, figures, _INK, "normal")
        above, below = name.get_window_extent(), detail.get_window_extent()
        x, y = axes.transData.transform((_time_ms(entry), report.f1))
        low, high = (axes.transData.transform((1, value))[1] for value in report.f1_interval)
        radius = math.sqrt(_area(entry, largest) / math.pi) * pixels
        width = max(above.width, below.width)
        height = above.height + _LEADING + below.height
        spots.append(Spot(x, y, radius, width, height, low, high))
        texts.append((name, detail, below.height + _LEADING))
    frame = axes.get_window_extent()
    places = place_labels(spots, (frame.x0, frame.y0, frame.x1, frame.y1))
    for (name, detail, height), (x, y) in zip(texts, places, strict=True):
        detail.set_position((x, y))
        name.set_position((x, y + height))


def _darker(colour: str) -> tuple[float, float, float]:
    """The same hue for text: the paler of the colours are hard to read on white."""
    red, green, blue = to_rgb(colour)
    return 0.68 * red, 0.68 * green, 0.68 * blue


def _text(axes: Axes, words: str, colour: ColorType, weight: str) -> Text:
    return axes.text(
        0, 0, words, transform=None, color=colour, weight=weight, fontsize=8.5, zorder=8,
        va="bottom", ha="left",
        path_effects=[withStroke(linewidth=3, foreground="white")],
    )  # fmt: skip


def _megabytes(report: Report) -> str:
    return f"{report.model_bytes / 1e6:.1f}"
