"""Showing one device's history to a person."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from rich.text import Text

from edgeqa_cloud import words
from edgeqa_cloud.columns import Cell, Column, table_lines
from edgeqa_cloud.fleet_tables import PRESENCE_STYLES, SWAP_STYLES, heat, model_cell
from edgeqa_cloud.fleet_views import DeviceHistory, DeviceView, EvaluationView, ServingPoint

# Rows of each table; `--json` has all.
MAX_SHOWN = 10
_EVALUATIONS = (
    Column("EVALUATED"),
    Column("MODEL", least=10),
    Column("EM", right=True),
    Column("F1", right=True),
    Column("N", right=True),
    Column("P95", right=True),
    Column("F1 CHANGE"),
)
_SWAPS = (
    Column("SWAP"),
    Column("STATE"),
    Column("MODEL", least=14),
    Column("TOOK", right=True),
    Column("REASON", least=16),
)
_GAPS = (Column("MISSING"), Column("START", least=8), Column("RECORDS"), Column("ASKED FOR"))


def history_lines(history: DeviceHistory, *, width: int | None) -> Iterator[Text]:
    """A device: what it is, how it served, what it scored, what happened."""
    device = history.device
    yield _title(device, history.now_ms)
    yield from _facts(history)
    yield Text()
    yield from _serving(history)
    yield from _section(_EVALUATIONS, [_evaluation(one, history.now_ms)
                                       for one in history.evaluations[:MAX_SHOWN]],
                        width, len(history.evaluations))  # fmt: skip
    yield from _section(_SWAPS, [
        (
            words.ago(one.time_ms, history.now_ms),
            Cell(words.said(one.state), SWAP_STYLES.get(one.state, "")),
            model_cell(one.model),
            words.NOTHING if one.duration_ms is None else words.span(one.duration_ms / 1000),
            words.said(one.code) if one.code is None
            else f"{words.said(one.code)}: {words.said(one.message)}",
        )
        for one in history.swaps[:MAX_SHOWN]
    ], width, len(history.swaps))  # fmt: skip
    yield from _section(_GAPS, [
        (one.state, words.said(one.boot_id), f"{one.first} to {one.last}", f"{one.asked} times")
        for one in history.gaps[:MAX_SHOWN]
    ], width, len(history.gaps))  # fmt: skip


def _title(device: DeviceView, now_ms: int) -> Text:
    line = Text(words.said(device.device), style="bold")
    line.append("  ")
    line.append(str(device.presence), style=f"not bold {PRESENCE_STYLES[device.presence]}")
    why = f" ({words.said(device.presence_reason)})" if device.presence_reason else ""
    line.append(f"{why}, heard {words.ago(device.last_seen_ms, now_ms)}", style="not bold")
    return line


def _facts(history: DeviceHistory) -> Iterator[Text]:
    device = history.device
    state = f"; {words.said(device.swap_state)}" if device.swap_state else ""
    code = f" [{words.said(device.swap_code)}]" if device.swap_code else ""
    yield _pair("model", words.model(device.model, digest=True) + state + code)
    parts = (device.board, device.machine)
    yield _pair("hardware", ", ".join(words.said(part) for part in parts if part) or words.NOTHING)
    yield _pair("agent", f"{words.said(device.agent_version)}, "
                         f"onnxruntime {words.said(device.onnxruntime_version)}")  # fmt: skip
    yield _pair("groups", ", ".join(map(words.said, device.groups)) or words.NOTHING)
    yield _pair("tags", ", ".join(map(words.said, device.tags)) or words.NOTHING)
    temperature, memory = heat(device), words.mebibytes(device.resident_bytes)
    flags = ", ".join(map(words.said, device.throttled))
    yield _pair("now", f"{temperature.text} °C, {memory}" + (f"; {flags}" if flags else ""))
    skew = words.NOTHING if device.skew_ms is None else f"{device.skew_ms / 1000:+.3f} s"
    boots = len(history.boots)
    known = words.span((history.now_ms - device.first_seen_ms) / 1000)
    yield _pair("clock", f"{skew}; {boots:,} start{'s' * (boots != 1)}, known for {known}")


def _serving(history: DeviceHistory) -> Iterator[Text]:
    total = history.total
    length = words.span((history.now_ms - history.since_ms) / 1000)
    if total is None:
        yield _pair("served", f"nothing in the last {length}")
    else:
        yield _pair(
            "served",
            f"{total.answered:,} answered, {total.refused:,} refused in the last {length}",
        )
        if total.p50_ms is not None:
            yield _pair("latency", _latency(total))
        yield Text(f"{'':<11}a block is {words.span(history.step_ms / 1000)}", style="dim")
        for name, value, show in _LINES:
            yield from _line(name, _steps(history, value), show)
    scores = [one.f1 for one in reversed(history.evaluations)]
    yield from _line("F1", scores, words.points)


def _latency(total: ServingPoint) -> str:
    times = ", ".join(
        f"{name} {words.milliseconds(value)}"
        for name, value in (("p50", total.p50_ms), ("p95", total.p95_ms), ("p99", total.p99_ms))
    )
    return f"{times}; of that inference p95 {words.milliseconds(total.inference_p95_ms)}"


_LINES: tuple[
    tuple[str, Callable[[ServingPoint], float | None], Callable[[float], str]], ...
] = (
    ("questions", lambda point: point.answered + point.refused, lambda value: f"{value:,.0f}"),
    ("p95", lambda point: point.p95_ms, words.milliseconds),
    ("°C", lambda point: point.temperature_max_celsius, words.celsius),
    ("CPU", lambda point: point.cpu_load_mean, lambda value: f"{value:.0%}"),
    ("memory", lambda point: point.resident_bytes_max, lambda value: words.mebibytes(int(value))),
)  # fmt: skip
_BLOCKS_SHOWN = 48  # fits 80 columns beside the least and the largest value


def _steps(
    history: DeviceHistory, value: Callable[[ServingPoint], float | None]
) -> list[float | None]:
    """The value of each step of the span, None where no record fell into it."""
    by_start = {point.start_ms: value(point) for point in history.serving}
    first = history.serving[0].start_ms
    last = history.serving[-1].start_ms
    return [by_start.get(start) for start in range(first, last + 1, history.step_ms)]


def _line(
    name: str, values: Sequence[float | None], show: Callable[[float], str]
) -> Iterator[Text]:
    values = values[-_BLOCKS_SHOWN:]
    known = [value for value in values if value is not None]
    if len(known) > 1:
        low, high = show(min(known)), show(max(known))
        range_said = low if low == high else f"{low} to {high}"
        yield _pair(name, f"{words.sparkline(values)}  {range_said}")


def _evaluation(one: EvaluationView, now_ms: int) -> tuple[Cell | str, ...]:
    paired = one.paired
    worse = paired is not None and paired.f1_interval[1] < 0
    better = paired is not None and paired.f1_interval[0] > 0
    change = words.NOTHING if paired is None else (
        f"{paired.f1_difference:+.1f} {words.interval(paired.f1_interval, sign=True)}"
    )  # fmt: skip
    return (
        words.ago(one.time_ms, now_ms),
        model_cell(one.model),
        f"{words.points(one.exact_match)} {words.interval(one.exact_match_interval)}",
        f"{words.points(one.f1)} {words.interval(one.f1_interval)}",
        f"{one.questions:,}",
        words.milliseconds(one.p95_ms),
        Cell(change, "red" if worse else "green" if better else ""),
    )


def _section(
    columns: Sequence[Column],
    rows: Sequence[Sequence[Cell | str]],
    width: int | None,
    total: int,
) -> Iterator[Text]:
    if not rows:
        return
    yield Text()
    yield from table_lines(columns, rows, width=width)
    if total > len(rows):
        yield Text(f"the newest {len(rows)} of {total:,}; all with --json", style="dim")


def _pair(name: str, value: str) -> Text:
    return Text(f"{name:<11}", style="dim").append(value, style="not dim")
