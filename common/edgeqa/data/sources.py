"""Where questions come from: files, folders, or a data set of the Hugging Face hub.

A name that exists as a path is read as what its content is: SQuAD JSON, JSONL, Parquet, Arrow, a
folder of one of them, or one of `datasets.save_to_disk`. `edgeqa-devices` is the evaluation set
that ships with EdgeQA. Anything else is a hub id, loaded through `datasets` with its cache.
Offline, a hub id that is not cached is a clear error.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Sequence
from pathlib import Path

from edgeqa import evaluation_set
from edgeqa.data.tables import (
    ARROW_FILE,
    ARROW_STREAM,
    PARQUET,
    datasets_module,
    first_bytes,
    from_table,
    read_columns,
    read_jsonl,
    read_saved,
)
from edgeqa.errors import DataError
from edgeqa.squad import Example, read_squad

_KINDS = {
    ".json": "JSON",
    ".jsonl": "JSONL",
    ".ndjson": "JSONL",
    ".parquet": "Parquet",
    ".arrow": "Arrow",
}
# How the hub names the files of a split: train-00000-of-00002.parquet.
_SHARD = re.compile(r"(?P<split>.+)-\d{5}-of-\d{5}$")


def load_examples(sources: Sequence[str], *, split: str) -> list[Example]:
    """All questions of all sources, in order.

    Args:
        sources: paths of files or folders, `edgeqa-devices`, or hub ids such as
            `rajpurkar/squad`.
        split: the split to take where a source has several.

    Raises:
        DataError: a source cannot be read, or there is no question in all of them.
    """
    examples: list[Example] = []
    for source in sources:
        examples.extend(_load(source, split))
    if not examples:
        raise DataError(f"no questions in {', '.join(sources) or 'an empty list of sources'}")
    return examples


def located(source: str) -> str:
    """The file of the evaluation set that ships, if that is what is named; else the source."""
    shipped = source == evaluation_set.NAME and not Path(source).exists()
    return str(evaluation_set.PATH) if shipped else source


def _load(source: str, split: str) -> list[Example]:
    path = Path(located(source))
    if path.is_dir():
        return _from_folder(path, split)
    if path.exists() or path.suffix in _KINDS:
        return _from_file(path)
    return _from_hub(source, split)


def _from_folder(folder: Path, split: str) -> list[Example]:
    if (folder / "dataset_dict.json").exists() or (folder / "state.json").exists():
        return read_saved(folder, split)
    files = sorted(path for path in folder.iterdir() if path.suffix in _KINDS)
    kinds = sorted({_KINDS[path.suffix] for path in files})
    if not files:
        raise DataError(f"{folder}: a folder without {', '.join(_KINDS)} files")
    if len(kinds) > 1:
        raise DataError(
            f"{folder}: holds {' and '.join(kinds)} files; name one file, or a folder of one kind"
        )
    return [example for file in _of_split(files, split) for example in _from_file(file)]


def _of_split(files: list[Path], split: str) -> list[Path]:
    """All files, or those of one split where their names say which they belong to."""
    names = [_SHARD.fullmatch(path.stem) for path in files]
    if not all(names):
        return files
    splits = [match["split"] for match in names if match]
    chosen = [path for path, of in zip(files, splits, strict=True) if of == split]
    if not chosen:
        known = ", ".join(sorted(set(splits)))
        raise DataError(f"{files[0].parent}: no files of split {split!r}; there are {known}")
    return chosen


def _from_file(path: Path) -> list[Example]:
    binary = first_bytes(path).startswith((PARQUET, ARROW_FILE, ARROW_STREAM))
    if binary or path.suffix in {".parquet", ".arrow"}:
        examples = read_columns(path)
    elif path.suffix in {".jsonl", ".ndjson"} or _has_rows(path):
        examples = read_jsonl(path)
    else:
        return read_squad(path)
    if not examples:
        raise DataError(f"{path}: holds no questions")
    return examples


def _has_rows(path: Path) -> bool:
    """Whether a .json file is JSONL, as `datasets` writes it: a whole object, and more lines."""
    try:
        with path.open(encoding="utf-8") as file:
            first, second = file.readline(), file.readline()
            return bool(second.strip()) and isinstance(json.loads(first), dict)
    except (OSError, ValueError, RecursionError):
        return False  # the reader of SQuAD JSON says what is wrong


def _from_hub(name: str, split: str) -> list[Example]:
    datasets = datasets_module(name)
    # Each retry would be a paragraph on the terminal; what matters is said below.
    logging.getLogger("huggingface_hub").setLevel(logging.CRITICAL)
    try:
        table = datasets.load_dataset(name, split=split).with_format("arrow")[:]
    except datasets.exceptions.DatasetNotFoundError as error:
        raise DataError(
            f"{name}: neither a file nor a data set of the hub that you may read; check the name"
        ) from error
    except ConnectionError as error:
        raise DataError(
            f"{name}: not a file, and the hub cannot be reached; without internet, name a file"
        ) from error
    except Exception as error:
        reason = (str(error).splitlines() or [""])[0]
        raise DataError(
            f"{name}: neither a file nor a data set that the hub or its cache gives "
            f"({type(error).__name__}: {reason})"
        ) from error
    return from_table(table, name)
