"""Showing a person how a device follows a wish, and what packages it has.

Everything shown came over the network: control characters are replaced and lengths cut.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn
from rich.text import Text

from edgeqa.messages import Fault, ModelRef, Status
from edgeqa.model_messages import (
    CheckScores,
    ModelState,
    Reported,
    ShadowScores,
    StoredPackage,
)
from edgeqa.show import clean

_MAX_CHARS = 400
# Of a digest, enough to tell packages apart: as git does with commits.
_DIGEST_CHARS = len("sha256:") + 12
_STYLES = {
    ModelState.ACTIVE: "bold green",
    ModelState.FAILED: "bold red",
    ModelState.ROLLED_BACK: "bold red",
}


class SwapView:
    """A line for each step, with its time; on a terminal a bar while something is counted.

    Args:
        device: whose wish.
        console: where to.
        clock: seconds; they are shown since this was made.
    """

    def __init__(
        self, device: str, console: Console, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._device = device
        self._console = console
        self._clock = clock
        self._began = clock()
        self._shown: object = None
        self._before: ModelRef | None = None
        self._counting: TaskID | None = None
        self._bar = Progress(
            TextColumn("         {task.description:<10}"),
            BarColumn(),
            TaskProgressColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def show_presence(self, presence: Status) -> None:
        """The device came or went, or is as it is at the beginning."""
        if presence.status == "online":
            self._line(f"{self._device} is online")
        else:
            why = presence.reason or "unknown reason"
            self._line(f"{self._device} is offline ({why}): it follows the wish when it is back")

    def show_stranger(self) -> None:
        """Nothing is known of the device."""
        self._line(f"the broker has never seen {self._device}: check the name; waiting for it")

    def show(self, report: Reported) -> None:
        """A report on the wish."""
        if self._before is None and report.state is not ModelState.ACTIVE:
            self._before = report.active
        self._count(report)
        code = report.reason.code if report.reason else None
        compared = report.shadow is not None and report.shadow.questions >= report.shadow.wanted
        step = (report.state, code, report.checks is not None, report.shadow is not None, compared)
        if step != self._shown:
            self._shown = step
            state = str(report.state).replace("_", " ")
            line = f"{state:<11} {self._details(report)}"
            self._line(line.rstrip(), _STYLES.get(report.state, ""))

    def _details(self, report: Reported) -> str:
        parts = []
        left = report.state in {ModelState.FAILED, ModelState.ROLLED_BACK}
        if report.state is ModelState.ACTIVE:
            parts.append(self._change(report))
        elif report.state is ModelState.FETCHING:
            parts.append(f"{report.name} {report.version}")
        if report.reason is not None:
            # The command ends with the whole reason.
            parts.append(report.reason.code if left else fault_in_words(report.reason))
        if report.shadow is not None:
            parts.append(_shadow_in_words(report.shadow))
        elif report.checks is not None:
            parts.append(_checks_in_words(report.checks))
        if left and report.active is not None:
            parts.append(f"{model_in_words(report.active)} answers")
        return "; ".join(parts)

    def _change(self, report: Reported) -> str:
        new = f"{report.name} {report.version}"
        before = self._before or report.previous
        if before is None or before.digest == report.digest:
            return new
        return f"{before.name} {before.version} -> {new}"

    def _count(self, report: Reported) -> None:
        done: float | None = None
        if report.state is ModelState.FETCHING and report.progress is not None:
            what, done = "fetching", report.progress
        elif report.state is ModelState.TESTING and report.shadow is not None:
            what, done = "shadow", 100 * report.shadow.questions / report.shadow.wanted
        if done is None:
            if self._counting is not None:
                self._bar.remove_task(self._counting)
                self._counting = None
            return
        if self._counting is None:
            self._counting = self._bar.add_task(what, total=100)
        self._bar.update(self._counting, completed=min(done, 100), description=what)

    def _line(self, text: str, style: str = "") -> None:
        seconds = f"{self._clock() - self._began:6.1f} s  "
        self._console.print(
            Text(seconds, style="dim").append(_short(text), style=style),
            soft_wrap=True,
            highlight=False,
        )


def model_in_words(model: ModelRef) -> str:
    """Name, version and the beginning of the digest."""
    return _short(f"{model.name} {model.version} ({model.digest[:_DIGEST_CHARS]})")


def fault_in_words(fault: Fault) -> str:
    """Message and code."""
    return _short(f"{fault.message} [{fault.code}]")


def megabytes(size: int) -> str:
    """A size in millions of bytes."""
    return f"{size / 1e6:,.1f} MB"


def package_lines(packages: Sequence[StoredPackage]) -> list[str]:
    """The packages of a device as a table, with a head."""
    rows = [("role", "name", "version", "embedded", "size", "digest")]
    rows += [
        (
            one.role,
            _short(one.model.name),
            _short(one.model.version),
            "yes" if one.embedded else "no",
            megabytes(one.bytes),
            _short(one.model.digest[:_DIGEST_CHARS]),
        )
        for one in packages
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _checks_in_words(checks: CheckScores) -> str:
    return (
        f"EM {checks.exact_match:.1f}, F1 {checks.f1:.1f} on {checks.questions} check questions; "
        f"p50 {checks.p50_ms:.1f} ms, p95 {checks.p95_ms:.1f} ms; "
        f"{checks.memory_bytes / 2**20:,.0f} MiB"
    )


def _shadow_in_words(shadow: ShadowScores) -> str:
    words = f"shadow {shadow.questions} of {shadow.wanted} live questions"
    if shadow.questions:
        words += f", equal {shadow.exact_agreement:.1%}, F1 {shadow.f1_agreement:.3f}"
    if shadow.latency_ratio is not None:
        words += f", latency x {shadow.latency_ratio:.2f}"
    return words


def _short(text: str) -> str:
    text = clean(text)
    return text if len(text) <= _MAX_CHARS else text[: _MAX_CHARS - 1] + "…"
