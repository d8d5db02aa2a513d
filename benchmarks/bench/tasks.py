"""Tasks that measure in turns, and the run of all of them with its progress.

A task opens what it measures (processes, a broker), takes turns until it has all, or its time is
over, and closes it. Each turn is on disk before the next begins.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn
from rich.progress import Task as Bar
from rich.text import Text

from bench.state import Record, State
from edgeqa.errors import EdgeqaError

# From the turns that are there to the value of the next.
Turn = Callable[[list[dict[str, Any]]], dict[str, Any]]


@dataclass(frozen=True)
class Task:
    """Something that is measured in turns.

    Attributes:
        key: of its record; names what is compared, so that a change of it is another task.
        section: of the report.
        model: that it is about.
        about: known before it is opened; for the report.
        most: turns after which it has all.
        least: turns that it takes though its time be over.
        budget_s: time for the turns.
        opening_s: that opening is guessed to take, for the time that is left.
        open: gives the function that takes a turn; what it learns goes into the record's `about`.
    """

    key: str
    section: str
    model: str
    title: str
    about: dict[str, Any]
    most: int
    least: int
    budget_s: float
    opening_s: float
    open: Callable[[dict[str, Any]], AbstractContextManager[Turn]]

    def done(self, record: Record) -> bool:
        """Whether no turn is left."""
        turns = len(record.turns)
        return turns >= self.most or (turns >= self.least and record.seconds >= self.budget_s)

    def left_s(self, record: Record) -> float:
        """A guess at the time that it still takes."""
        if self.done(record):
            return 0.0
        turns = len(record.turns)
        left = self.budget_s - record.seconds
        if turns:
            each = record.seconds / turns
            left = min(max(left, (self.least - turns) * each), (self.most - turns) * each)
        return max(left, 0.0)

    @property
    def whole_s(self) -> float:
        """A guess at the time that all of it takes."""
        return self.opening_s + self.budget_s


class _Left(ProgressColumn):
    """Time that is left, by the tasks' own guesses."""

    def render(self, task: Bar) -> Text:
        left = max(0, round((task.total or 0) - task.completed))
        return Text(f"about {left // 60}:{left % 60:02} left", style="progress.remaining")


def run_all(tasks: Sequence[Task], state: State, console: Console) -> None:
    """Do what is not done yet. A task that fails is noted and the next one begun.

    Raises:
        KeyboardInterrupt: after which the state holds every turn that ended.
    """
    total = sum(task.whole_s for task in tasks)
    with Progress(
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"),
        _Left(), console=console, refresh_per_second=1,
    ) as progress:  # fmt: skip
        bar = progress.add_task("", total=total)

        def show(number: int, opened: bool) -> None:
            task = tasks[number]
            left = sum(
                t.left_s(state.record(t.key)) + (0 if t.done(state.record(t.key)) else t.opening_s)
                for t in tasks[number:]
            )
            left -= task.opening_s if opened and not task.done(state.record(task.key)) else 0
            progress.update(bar, description=task.title, completed=total - left)

        for number, task in enumerate(tasks):
            record = state.record(task.key)
            record.about.update(task.about)
            if task.done(record):
                continue
            show(number, opened=False)
            if not console.is_terminal:
                console.print(f"{task.title}: at most {task.whole_s:.0f} s")
            record.error = None
            begun = time.perf_counter()
            try:
                with task.open(record.about) as turn:
                    record.opened_s += time.perf_counter() - begun
                    while not task.done(record):
                        show(number, opened=True)
                        _take(turn, record)
                        state.save()
            except EdgeqaError as error:
                record.error = str(error).strip().splitlines()[0]
                progress.console.print(f"{task.title}: {record.error} [{error.code}]")
            finally:
                state.save()


def _take(turn: Turn, record: Record) -> None:
    begun = time.perf_counter()
    value = turn(record.turns)
    record.seconds += time.perf_counter() - begun
    record.turns.append(value)
