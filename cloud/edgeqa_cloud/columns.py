"""Tables of plain text that fit a width: the columns that may are cut, the others are not.

Quicker than `rich.table` by far for ten thousand rows, and never wraps a row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size
from rich.text import Span, Text

_GAP = 2


@dataclass(frozen=True, slots=True)
class Column:
    """One column.

    Attributes:
        title: above it.
        right: for figures.
        least: how narrow it may be made; None: not at all.
    """

    title: str
    right: bool = False
    least: int | None = None


@dataclass(frozen=True, slots=True)
class Cell:
    """A text without control characters.

    Attributes:
        text: that may be cut, at its end.
        style: of the whole.
        tail: what follows it and is kept where it is cut.
    """

    text: str
    style: str = ""
    tail: str = ""

    @property
    def width(self) -> int:
        """Of the whole."""
        return _width(self.text) + _width(self.tail)

    def fitted(self, size: int) -> str:
        """The whole, cut to a width."""
        if self.width <= size:
            return self.text + self.tail
        tail = self.tail if _width(self.tail) <= size // 2 else ""
        return set_cell_size(self.text, max(0, size - 1 - _width(tail))) + "…" + tail


def table_lines(
    columns: Sequence[Column], rows: Sequence[Sequence[Cell | str]], *, width: int | None
) -> Iterator[Text]:
    """A head, and a line for each row.

    Args:
        columns: of each row.
        rows: a cell for each column.
        width: to fit into; None if it may be as wide as it wants.
    """
    cells = [[one if isinstance(one, Cell) else Cell(one) for one in row] for row in rows]
    widths = [
        max([_width(column.title), *(row[index].width for row in cells)])
        for index, column in enumerate(columns)
    ]
    if width is not None:
        widths = _fitted(columns, widths, width)
    yield _line(columns, widths, [Cell(column.title, "bold") for column in columns])
    for row in cells:
        yield _line(columns, widths, row)


def _fitted(columns: Sequence[Column], widths: list[int], width: int) -> list[int]:
    """Take from the widest that may be cut, until all fit or none may be cut further."""
    widths = list(widths)
    excess = sum(widths) + _GAP * (len(widths) - 1) - width
    while excess > 0:
        room = [
            (widths[index], index)
            for index, column in enumerate(columns)
            if column.least is not None and widths[index] > column.least
        ]
        if not room:
            break
        widths[max(room)[1]] -= 1
        excess -= 1
    return widths


def _line(columns: Sequence[Column], widths: Sequence[int], row: Sequence[Cell]) -> Text:
    plain = ""
    spans = []
    for column, size, cell in zip(columns, widths, row, strict=True):
        text = cell.fitted(size)
        padding = " " * (size - _width(text))
        if column.right:
            plain += padding
        if cell.style:
            spans.append(Span(len(plain), len(plain) + len(text), cell.style))
        plain += text + " " * _GAP if column.right else text + padding + " " * _GAP
    return Text(plain.rstrip(), spans=spans, no_wrap=True, overflow="ignore")


def _width(text: str) -> int:
    """Columns of a terminal; most texts need no table of characters for that."""
    return len(text) if text.isascii() else cell_len(text)
