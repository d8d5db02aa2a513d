"""The same questions from every format, and bad files as one line each."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pytest
from pyarrow import parquet
from support.tiny import save_squad

from edgeqa.data.sources import load_examples
from edgeqa.errors import DataError
from edgeqa.squad import Example, read_squad

Row = dict[str, Any]


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> list[Example]:
    made = read_squad(save_squad(tmp_path_factory.mktemp("squad") / "data.json", 6))
    return [*made[:5], Example("none", "Devices", "what lamp ?", "the pump stops", ())]


@pytest.fixture(scope="module")
def rows(examples: list[Example]) -> list[Row]:
    return [
        {
            "id": example.id,
            "title": example.title,
            "context": example.context,
            "question": example.question,
            "answers": {
                "text": [gold.text for gold in example.answers],
                "answer_start": [gold.start for gold in example.answers],
            },
        }
        for example in examples
    ]


def typed(rows: list[Row]) -> pa.Table:
    text, number = pa.list_(pa.string()), pa.list_(pa.int32())
    answers = pa.struct([("text", text), ("answer_start", number)])
    columns = [(name, pa.string()) for name in ("id", "title", "context", "question")]
    return pa.Table.from_pylist(rows, schema=pa.schema([*columns, ("answers", answers)]))


def as_jsonl(rows: list[Row], folder: Path) -> Path:
    path = folder / "data.jsonl"
    path.write_text("\n\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n")
    return path


def as_ndjson_of_objects(rows: list[Row], folder: Path) -> Path:
    path = folder / "data.ndjson"
    pairs = [
        [
            {"text": text, "answer_start": start}
            for text, start in zip(
                row["answers"]["text"], row["answers"]["answer_start"], strict=True
            )
        ]
        for row in rows
    ]
    changed = [{**row, "answers": pair} for row, pair in zip(rows, pairs, strict=True)]
    path.write_text("".join(json.dumps(row) + "\r\n" for row in changed))
    return path


def as_json_of_datasets(rows: list[Row], folder: Path) -> Path:
    datasets.Dataset(typed(rows)).to_json(folder / "data.json")
    return folder / "data.json"


def as_parquet(rows: list[Row], folder: Path) -> Path:
    parquet.write_table(typed(rows), folder / "data.parquet")
    return folder / "data.parquet"


def as_arrow_file(rows: list[Row], folder: Path) -> Path:
    with pa.OSFile(str(folder / "data.arrow"), "wb") as sink:
        table = typed(rows)
        with pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
    return folder / "data.arrow"


def as_arrow_stream(rows: list[Row], folder: Path) -> Path:
    as_saved(rows, folder / "saved")
    return next((folder / "saved").glob("*.arrow"))


def as_saved(rows: list[Row], folder: Path) -> Path:
    datasets.Dataset(typed(rows)).save_to_disk(folder)
    return folder


def as_saved_splits(rows: list[Row], folder: Path) -> Path:
    whole = datasets.Dataset(typed(rows))
    splits = {"train": whole.select([0]), "validation": whole}
    datasets.DatasetDict(splits).save_to_disk(folder)
    return folder


def as_hub_folder(rows: list[Row], folder: Path) -> Path:
    parquet.write_table(typed(rows[:2]), folder / "validation-00000-of-00002.parquet")
    parquet.write_table(typed(rows[2:]), folder / "validation-00001-of-00002.parquet")
    parquet.write_table(typed(rows[:1]), folder / "train-00000-of-00001.parquet")
    (folder / "README.md").write_text("text")
    return folder


FORMATS: list[Callable[[list[Row], Path], Path]] = [
    *(as_jsonl, as_ndjson_of_objects, as_json_of_datasets, as_parquet, as_arrow_file),
    *(as_arrow_stream, as_saved, as_saved_splits, as_hub_folder),
]


@pytest.mark.parametrize("write", FORMATS, ids=lambda write: write.__name__)
def test_every_format_gives_the_same_questions(
    write: Callable[[list[Row], Path], Path],
    rows: list[Row],
    examples: list[Example],
    tmp_path: Path,
) -> None:
    path = write(rows, tmp_path)
    assert load_examples([str(path)], split="validation") == examples


@pytest.mark.parametrize("write", [as_jsonl, as_parquet, as_saved], ids=lambda w: w.__name__)
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"answers": {"text": ["pump"], "answer_start": [10_000]}}, "does not stand"),
        ({"answers": {"text": ["pump", "pump"], "answer_start": [1]}}, "equally many"),
        ({"answers": {"text": ["pump"], "answer_start": [-1]}}, "does not stand"),
        ({"answers": None}, "answers"),
        ({"context": None}, "context is not a text"),
        ({"question": None}, "question is not a text"),
        ({"id": None}, "id is neither"),
    ],
)
def test_a_bad_row_is_named(
    write: Callable[[list[Row], Path], Path],
    change: Row,
    said: str,
    rows: list[Row],
    tmp_path: Path,
) -> None:
    path = write([*rows[:2], {**rows[2], **change}], tmp_path)
    with pytest.raises(DataError, match=said) as caught:
        load_examples([str(path)], split="validation")
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.code == "invalid_data"


@pytest.mark.parametrize("column", ["id", "context", "question", "answers"])
def test_a_missing_column_is_named(column: str, rows: list[Row], tmp_path: Path) -> None:
    table = typed(rows).drop_columns([column])
    parquet.write_table(table, tmp_path / "data.parquet")
    datasets.Dataset(table).save_to_disk(tmp_path / "saved")
    lines = [{key: value for key, value in row.items() if key != column} for row in rows]
    as_jsonl(lines, tmp_path)
    for name in ("data.parquet", "saved", "data.jsonl"):
        with pytest.raises(DataError, match=f"no column {column}") as caught:
            load_examples([str(tmp_path / name)], split="validation")
        assert name in str(caught.value)


def test_titles_may_be_missing(rows: list[Row], tmp_path: Path) -> None:
    parquet.write_table(typed(rows).drop_columns(["title"]), tmp_path / "data.parquet")
    [first, *_] = load_examples([str(tmp_path / "data.parquet")], split="validation")
    assert first.title == ""


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.parquet", b""),
        ("x.parquet", b'{"data": []}'),
        ("x.parquet", b"PAR1 and then nothing of it PAR1"),
        ("x.arrow", b"text"),
        ("x.arrow", b"ARROW1"),
        ("x.arrow", b"\xff\xff\xff\xff\x10\x00\x00\x00garbage"),
        ("x.jsonl", b""),
        ("x.jsonl", b"\n\n"),
        ("x.jsonl", b"[1]\n"),
        ("x.jsonl", b'{"id": "1"\n'),
        ("x.jsonl", b"\xff\xfe\n"),
        ("x.jsonl", b"[" * 200_000),
        ("x.json", b"[" * 200_000),
        ("x.json", b'{"id": 1}\n{"id": 2}\n'),
        ("x.jsonl", b'{"version": "1.1", "data": []}\n'),
        ("x.txt", b"text"),
    ],
)
def test_bad_files_are_one_line_that_names_the_file(
    name: str, content: bytes, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as caught:
        load_examples([str(tmp_path / name)], split="validation")
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_a_table_without_rows_holds_no_questions(rows: list[Row], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no questions"):
        load_examples([str(as_parquet([], tmp_path))], split="validation")
    with pytest.raises(DataError, match="no questions"):
        load_examples([str(as_saved([], tmp_path / "saved"))], split="validation")


def test_folders_of_several_formats_and_unknown_splits_are_refused(
    rows: list[Row], tmp_path: Path
) -> None:
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    as_parquet(rows, mixed)
    as_jsonl(rows, mixed)
    splits = as_saved_splits(rows, tmp_path / "splits")
    hub = tmp_path / "hub"
    hub.mkdir()
    as_hub_folder(rows, hub)
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / "state.json").write_text("{}")
    for folder, said in (
        (mixed, "JSONL and Parquet"),
        (splits, "no split 'test'; it has train, validation"),
        (hub, "no files of split 'test'; there are train, validation"),
        (damaged, "damaged folder"),
    ):
        with pytest.raises(DataError, match=said) as caught:
            load_examples([str(folder)], split="test")
        assert "\n" not in str(caught.value)
