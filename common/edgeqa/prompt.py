"""Reading questions from a person or a pipe, one a line."""

from __future__ import annotations

import sys
from collections.abc import Iterator

PROMPT = "question> "


def questions() -> Iterator[str]:
    """The lines of standard input that hold something; with editing and history on a terminal."""
    interactive = sys.stdin.isatty()
    if interactive:
        try:
            import readline  # noqa: F401, PLC0415  importing it gives `input` its editing
        except ImportError:
            pass  # a Python built without it: plain input
    while True:
        try:
            line = input(PROMPT if interactive else "")
        except EOFError:
            if interactive:
                sys.stdout.write("\n")
            return
        if line.strip():
            yield line.strip()
