"""Showing the fleet to a person: the list of devices, and the summary."""

from __future__ import annotations

from collections.abc import Iterator

from rich.text import Text

from edgeqa_cloud import words
from edgeqa_cloud.columns import Cell, Column, table_lines
from edgeqa_cloud.fleet_views import THROTTLE_FLAGS, DevicePage, DeviceView, FleetSummary, ModelView
from edgeqa_cloud.presence import Presence

PRESENCE_STYLES = {
    Presence.ONLINE: "green",
    Presence.SILENT: "yellow",
    Presence.OFFLINE: "red",
    Presence.UNKNOWN: "dim",
}
SWAP_STYLES = {"failed": "red", "rolled_back": "red"}
NO_DEVICES = (
    "no devices yet; run a collector with `edgeqa cloud run`, and agents beside its broker "
    "(or `edgeqa cloud simulate`)"
)
_HOT_CELSIUS = 80.0  # from here on a Raspberry Pi 5 slows itself down
_LIST = (
    Column("DEVICE", least=12),
    Column("STATE"),
    Column("MODEL", least=14),
    Column("EM", right=True),
    Column("F1", right=True),
    Column("P95", right=True),
    Column("°C", right=True),
    Column("SEEN", right=True),
)
_TAGS = Column("TAGS", least=8)
_MODELS = (
    Column("MODEL", least=20),
    Column("DEVICES", right=True),
    Column("ONLINE", right=True),
    Column("EM", right=True),
    Column("F1", right=True),
    Column("QUESTIONS", right=True),
)


def list_lines(page: DevicePage, *, width: int | None, matched: bool) -> Iterator[Text]:
    """The devices of a page, and a line that says how many there are.

    Args:
        page: to show.
        width: to fit into; None: as wide as it wants.
        matched: whether a filter was given, for what is said where nothing is shown.
    """
    if page.devices:
        tagged = any(one.tags for one in page.devices)
        rows = [_row(one, page.now_ms, tagged=tagged) for one in page.devices]
        yield from table_lines((*_LIST, _TAGS) if tagged else _LIST, rows, width=width)
    if not page.total:
        yield Text("no device matches" if matched else NO_DEVICES)
        return
    counts = words.counted([(str(one), count) for one, count in page.presence.items()])
    more = "" if len(page.devices) == page.total else f"{len(page.devices):,} shown of "
    yield Text(f"{more}{page.total:,} device{'s' * (page.total != 1)}: {counts}", style="dim")


def summary_lines(summary: FleetSummary, *, width: int | None) -> Iterator[Text]:
    """The fleet in figures."""
    if not summary.devices:
        yield Text(NO_DEVICES)
        return
    counts = [(str(one), count) for one, count in summary.presence.items()]
    yield _pair("devices", f"{summary.devices:,}: {words.counted(counts)}")
    asked = f"{summary.evaluation_questions:,} questions"
    em, f1 = words.points(summary.exact_match), words.points(summary.f1)
    yield _pair("EM, F1", f"{em}, {f1} on {asked} of the last evaluations")
    yield _pair("latency", _latency(summary))
    hottest = words.celsius(summary.temperature_max_celsius)
    yield _pair("hottest", f"{hottest} °C; {summary.throttled:,} throttled now")
    yield _pair("records", f"missing: {words.counted(list(summary.gap_records.items()))}")
    quarantine = [(words.said(code), count) for code, count in summary.quarantine.items()]
    yield _pair("quarantine", words.counted(quarantine))
    yield Text()
    rows = [
        (
            words.model(one.model, digest=True) if one.model else "(none told)",
            f"{one.devices:,}",
            f"{one.online:,}",
            words.points(one.exact_match),
            words.points(one.f1),
            f"{one.evaluation_questions:,}",
        )
        for one in summary.models
    ]
    yield from table_lines(_MODELS, rows, width=width)


def is_throttled(device: DeviceView) -> bool:
    """Whether its board slows itself down now."""
    return bool(set(device.throttled) & set(THROTTLE_FLAGS))


def heat(device: DeviceView) -> Cell:
    """Its temperature, with a mark where it is throttled."""
    celsius = device.temperature_celsius
    mark = "!" if is_throttled(device) else ""
    hot = bool(mark) or (celsius is not None and celsius >= _HOT_CELSIUS)
    return Cell(words.celsius(celsius) + mark, "red" if hot else "")


def model_cell(model: ModelView | None, style: str = "") -> Cell:
    """A model whose version is seen however narrow its column is."""
    if model is None:
        return Cell(words.NOTHING)
    return Cell(words.said(model.name), style, tail=f" {words.said(model.version)}")


def _row(one: DeviceView, now_ms: int, *, tagged: bool) -> tuple[Cell | str, ...]:
    swap = SWAP_STYLES.get(one.swap_state or "", "")
    return (
        words.said(one.device),
        Cell(str(one.presence), PRESENCE_STYLES[one.presence]),
        model_cell(one.model, swap),
        words.points(one.exact_match),
        words.points(one.f1),
        words.milliseconds(one.p95_ms),
        heat(one),
        words.ago(one.last_seen_ms, now_ms),
        *([words.said(" ".join(one.tags))] if tagged else []),
    )


def _latency(summary: FleetSummary) -> str:
    latency = summary.latency
    if latency is None:
        return "no questions lately"
    times = ", ".join(
        f"{name} {words.milliseconds(value)}"
        for name, value in (
            ("p50", latency.p50_ms), ("p95", latency.p95_ms), ("p99", latency.p99_ms),
        )
    )  # fmt: skip
    length = words.span((latency.until_ms - latency.since_ms) / 1000)
    return f"{times}; {latency.questions:,} answers in {length}"


def _pair(name: str, value: str) -> Text:
    return Text(f"{name:<11}", style="dim").append(value, style="not dim")
