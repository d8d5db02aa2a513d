"""The bar of a command that asks many questions: on standard error, and only on a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

Show = Callable[[int, str], None]  # questions done, and what to say of them


@contextmanager
def progress_bar(total: int) -> Iterator[Show]:
    """Draw a bar with the time that is left while the block runs."""
    console = Console(stderr=True)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )
    with bar:
        task = bar.add_task("EM -- F1 --", total=total)
        yield lambda done, text: bar.update(task, completed=done, description=text)
