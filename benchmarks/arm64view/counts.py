"""From how often blocks ran to instructions and fewest cycles, by library and by function.

A library's code is read from its file, as the memory map of the run places it. Functions are those
of its `.eh_frame_hdr`, which a stripped library has too; names it has not, so a function is its
offset. Assembly without unwinding tables counts to the function before it.
"""

from __future__ import annotations

import bisect
import struct
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from arm64view.instructions import Mix, mix

# Of program headers.
_PT_GNU_EH_FRAME = 0x6474E550
_PROGRAM_HEADERS, _ENTRIES = 0x20, 0x36
_HEADER = struct.Struct("<IIQQQQQQ")
# The only form that linkers write: a table of pairs of int32, relative to its own start.
_SORTED_TABLE = b"\x01\x1b\x03\x3b"


@dataclass(frozen=True, slots=True)
class Spent:
    """What some code took."""

    library: str
    function: int | None
    mix: Mix
    cycles: float


@dataclass(frozen=True, slots=True)
class _Mapped:
    begin: int
    end: int
    offset: int
    path: Path


def read(counts: Path, maps: Path) -> list[Spent]:
    """Each function that ran, most cycles first; code of no file is a library of its own."""
    mapped = sorted(_mapped(maps), key=lambda part: part.begin)
    begins = [part.begin for part in mapped]
    functions: dict[Path, list[int]] = {}
    content: dict[Path, bytes] = {}
    mixes: dict[tuple[str, int | None], list[tuple[Mix, int]]] = defaultdict(list)
    for address, length, times in _blocks(counts):
        part = mapped[bisect.bisect(begins, address) - 1]
        if not part.begin <= address < part.end:
            raise SystemExit(f"{counts}: {address:x} is in no mapped file")
        if part.path not in content:
            content[part.path] = part.path.read_bytes()
            functions[part.path] = _functions(content[part.path])
        offset = address - part.begin + part.offset
        words = np.frombuffer(content[part.path], "<u4", length, offset)
        starts = functions[part.path]
        index = bisect.bisect(starts, offset) - 1
        function = starts[index] if index >= 0 else None
        mixes[part.path.name, function].append((mix(words), times))
    spent = [
        Spent(library, function, _sum(parts), sum(m.cycles * times for m, times in parts))
        for (library, function), parts in mixes.items()
    ]
    return sorted(spent, key=lambda one: -one.cycles)


def by_library(spent: Iterable[Spent]) -> list[Spent]:
    """Functions of a library together, most cycles first."""
    parts: dict[str, list[Spent]] = defaultdict(list)
    for one in spent:
        parts[one.library].append(one)
    together = [
        Spent(name, None, _sum((one.mix, 1) for one in ones), sum(one.cycles for one in ones))
        for name, ones in parts.items()
    ]
    return sorted(together, key=lambda one: -one.cycles)


def whole(spent: Iterable[Spent]) -> Spent:
    """All of it."""
    ones = list(spent)
    return Spent("all", None, _sum((one.mix, 1) for one in ones), sum(one.cycles for one in ones))


def _sum(parts: Iterable[tuple[Mix, int]]) -> Mix:
    totals = dict.fromkeys((field.name for field in fields(Mix)), 0)
    for one, times in parts:
        for name in totals:
            totals[name] += times * int(getattr(one, name))
    return Mix(**totals)


def _blocks(counts: Path) -> Iterator[tuple[int, int, int]]:
    for line in counts.read_text(encoding="ascii").splitlines():
        address, length, times = line.split()
        yield int(address, 16), int(length), int(times)


def _mapped(maps: Path) -> Iterator[_Mapped]:
    for line in maps.read_text(encoding="utf-8").splitlines():
        parts = line.split(maxsplit=5)
        if len(parts) == 6 and "x" in parts[1] and parts[5].startswith("/"):
            begin, _, end = parts[0].partition("-")
            yield _Mapped(int(begin, 16), int(end, 16), int(parts[2], 16), Path(parts[5]))


def _functions(elf: bytes) -> list[int]:
    """Offsets in the file at which functions begin, sorted; none where the table is missing."""
    [table] = struct.unpack_from("<Q", elf, _PROGRAM_HEADERS)
    size, count = struct.unpack_from("<HH", elf, _ENTRIES)
    headers = [_HEADER.unpack_from(elf, table + size * index) for index in range(count)]
    for kind, _, offset, address, *_ in headers:
        if kind != _PT_GNU_EH_FRAME or elf[offset : offset + 4] != _SORTED_TABLE:
            continue
        [entries] = struct.unpack_from("<I", elf, offset + 8)
        starts = np.frombuffer(elf, "<i4", 2 * entries, offset + 12)[::2].astype(np.int64)
        return sorted(int(start) for start in starts + _to_offset(headers, address, starts))
    return []


def _to_offset(
    headers: list[tuple[int, ...]], table: int, starts: np.ndarray[tuple[int], np.dtype[np.int64]]
) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """What to add to an address, relative to the table, to have its offset in the file."""
    added = np.zeros_like(starts)
    for kind, _, offset, address, _, filled, *_ in headers:
        if kind == 1:  # PT_LOAD
            inside = (starts + table >= address) & (starts + table < address + filled)
            added[inside] = table + offset - address
    return added
