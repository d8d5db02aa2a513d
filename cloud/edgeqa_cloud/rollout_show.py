"""Showing rollouts to a person: the list, one with its stages and gates, its devices."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime

from rich.text import Text

from edgeqa_cloud import words
from edgeqa_cloud.columns import Cell, Column, table_lines
from edgeqa_cloud.fleet_tables import model_cell
from edgeqa_cloud.rollout.states import GateStatus, MemberState, RolloutState
from edgeqa_cloud.rollout.views import (
    GateView,
    MemberPage,
    RolloutPage,
    RolloutSummary,
    RolloutView,
    StageView,
)

STATE_STYLES = {
    RolloutState.RUNNING: "cyan",
    RolloutState.PAUSED: "yellow",
    RolloutState.ABORTING: "yellow",
    RolloutState.UNDOING: "yellow",
    RolloutState.COMPLETED: "green",
    RolloutState.ABORTED: "red",
    RolloutState.UNDONE: "red",
    RolloutState.UNDO_INCOMPLETE: "red",
}
MEMBER_STYLES = {
    MemberState.WISHED: "cyan",
    MemberState.CHANGED: "green",
    MemberState.FAILED: "red",
    MemberState.EXPIRED: "yellow",
    MemberState.REVERTING: "yellow",
    MemberState.REVERTED: "blue",
    MemberState.REVERT_FAILED: "red",
    MemberState.REVERT_EXPIRED: "red",
}
_GATE_STYLES = {
    GateStatus.PASSED: "green",
    GateStatus.BREACHED: "red",
    GateStatus.UNDECIDED: "yellow",
    GateStatus.NO_DATA: "dim",
}
_STAGE_STYLES = {
    "changing": "cyan",
    "soaking": "cyan",
    "passed": "green",
    "stopped": "red",
    "undone": "red",
}
# A member in one of these needs nothing more of its stage.
_DONE = frozenset(MemberState) - {
    MemberState.WAITING,
    MemberState.WISHED,
    MemberState.UNTOUCHED,
    MemberState.REVERTING,
}
_BAR_CHARS = 20
NO_ROLLOUTS = "no rollouts yet; begin one with `edgeqa rollout create NAME@VERSION --all --dry-run`"
_LIST = (
    Column("ROLLOUT"),
    Column("STATE"),
    Column("MODEL", least=14),
    Column("STAGE", right=True),
    Column("DEVICES", least=20),
    Column("BY", least=6),
    Column("BEGUN", right=True),
)
_STAGES = (
    Column("STAGE"),
    Column("SIZE", least=8),
    Column("STATE"),
    Column("", least=4),
    Column("DEVICES", least=20),
    Column("SOAK", right=True),
)
_GATES = (
    Column("GATE"),
    Column("SAYS"),
    Column("VALUE", right=True),
    Column("95 %", right=True),
    Column("LIMIT", right=True),
    Column("FROM", right=True),
)
_MEMBERS = (
    Column("DEVICE", least=12),
    Column("STAGE", right=True),
    Column("STATE"),
    Column("BEFORE", least=14),
    Column("WISHED", right=True),
    Column("WHY", least=10),
)


def list_lines(
    page: RolloutPage, *, now_ms: int, width: int | None, matched: bool
) -> Iterator[Text]:
    """The rollouts of a page, and a line that says how many there are."""
    if not page.total:
        yield Text("no rollout matches" if matched else NO_ROLLOUTS)
        return
    rows = [
        (
            words.said(one.rollout),
            state_cell(one.state),
            model_cell(one.model),
            f"{one.stage + 1}/{one.stages}",
            counted_states(one.states),
            words.said(one.created_by),
            words.ago(one.created_ms, now_ms),
        )
        for one in page.rollouts
    ]
    if rows:
        yield from table_lines(_LIST, rows, width=width)
    more = "" if len(rows) == page.total else f"{len(rows):,} shown of "
    yield Text(f"{more}{page.total:,} rollout{'s' * (page.total != 1)}", style="dim")


def rollout_lines(view: RolloutView, *, now_ms: int, width: int | None) -> Iterator[Text]:
    """A rollout: where it stands, its stages, its gates, what was ordered."""
    yield title(view)
    yield from _facts(view, now_ms)
    yield Text()
    yield from table_lines(_STAGES, [_stage(one, view, now_ms) for one in view.stage_list],
                           width=width)  # fmt: skip
    if view.gates:
        yield Text()
        yield from table_lines(_GATES, [_gate(one) for one in view.gates], width=width)
        yield Text(f"judged {words.ago(view.gates_ms, now_ms)}", style="dim")
        for gate in view.gates:
            if gate.status is not GateStatus.PASSED:
                said = words.said(gate.message, most=words.SENTENCE_CHARS)
                line = Text(f"{words.said(gate.gate)}: ", style=_GATE_STYLES[gate.status])
                yield line.append(said, style="default")
    waiting = [one for one in view.orders if one.state == "waiting"]
    if waiting:
        yield Text()
    for one in waiting:
        yield Text(
            f"{words.said(one.action)} was ordered {words.ago(one.ordered_ms, now_ms)} by "
            f"{words.said(one.actor)}, and waits for an engine",
            style="yellow",
        )


def title(view: RolloutSummary) -> Text:
    """Its id, its state and its model."""
    line = Text(words.said(view.rollout), style="bold")
    state = view.state.value.replace("_", " ")
    line.append(f"  {state}", style=f"not bold {STATE_STYLES[view.state]}")
    line.append(f"  {words.model(view.model, digest=True)}", style="not bold")
    return line


def state_cell(state: RolloutState) -> Cell:
    """A rollout's state."""
    return Cell(state.value.replace("_", " "), STATE_STYLES[state])


