"""Printing lines once, or again and again until Ctrl-C."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from edgeqa.errors import EdgeqaError
from edgeqa.show import clean


class _Console(Console):
    """Ends well where the reader of a pipe has seen enough; rich itself would end with 1."""

    def on_broken_pipe(self) -> None:
        _discard_output()
        raise SystemExit(0)


def make_console() -> Console:
    """Standard output: colours and a width only where it is a terminal."""
    # An encoding without these characters, such as ASCII, shows `?` instead of failing.
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="replace")
    return _Console(highlight=False, markup=False, emoji=False)


def width_of(console: Console) -> int | None:
    """The width that lines must fit; None where they go to a file or a pipe, and are not cut."""
    return console.width if console.is_terminal or os.environ.get("COLUMNS") else None


def print_lines(console: Console, lines: list[Text]) -> None:
    """Each on a line of its own, however long."""
    if not console.is_terminal:
        # Without styles; for thousands of lines much quicker than by `rich`.
        console.file.write("".join(f"{line.plain}\n" for line in lines))
        return
    for line in lines:
        console.print(line, soft_wrap=True)


@contextmanager
def readers_may_leave() -> Iterator[None]:
    """End quietly when whoever reads our output has seen enough, as `head` does."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        _discard_output()


def _discard_output() -> None:
    """What is still buffered must not be written at the interpreter's end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def watch(
    console: Console,
    draw: Callable[[], list[Text]],
    *,
    every_s: float,
    plain: bool = False,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Draw until Ctrl-C, which is how it is meant to end.

    A database that goes away while it is watched is said below the last picture, which stays.

    Args:
        console: where it is no terminal, each picture is printed below the last.
        draw: makes a picture.
        every_s: seconds between two.
        plain: print on a terminal too, one below the other.
        sleep: for tests.
    """
    try:
        lines = draw()
        if plain or not console.is_terminal:
            while True:
                print_lines(console, lines if plain else [*lines, Text()])
                console.file.flush()
                sleep(every_s)
                lines = draw() if plain else _drawn(draw, lines)
        with Live(console=console, screen=True, auto_refresh=False) as live:
            while True:
                live.update(Group(*_fitted(lines, console.height)), refresh=True)
                sleep(every_s)
                lines = _drawn(draw, lines)
    except KeyboardInterrupt:
        return


def _drawn(draw: Callable[[], list[Text]], before: list[Text]) -> list[Text]:
    try:
        return draw()
    except EdgeqaError as error:
        kept = [line for line in before if line.style != "bold red"]
        return [*kept, Text(clean(f"{error}; trying again"), style="bold red")]


def _fitted(lines: list[Text], height: int) -> list[Text]:
    """What a screen shows: the head, and the last line, which says how many there are."""
    if len(lines) <= height:
        return lines
    return [*lines[: height - 2], Text("…", style="dim"), lines[-1]]
