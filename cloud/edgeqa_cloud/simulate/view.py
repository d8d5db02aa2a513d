"""Showing a person how a simulated fleet does: a table that is renewed, or a line now and then."""

from __future__ import annotations

from dataclasses import asdict
from types import TracebackType
from typing import Any, Protocol, Self

from rich.console import Console
from rich.live import Live
from rich.table import Table
from structlog.typing import FilteringBoundLogger

from edgeqa_cloud.simulate.fleet import Snapshot

_MIB = 1 << 20


class View(Protocol):
    """Takes a snapshot now and then."""

    every_s: float

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def show(self, snapshot: Snapshot) -> None:
        """The fleet as it is now."""


class LiveView:
    """A table on a terminal.

    Args:
        console: the terminal.
    """

    every_s = 1.0

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, auto_refresh=False)
        self._before: tuple[float, dict[str, int]] | None = None

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def show(self, snapshot: Snapshot) -> None:
        """Renew the table."""
        totals = asdict(snapshot.counters)
        rates = self._rates(snapshot.seconds, totals)
        self._live.update(table_of(snapshot, rates), refresh=True)

    def _rates(self, seconds: float, totals: dict[str, int]) -> dict[str, float]:
        before, self._before = self._before, (seconds, totals)
        if before is None or seconds <= before[0]:
            return {}
        return {k: (n - before[1][k]) / (seconds - before[0]) for k, n in totals.items()}


class LogView:
    """A line in the log.

    Args:
        log: where to.
        every_s: how often.
    """

    def __init__(self, log: FilteringBoundLogger, *, every_s: float) -> None:
        self.every_s = every_s
        self._log = log

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, snapshot: Snapshot) -> None:
        """Write the line; faults that were not made are left out."""
        figures: dict[str, Any] = snapshot.as_dict()
        always = {"seconds", "devices", "connected", "waiting", "appended", "acknowledged"}
        self._log.info(
            "simulation", **{name: n for name, n in figures.items() if n or name in always}
        )


def table_of(snapshot: Snapshot, rates: dict[str, float]) -> Table:
    """A snapshot as people read it."""
    counters = snapshot.counters
    table = Table(
        title=f"{snapshot.devices} simulated devices, {snapshot.seconds:.0f} s",
        title_justify="left",
    )
    for name, justify in (("", "left"), ("total", "right"), ("a second", "right")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]  # rich's literals

    def row(title: str, total: int, rate: float | None = None) -> None:
        table.add_row(title, f"{total:,}", "" if rate is None else f"{rate:,.1f}")

    row("connected", snapshot.connected, rates.get("connects"))
    row("heartbeats", counters.heartbeats, rates.get("heartbeats"))
    row("records written", counters.appended, rates.get("appended"))
    row("acknowledged by the broker", counters.acknowledged, rates.get("acknowledged"))
    row("waiting in outboxes", snapshot.waiting)
    row("records sent, MiB", counters.bytes // _MIB)
    row("asked for again", counters.resent, rates.get("resent"))
    for title, total in (
        ("nobody listens", counters.unheard),
        ("connections broken", counters.breaks),
        ("evaluations", counters.evaluations),
        ("models swapped", counters.swaps),
        ("swaps failed", counters.swaps_failed),
        ("commands refused", counters.refused),
        ("not held any more", counters.missing),
        ("fault: lost", counters.lost),
        ("  of these still missing", snapshot.outstanding),
        ("fault: published twice", counters.duplicated),
        ("fault: overtaken", counters.reordered),
        ("fault: malformed", counters.malformed),
        ("fault: clocks jumped", counters.jumped),
        ("fault: offline spells", counters.spells),
    ):
        if total:
            row(title, total)
    return table
