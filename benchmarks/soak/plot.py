"""The plot of a soak: the latency of each question over time with the swaps, memory over swaps."""

from __future__ import annotations

import io
from collections.abc import Sequence

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from plot_style import LINE, STYLE

from soak.device import Swap
from soak.judge import Trip

# Source: Okabe and Ito 2008, Color Universal Design.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")
_SWAP = "#BBBBBB"


def draw(
    trips: Sequence[Trip],
    swaps: Sequence[Swap],
    looks: Sequence[tuple[int, float, float]],
    names: dict[str, str],
) -> bytes:
    """An SVG.

    Args:
        trips: of the questions asked under load.
        swaps: meanwhile.
        looks: swaps so far, resident and proportional memory in MiB.
        names: of the models, by digest.
    """
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(STYLE)
        figure = Figure(figsize=(9.6, 6.4), dpi=160, facecolor="white", layout="constrained")
        FigureCanvasAgg(figure)
        above, below = figure.subplots(2, 1, height_ratios=(3, 2))
        _latency(above, trips, swaps, names)
        _memory(below, looks)
        made = io.BytesIO()
        about = {"Title": "Model swaps under load", "Date": None, "Creator": None}
        figure.savefig(made, format="svg", metadata=about)
    return made.getvalue()


def _latency(
    axes: Axes, trips: Sequence[Trip], swaps: Sequence[Swap], names: dict[str, str]
) -> None:
    begin = min((trip.sent_at for trip in trips), default=0.0)
    for number, swap in enumerate(swaps):
        axes.axvspan(
            swap.begun_at - begin, swap.ended_at - begin, color=_SWAP, alpha=0.5, linewidth=0,
            label="a swap, from wish to active" if number == 0 else None,
        )  # fmt: skip
    for number, (digest, name) in enumerate(names.items()):
        own = [trip for trip in trips if trip.digest == digest]
        # Thousands of points: as an image inside the drawing, or it would be megabytes.
        axes.scatter(
            [trip.sent_at - begin for trip in own],
            [1000 * (trip.came_at - trip.sent_at) for trip in own],
            s=3, linewidths=0, color=_COLOURS[number % len(_COLOURS)], label=name, rasterized=True,
        )  # fmt: skip
    _frame(axes, "Each question while the model is swapped", "time since the first question (s)")
    axes.set_ylabel("from question to answer (ms)")
    axes.set_ylim(bottom=0)
    if names:
        axes.legend(loc="upper right", fontsize=8, markerscale=3, framealpha=0.9)


def _memory(axes: Axes, looks: Sequence[tuple[int, float, float]]) -> None:
    for column, label in ((1, "resident, added up"), (2, "proportional")):
        axes.plot(
            [look[0] for look in looks], [look[column] for look in looks],
            marker="o", markersize=3, linewidth=1.2, color=_COLOURS[column - 1], label=label,
        )  # fmt: skip
    _frame(axes, "Memory of the agent and its model process at rest", "swaps so far")
    axes.set_ylabel("MiB")
    axes.set_ylim(bottom=0)
    if looks:
        axes.legend(loc="lower right", fontsize=8)


def _frame(axes: Axes, title: str, below: str) -> None:
    axes.set_title(title, loc="left", fontsize=11, weight="bold")
    axes.set_xlabel(below)
    axes.grid(True, color=LINE, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
