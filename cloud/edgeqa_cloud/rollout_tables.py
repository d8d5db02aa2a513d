"""Showing a plan and the audit log to a person."""

from __future__ import annotations

from collections.abc import Iterator

from rich.text import Text

from edgeqa_cloud import words
from edgeqa_cloud.columns import Cell, Column, table_lines
from edgeqa_cloud.fleet_tables import PRESENCE_STYLES, model_cell
from edgeqa_cloud.presence import Presence
from edgeqa_cloud.rollout.views import AuditEntry, AuditPage, Plan, PlannedDevice, PlannedStage
from edgeqa_cloud.rollout_show import clock, length, pair

# Devices of a stage that a plan shows by name; all are in --json.
SHOWN_DEVICES = 10
_STAGES = (
    Column("STAGE"),
    Column("SIZE", least=8),
    Column("ADDS", right=True),
    Column("ONLINE", right=True),
    Column("EARLIEST"),
    Column("SOAK", right=True),
)
_DEVICES = (
    Column("STAGE"),
    Column("DEVICE", least=12),
    Column("STATE"),
    Column("RUNS NOW", least=14),
    Column("NOTE", least=10),
)
_ALARMING = frozenset(
    {
        "gate_breached",
        "device_failed",
        "undo_begun",
        "device_not_reverted",
        "devices_revert_expired",
    }
)


def plan_lines(plan: Plan, *, now_ms: int, width: int | None) -> Iterator[Text]:
    """Who would get what, and when."""
    line = Text(words.model(plan.model, digest=True), style="bold")
    line.append(f"  for {plan.devices:,} device{'s' * (plan.devices != 1)}", style="not bold")
    yield line
    yield Text()
    yield from table_lines(_STAGES, [_stage(one, now_ms) for one in plan.stages], width=width)
    yield pair("done", f"{_when(plan.earliest_end_ms, now_ms)} at the earliest")
    yield Text()
    rows = [_device(stage, one) for stage in plan.stages for one in stage.sample[:SHOWN_DEVICES]]
    yield from table_lines(_DEVICES, rows, width=width)
    hidden = plan.devices - len(rows)
    if hidden > 0:
        yield Text(f"and {hidden:,} more; --json names up to 1,000 of a stage", style="dim")
    if plan.warnings:
        yield Text()
    for warning in plan.warnings:
        yield Text(f"warning: {_sentence(warning)}", style="yellow")


def audit_lines(page: AuditPage, *, of_one: bool) -> Iterator[Text]:
    """Entries of the audit log, oldest first, as a log is read.

    Args:
        page: to show.
        of_one: of one rollout, whose id then need not stand in each line.
    """
    if not page.total:
        yield Text("no entry matches")
        return
    for one in reversed(page.entries):
        yield entry_line(one, date=True, rollout=not of_one)
    shown = len(page.entries)
    more = "" if shown == page.total else f"the newest {shown:,} of "
    yield Text(f"{more}{page.total:,} entr{'ies' if page.total != 1 else 'y'}", style="dim")


def entry_line(entry: AuditEntry, *, date: bool = False, rollout: bool = False) -> Text:
    """An entry on a line of its own."""
    line = Text(clock(entry.time_ms, date=date), style="dim")
    style = "red" if entry.action in _ALARMING else "cyan"
    if rollout and entry.rollout:
        line.append(f"  {words.said(entry.rollout)}", style="not dim")
    line.append(f"  {words.said(entry.action)}", style=f"not dim {style}")
    device = f" {words.said(entry.device)}" if entry.device else ""
    by = "" if entry.actor == "engine" else f" (by {words.said(entry.actor)})"
    line.append(f"{device}: {_sentence(entry.message)}{by}", style="not dim")
    return line


def _stage(stage: PlannedStage, now_ms: int) -> tuple[Cell | str, ...]:
    return (
        str(stage.stage + 1),
        words.said(stage.label),
        f"{stage.devices:,}",
        f"{stage.online:,}",
        _when(stage.earliest_ms, now_ms),
        length(stage.soak_s),
    )


def _device(stage: PlannedStage, device: PlannedDevice) -> tuple[Cell | str, ...]:
    known = device.presence in set(Presence)
    style = PRESENCE_STYLES[Presence(device.presence)] if known else ""
    return (
        str(stage.stage + 1),
        words.said(device.device),
        Cell(words.said(device.presence), style),
        words.NOTHING if device.model is None else model_cell(device.model),
        words.said(device.note),
    )


def _sentence(text: str) -> str:
    return words.said(text, most=words.SENTENCE_CHARS)


def _when(time_ms: int, now_ms: int) -> str:
    """`at once`, or how long until then and the clock's time."""
    left_s = (time_ms - now_ms) / 1000
    return "at once" if left_s < 1 else f"{clock(time_ms)}, in {words.span(left_s)}"
