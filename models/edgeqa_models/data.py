"""Where questions come from: SQuAD-format files, or a data set of the Hugging Face hub.

A name that exists as a path is read as a file; anything else is a hub id, loaded through
`datasets` with its cache. Offline, a hub id that is not cached is a clear error.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgeqa.errors import DataError
from edgeqa.squad import Example, Gold, check_offsets, read_squad


def load_examples(sources: Sequence[str], *, split: str) -> list[Example]:
    """All questions of all sources, in order.

    Args:
        sources: paths of SQuAD JSON files, folders of them, or hub ids such as
            `rajpurkar/squad`.
        split: the split to take of a hub data set; files have none.

    Raises:
        DataError: a source cannot be read, or there is no question in all of them.
    """
    examples: list[Example] = []
    for source in sources:
        examples.extend(_load(source, split))
    if not examples:
        raise DataError(f"no questions in {', '.join(sources) or 'an empty list of sources'}")
    return examples


def distinct(examples: Sequence[Example]) -> list[Example]:
    """Leave out repeats of a question on the same text: sources of training data overlap."""
    return list({(example.question, example.context): example for example in examples}.values())


def legible(examples: Sequence[Example]) -> list[Example]:
    """Leave out questions in which words were lost to the placeholder `<unk>`."""
    return [example for example in examples if "<unk>" not in example.question]


def _load(source: str, split: str) -> list[Example]:
    path = Path(source)
    if path.is_dir():
        files = sorted(path.glob("*.json"))
        if not files:
            raise DataError(f"{path}: a folder without .json files")
        return [example for file in files for example in read_squad(file)]
    if path.exists() or path.suffix == ".json":
        return read_squad(path)
    return _from_hub(source, split)


def _from_hub(name: str, split: str) -> list[Example]:
    import datasets  # noqa: PLC0415  seconds to import, needed for hub ids only

    try:
        rows = datasets.load_dataset(name, split=split)
    except Exception as error:
        raise DataError(
            f"{name}: neither a file nor a data set that the hub or its cache gives "
            f"({type(error).__name__}); without internet, name a SQuAD JSON file"
        ) from error
    examples = []
    for row in rows:
        golds = zip(row["answers"]["text"], row["answers"]["answer_start"], strict=True)
        example = Example(
            id=str(row["id"]),
            title=row.get("title", ""),
            question=row["question"],
            context=row["context"],
            answers=tuple(Gold(text, start) for text, start in golds),
        )
        check_offsets(example, name)
        examples.append(example)
    return examples