def counted_states(states: Mapping[MemberState, int]) -> str:
    """`12 changed, 3 waiting`, in the order of a device's way."""
    return words.counted([(one.value.replace("_", " "), states.get(one, 0)) for one in MemberState])


def member_lines(page: MemberPage, *, now_ms: int, width: int | None) -> Iterator[Text]:
    """Devices of a rollout, and a line that says how many there are."""
    if not page.total:
        yield Text("no device matches")
        return
    rows = [
        (
            words.said(one.device),
            str(one.stage + 1),
            Cell(one.state.value.replace("_", " "), MEMBER_STYLES.get(one.state, "")),
            words.NOTHING if one.before is None else model_cell(one.before),
            words.ago(one.wished_ms, now_ms),
            _why(one.code, one.message),
        )
        for one in page.members
    ]
    yield from table_lines(_MEMBERS, rows, width=width)
    more = "" if len(rows) == page.total else f"{len(rows):,} shown of "
    yield Text(f"{more}{page.total:,} device{'s' * (page.total != 1)}", style="dim")


def clock(time_ms: int, *, date: bool = True) -> str:
    """A time as the clock on the wall here shows it."""
    local = datetime.fromtimestamp(time_ms / 1000).astimezone()
    return local.strftime("%Y-%m-%d %H:%M:%S" if date else "%H:%M:%S")


def length(seconds: float) -> str:
    """Of a soak."""
    if not seconds:
        return words.NOTHING
    return f"{seconds:.2g} s" if seconds < 1 else words.span(seconds)


def _facts(view: RolloutView, now_ms: int) -> Iterator[Text]:
    if view.reason is not None:
        code = f" [{words.said(view.code)}]" if view.code else ""
        yield pair("because", words.said(view.reason, most=words.SENTENCE_CHARS) + code)
    if view.waiting_for is not None:
        yield pair("waits for", words.said(view.waiting_for))
    yield pair("devices", f"{view.devices:,}: {counted_states(view.states)}")
    ended = "" if view.ended_ms is None else f", ended {words.ago(view.ended_ms, now_ms)}"
    begun = f"{words.ago(view.created_ms, now_ms)} by {words.said(view.created_by)}"
    yield pair("begun", begun + ended)
    if view.note:
        yield pair("note", words.said(view.note))


def _stage(stage: StageView, view: RolloutView, now_ms: int) -> tuple[Cell | str, ...]:
    done = sum(count for state, count in stage.states.items() if state in _DONE)
    full = round(_BAR_CHARS * done / stage.devices) if stage.devices else 0
    style = _STAGE_STYLES.get(stage.state, "dim")
    soak = length(stage.soak_s)
    if stage.state == "soaking" and view.soak_ends_ms is not None:
        left_s = (view.soak_ends_ms - now_ms) / 1000
        soak = f"{words.span(left_s)} of {soak}" if left_s > 0 else f"{soak}, over"
    return (
        str(stage.stage + 1),
        words.said(stage.label),
        Cell(stage.state, style),
        Cell("━" * full + "╌" * (_BAR_CHARS - full), style),
        counted_states(stage.states),
        soak,
    )


def _gate(gate: GateView) -> tuple[Cell | str, ...]:
    interval = words.NOTHING
    if gate.low is not None and gate.high is not None:
        interval = f"[{figure(gate.low, gate.unit)}, {figure(gate.high, gate.unit)}]"
    says = gate.status.value.replace("_", " ") + ("" if gate.required else " (optional)")
    return (
        words.said(gate.gate),
        Cell(says, _GATE_STYLES[gate.status]),
        figure(gate.value, gate.unit),
        interval,
        figure(gate.limit, gate.unit),
        f"{gate.samples:,} {words.said(gate.of)}",
    )


def figure(value: float | None, unit: str) -> str:
    """A gate's figure with its unit."""
    if value is None:
        return words.NOTHING
    match unit:
        case "points":
            return f"{value:+.1f}"
        case "ratio":
            return f"{value:.2f}x"
        case "share":
            return f"{value:.1%}"
        case "celsius":
            return f"{value:.1f} °C"
        case _:
            return f"{value:g}"


def _why(code: str | None, message: str | None) -> str:
    if code is None:
        return words.NOTHING if message is None else words.said(message)
    return words.said(code) if message is None else f"{words.said(code)}: {words.said(message)}"


def pair(name: str, value: str) -> Text:
    """A fact with its name before it."""
    return Text(f"{name:<11}", style="dim").append(value, style="not dim")
