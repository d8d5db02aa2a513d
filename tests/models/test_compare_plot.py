"""The plot: real files, the same bytes each time, labels that can be read."""

from __future__ import annotations

import struct
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from edgeqa.errors import UsageError
from edgeqa_models.compare import against_first
from edgeqa_models.comparison import Comparison, Entry
from edgeqa_models.labels import Spot, place_labels
from edgeqa_models.plot import draw_plot, plot_files
from edgeqa_models.report import Report


def entry(label: str, f1: float, seconds: float, size: float, **changes: Any) -> Entry:
    values: dict[str, Any] = {
        "schema": 2,
        "dataset": "dev",
        "fingerprint": "0" * 64,
        "task": "squad_v1",
        "precision": "int8",
        "model_sha256": "0" * 64,
        "model_bytes": int(size * 1e6),
        "complete": True,
        "questions": 100,
        "refused": 0,
        "exact_match": max(0.0, f1 - 10),
        "f1": f1,
        "exact_match_interval": (0.0, 100.0),
        "f1_interval": (max(0.0, f1 - 2), min(100.0, f1 + 2)),
        "seconds": seconds,
        "questions_per_s": 100 / seconds,
        "p50_ms": 1.0,
        "p95_ms": 2.0,
        "p99_ms": 3.0,
        "peak_memory_bytes": 1 << 20,
        "machine": "x",
        "threads": 1,
    }
    return Entry(label=label, report=Report(**{**values, **changes}))


def comparison(*entries: Entry) -> Comparison:
    pairs = against_first(entries, [None] * len(entries))
    return Comparison(schema=1, complete=True, entries=list(entries), pairs=pairs)


MODELS = comparison(entry("large", 88, 90, 436), entry("small", 80, 2.5, 23))


def test_a_png_is_one_and_large_enough_to_read() -> None:
    made = draw_plot(MODELS, "png")
    assert made.startswith(b"\x89PNG\r\n\x1a\n")
    assert made.endswith(b"IEND\xaeB`\x82")
    width, height = struct.unpack(">II", made[16:24])
    assert width >= 1200
    assert height >= 700
    assert len(made) > 20_000


def test_an_svg_parses_and_names_every_model() -> None:
    made = draw_plot(MODELS, "svg")
    root = ET.fromstring(made)  # noqa: S314  our own
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    # Texts are drawn as paths, which show the same everywhere; the metadata say what they are.
    said = " ".join(element.text or "" for element in root.iter())
    for label in ("large (int8)", "small (int8)", "F1 against inference time"):
        assert label in said


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_the_same_comparison_gives_the_same_bytes(kind: Any) -> None:
    before = dict(mpl.rcParams)
    first = draw_plot(MODELS, kind)
    assert dict(mpl.rcParams) == before
    with mpl.rc_context({"font.size": 20, "svg.hashsalt": "other", "axes.facecolor": "red"}):
        assert draw_plot(MODELS, kind) == first  # whatever this machine prefers
    assert b"matplotlib" not in first.lower() or kind == "svg"
    assert b"<dc:date>" not in first


@pytest.mark.parametrize(
    "entries",
    [
        [entry("same", 80, 2, 23), entry("same too", 80, 2, 23)],
        [entry("none right", 0, 2, 23, precision="fp32"), entry("all", 100, 2, 23)],
        [entry(f"model {index}", 70 + index, 2 + index, 10 * index + 1) for index in range(12)],
        [entry("$x^$ <b> & 東京", 80, 2, 1, dataset="-- $ " * 80), entry("n" * 150, 81, 3, 2)],
        [entry("slow", 80, 1e6, 1e4), entry("quick", 80, 1e-3, 0.01)],
        [entry("a", 80, 2, 23, machine="x"), entry("b", 80, 3, 23, machine="y", threads=4)],
    ],
    ids=["same", "extremes", "many", "odd-names", "far-apart", "two-machines"],
)
def test_odd_comparisons_are_drawn(entries: list[Entry]) -> None:
    made = comparison(*entries)
    assert draw_plot(made, "png").startswith(b"\x89PNG")
    ET.fromstring(draw_plot(made, "svg"))  # noqa: S314  our own


def test_a_suffix_chooses_the_format() -> None:
    assert plot_files(Path("a/plot")) == {Path("a/plot.png"): "png", Path("a/plot.svg"): "svg"}
    assert plot_files(Path("x.SVG")) == {Path("x.SVG"): "svg"}
    with pytest.raises(UsageError, match=r"x\.pdf"):
        plot_files(Path("x.pdf"))


FRAME = (0.0, 0.0, 1200.0, 700.0)


def boxes(spots: list[Spot]) -> list[tuple[float, float, float, float]]:
    places = place_labels(spots, FRAME)
    return [(x, y, x + s.width, y + s.height) for s, (x, y) in zip(spots, places, strict=True)]


def apart(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]


@example(892.125, 60.0, 50.0)  # a part of a pixel
@given(st.floats(60, 1140), st.floats(60, 640), st.floats(5, 50))
@settings(max_examples=100, deadline=None)
def test_a_label_stays_in_the_frame_and_off_its_circle(x: float, y: float, radius: float) -> None:
    spot = Spot(x, y, radius, 250, 40, y - 80, y + 80)
    [box] = boxes([spot])
    circle = (x - radius, y - radius, x + radius, y + radius)
    assert box[0] >= 0
    assert box[1] >= 0
    assert box[2] <= 1200
    assert box[3] <= 700
    assert apart(box, circle)


def test_labels_of_models_at_one_place_do_not_cover_each_other() -> None:
    spots = [Spot(600, 350, 30, 250, 40, 250, 450) for _ in range(4)]
    made = boxes(spots)
    for index, box in enumerate(made):
        assert all(apart(box, other) for other in made[index + 1 :])
