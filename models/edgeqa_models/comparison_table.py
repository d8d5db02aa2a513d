"""A comparison as text for a terminal or as Markdown for a README."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edgeqa_models.comparison import Comparison, Entry, Pair
from edgeqa_models.published import MACHINE, PUBLISHED

Rows = list[list[str]]  # the first is the head
_NONE = "–"


def as_text(comparison: Comparison) -> str:
    """For a terminal: aligned columns."""
    return _document(comparison, _aligned)


def as_markdown(comparison: Comparison) -> str:
    """For a README."""
    return _document(comparison, _markdown)


def _document(comparison: Comparison, table: Callable[[Rows], str]) -> str:
    first = comparison.entries[0]
    parts = [_heading(comparison), table(_models(comparison))]
    paired = [pair for pair in comparison.pairs if pair.significance is not None]
    if paired:
        parts += [
            f"Against {first.label}, paired on the same {first.report.questions} questions:",
            table(_significance(paired)),
        ]
    parts += [f"Published values of another machine, for reference ({MACHINE}):"]
    parts += [table(_published())]
    return "\n\n".join(parts) + "\n"


def _heading(comparison: Comparison) -> str:
    first = comparison.entries[0]
    stopped = "" if comparison.complete else "stopped by Ctrl-C: "
    asked = f"{first.report.questions} questions of {first.report.dataset}"
    if first.report.null_threshold is not None:
        asked += f" (null threshold {first.report.null_threshold:.4g})"
    lines = [f"{stopped}{asked}, on {_machine(first)}"]
    lines += [
        f"{entry.label}: measured on {_machine(entry)}"
        for entry in comparison.entries[1:]
        if _machine(entry) != _machine(first)
    ]
    return "; ".join(lines)


def _machine(entry: Entry) -> str:
    threads = entry.report.threads
    return f"{entry.report.machine} with {threads} thread{'s' if threads > 1 else ''}"


def _models(comparison: Comparison) -> Rows:
    rows = [
        [
            *("model", "EM", "F1", "total time (s)", "questions/s", "p50 (ms)", "p95 (ms)"),
            *("size (MB)", "memory (MiB)", "speed", "F1 kept"),
        ]
    ]
    for entry, pair in zip(comparison.entries, [None, *comparison.pairs], strict=True):
        report = entry.report
        rows.append(
            [
                entry.title,
                _with_interval(report.exact_match, report.exact_match_interval),
                _with_interval(report.f1, report.f1_interval),
                f"{report.seconds:.2f}",
                f"{report.questions_per_s:.1f}",
                f"{report.p50_ms:.1f}",
                f"{report.p95_ms:.1f}",
                f"{report.model_bytes / 1e6:.1f}",
                f"{report.peak_memory_bytes / (1 << 20):.0f}",
                "1" if pair is None else _ratio(pair.speed_ratio),
                "100 %" if pair is None else _percent(pair.f1_share),
            ]
        )
    return rows


def _significance(pairs: Sequence[Pair]) -> Rows:
    rows = [["model", "F1 difference", "95 % interval", "EM gained", "EM lost", "McNemar p"]]
    for pair in pairs:
        if (found := pair.significance) is not None:
            low, high = found.f1_interval
            rows.append(
                [
                    pair.label,
                    f"{found.f1_difference:+.2f}",
                    f"{low:+.2f} to {high:+.2f}",
                    str(found.gained),
                    str(found.lost),
                    f"{found.p:.3f}" if found.p >= 0.001 else f"{found.p:.1e}",  # noqa: PLR2004
                ]
            )
    return rows


def _published() -> Rows:
    first = PUBLISHED[0]
    rows = [
        [
            row.model,
            f"{row.exact_match:.2f}",
            f"{row.f1:.2f}",
            f"{row.seconds:.2f}",
            "1" if row is first else _ratio(first.seconds / row.seconds),
            "100 %" if row is first else _percent(100 * row.f1 / first.f1),
        ]
        for row in PUBLISHED
    ]
    return [["model", "EM", "F1", "total time (s)", "speed", "F1 kept"], *rows]


def _with_interval(score: float, interval: tuple[float, float]) -> str:
    return f"{score:.2f} ({interval[0]:.1f}–{interval[1]:.1f})"


def _ratio(value: float | None) -> str:
    return _NONE if value is None else f"{value:.2f}"


def _percent(value: float | None) -> str:
    return _NONE if value is None else f"{value:.1f} %"


def _aligned(rows: Rows) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        first = row[0].ljust(widths[0])
        rest = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join([first, *rest]))
    return "\n".join(lines)


def _markdown(rows: Rows) -> str:
    cells = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    rule = ["---", *["---:"] * (len(rows[0]) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in [cells[0], rule, *cells[1:]])
