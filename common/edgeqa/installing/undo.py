"""Either all of an installation or nothing of it: what was done is noted, and taken back.

A power cut can still come in between. Every file is whole then, old or new, and the same command
again ends what was begun.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Self

from edgeqa.errors import EdgeqaError
from edgeqa.installing.errors import InstallError


class Undo:
    """Used in a `with` block; a block that ends in an error is taken back, last step first.

    Args:
        told: called when all that was done is taken back.
    """

    def __init__(self, told: Callable[[], None]) -> None:
        self._told = told
        self._ways_back: list[tuple[str, Callable[[], None]]] = []

    def add(self, what: str, way_back: Callable[[], None]) -> None:
        """Note how to take back what is about to be done.

        Args:
            what: for the message if that fails.
            way_back: may find that it was never done.
        """
        self._ways_back.append((what, way_back))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None or not self._ways_back:
            return
        with _undisturbed():
            left = self._take_back()
        if left:
            raise InstallError(
                f"{error}; and what was done could not all be taken back: {'; '.join(left)}"
            ) from error
        self._told()
        if isinstance(error, OSError) and not isinstance(error, EdgeqaError):
            where = f"{error.filename}: " if error.filename else ""
            raise InstallError(f"{where}{error.strerror or error}") from error

    def _take_back(self) -> list[str]:
        left = []
        while self._ways_back:
            what, way_back = self._ways_back.pop()
            try:
                way_back()
            except (OSError, EdgeqaError) as error:
                left.append(f"{what}: {error}")
        return left


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Nothing that can be helped ends the block before its end."""
    numbers = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, signal.SIG_IGN) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


@contextmanager
def interruptible() -> Iterator[None]:
    """A lost terminal and SIGTERM end the block as Ctrl-C does, so that it is undone."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        del number, frame
        raise KeyboardInterrupt

    numbers = (signal.SIGHUP, signal.SIGTERM)
    before = [signal.signal(number, interrupt) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
