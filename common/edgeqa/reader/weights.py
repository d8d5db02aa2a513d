"""The weights of a graph, mapped from its file and given to every session of it.

Left alone each session reads a copy of its own. What onnxruntime repacks for the processor it
still keeps for itself; what it reads as it is, such as the table of embeddings, is then in memory
once, and only as far as questions have touched it: the pages are the file's, which the kernel may
drop and read again.

Only the few fields of ONNX's protobuf that say where a tensor's bytes stand are read here; what is
not understood is left to onnxruntime.
Source: onnx/onnx.proto; protobuf.dev, "Encoding".
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

# Smaller ones together are some hundred kilobytes, and many are folded into others while loading.
_LEAST_BYTES = 64 << 10

# Field numbers of onnx.proto.
_GRAPH = 7
_INITIALIZER = 5
_DIMS, _DATA_TYPE, _NAME, _RAW_DATA = 1, 2, 8, 9
# TensorProto.DataType, of those that numpy has.
_TYPES: dict[int, type[np.generic]] = {
    1: np.float32,
    2: np.uint8,
    3: np.int8,
    6: np.int32,
    7: np.int64,
    10: np.float16,
}

# Wire types of protobuf.
_VARINT, _FIXED_64, _LENGTH, _FIXED_32 = 0, 1, 2, 5
_MORE = 0x80  # in a byte of a varint: another follows


class _UnknownFormError(Exception):
    """Not what this module can read; onnxruntime will say what it is."""


@dataclass(frozen=True, slots=True)
class _Tensor:
    """Where a tensor's bytes stand in the file."""

    name: str
    kind: type[np.generic]
    shape: tuple[int, ...]
    offset: int

    def of(self, file: mmap.mmap) -> NDArray[np.generic]:
        """Its numbers, where they stand."""
        count = math.prod(self.shape)
        return np.frombuffer(file, self.kind, count, self.offset).reshape(self.shape)


@dataclass(frozen=True, slots=True)
class Weights:
    """Large weights of one file; they live as long as the sessions that were made with them."""

    _file: mmap.mmap | None = None
    _values: dict[str, ort.OrtValue] = field(default_factory=dict)

    @classmethod
    def of(cls, path: Path) -> Weights:
        """Map the weights of a graph; none where the file cannot be read or understood."""
        try:
            with path.open("rb") as file:
                mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
            arrays = {tensor.name: tensor.of(mapped) for tensor in _large_tensors(mapped)}
        except (OSError, ValueError, IndexError, _UnknownFormError):
            return cls()
        values = {name: ort.OrtValue.ortvalue_from_numpy(array) for name, array in arrays.items()}
        return cls(mapped, values)

    @property
    def bytes(self) -> int:
        """Of all that are shared."""
        return sum(value.numpy().nbytes for value in self._values.values())

    def give_to(self, options: ort.SessionOptions) -> None:
        """Let a session that is made with these options read them here."""
        for name, value in self._values.items():
            options.add_initializer(name, value)

    def release(self) -> None:
        """Drop the pages that were read while sessions were made; what is used comes back."""
        if self._file is not None:
            self._file.madvise(mmap.MADV_DONTNEED)


def _large_tensors(file: mmap.mmap) -> Iterator[_Tensor]:
    for number, start, end in _fields(file, 0, len(file)):
        if number == _GRAPH:
            for inner, first, behind in _fields(file, start, end):
                if inner == _INITIALIZER and behind - first >= _LEAST_BYTES:
                    tensor = _tensor(file, first, behind)
                    if tensor is not None:
                        yield tensor


def _tensor(file: mmap.mmap, start: int, end: int) -> _Tensor | None:
    """None for one that is not raw bytes of a plain type, or not where numpy may read it."""
    shape: list[int] = []
    kind: type[np.generic] | None = None
    name, offset, size = "", 0, 0
    for number, first, behind in _fields(file, start, end):
        if number == _DIMS:
            shape += _numbers(file, first, behind)
        elif number == _DATA_TYPE:
            kind = _TYPES.get(first)
        elif number == _NAME:
            name = file[first:behind].decode()
        elif number == _RAW_DATA:
            offset, size = first, behind - first
    if not offset or kind is None:
        return None
    item = np.dtype(kind).itemsize
    # A processor need not read a number that stands askew, and compilers rely on none doing so.
    if offset % item or size != item * math.prod(shape):
        return None
    return _Tensor(name, kind, tuple(shape), offset)


def _numbers(file: mmap.mmap, first: int, behind: int) -> Iterator[int]:
    """A repeated integer: one, or several packed."""
    if behind < 0:
        yield first
        return
    while first < behind:
        number, first = _varint(file, first)
        yield number


def _fields(file: mmap.mmap, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Field number with where its bytes begin and end, or with its value and -1."""
    while start < end:
        key, start = _varint(file, start)
        wire = key & 7
        if wire == _LENGTH:
            size, start = _varint(file, start)
            yield key >> 3, start, start + size
            start += size
        elif wire == _VARINT:
            value, start = _varint(file, start)
            yield key >> 3, value, -1
        elif wire == _FIXED_64:
            start += 8
        elif wire == _FIXED_32:
            start += 4
        else:
            raise _UnknownFormError
    if start != end:
        raise _UnknownFormError


def _varint(file: mmap.mmap, start: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = file[start]
        start += 1
        value |= (byte & ~_MORE) << shift
        if not byte & _MORE:
            return value, start
        shift += 7
