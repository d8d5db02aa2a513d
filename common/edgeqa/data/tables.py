"""Files of rows: JSONL, Parquet and Arrow, and what `datasets` saves to disk."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgeqa.data.rows import demand_columns, read_rows
from edgeqa.errors import DataError
from edgeqa.squad import Example

PARQUET = b"PAR1"
ARROW_FILE = b"ARROW1"
ARROW_STREAM = b"\xff\xff\xff\xff"  # how `datasets` saves


def read_jsonl(path: Path) -> list[Example]:
    """Read one row of JSON a line; empty lines are passed over.

    Raises:
        DataError: it cannot be read, or a line is not the JSON of a question.
    """
    try:
        with path.open(encoding="utf-8") as file:
            return read_rows(_lines(file, path), str(path), "line")
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text: {error}") from error


def read_columns(path: Path) -> list[Example]:
    """Read a Parquet or Arrow file.

    Raises:
        DataError: it cannot be read, is neither, or has not the columns of a question.
    """
    try:
        import pyarrow as pa  # noqa: PLC0415  not needed for JSON
        from pyarrow import parquet  # noqa: PLC0415
    except ImportError as error:
        raise _missing(str(path)) from error
    try:
        head = first_bytes(path)
        if head.startswith(PARQUET):
            table = parquet.read_table(path, use_threads=False)
        elif head.startswith(ARROW_FILE):
            table = pa.ipc.open_file(path.read_bytes()).read_all()
        elif head.startswith(ARROW_STREAM):
            table = pa.ipc.open_stream(path.read_bytes()).read_all()
        else:
            raise DataError(f"{path}: neither a Parquet nor an Arrow file")
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: a damaged {path.suffix} file: {_line(error)}") from error
    return from_table(table, str(path))


def read_saved(folder: Path, split: str) -> list[Example]:
    """Read a folder that `datasets.save_to_disk` wrote: of one split, or of several.

    Raises:
        DataError: it cannot be read, or has no such split.
    """
    datasets = datasets_module(str(folder))
    try:
        folder = _split_folder(folder, split)
        if not _parse(folder / "state.json")["_data_files"]:
            return []  # which `datasets` writes and cannot read
        table = datasets.load_from_disk(str(folder)).with_format("arrow")[:]
    except DataError:
        raise
    except Exception as error:
        raise DataError(
            f"{folder}: a damaged folder of `datasets.save_to_disk` "
            f"({type(error).__name__}: {_line(error)})"
        ) from error
    return from_table(table, str(folder))


def datasets_module(source: str) -> Any:
    """The `datasets` library; seconds to import.

    Raises:
        DataError: `datasets_missing`, it is not installed.
    """
    try:
        import datasets  # noqa: PLC0415
    except ImportError as error:
        raise _missing(source) from error
    return datasets


def from_table(table: Any, source: str) -> list[Example]:
    """Questions of a pyarrow table.

    Raises:
        DataError: columns are missing, or a row is not a question.
    """
    demand_columns(table.column_names, source)
    return read_rows(table.to_pylist(), source)


def first_bytes(path: Path) -> bytes:
    """What tells the formats apart.

    Raises:
        DataError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(len(ARROW_FILE))
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error


def _missing(source: str) -> DataError:
    return DataError(
        f"{source}: reading it takes `datasets`: pip install 'edgeqa[evaluation]'",
        code="datasets_missing",
    )


def _split_folder(folder: Path, split: str) -> Path:
    several = folder / "dataset_dict.json"
    if not several.exists():
        return folder
    splits = _parse(several)["splits"]
    if split not in splits:
        raise DataError(f"{folder}: no split {split!r}; it has {', '.join(splits)}")
    return folder / split


def _parse(path: Path) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return parsed


def _lines(file: Iterator[str], path: Path) -> Iterator[Any]:
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            yield json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path}: line {number}: not valid JSON: {error}") from error


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or ["without a word"])[0]
