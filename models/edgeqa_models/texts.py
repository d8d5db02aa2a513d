"""Plain text to learn language from: paragraphs of files, and rows of tokens."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
from tokenizers import Tokenizer

from edgeqa.errors import DataError


def read_paragraphs(files: Sequence[Path]) -> list[str]:
    """The lines of text files that hold anything, in order.

    Raises:
        DataError: a file cannot be read or is not UTF-8.
    """
    paragraphs: list[str] = []
    for path in files:
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except OSError as error:
            raise DataError(f"{path}: cannot be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise DataError(f"{path}: not UTF-8 text (byte {error.start})") from error
        paragraphs.extend(line.strip() for line in lines if line.strip())
    return paragraphs


def make_texts(
    texts: Sequence[str], tokenizer: Any, *, max_seq_len: int, limit: int, seed: int
) -> datasets.Dataset:
    """Rows of at most `max_seq_len` tokens, `[CLS]` and `[SEP]` included, of the distinct texts.

    Raises:
        DataError: there is no text.
    """
    distinct = list(dict.fromkeys(texts))
    random.Random(seed).shuffle(distinct)  # noqa: S311  a reproducible order, not a secret
    room = max_seq_len - 2
    rows: list[list[int]] = []
    # A copy that cuts nothing off: a reader's tokenizer is often saved as it was trained with,
    # cutting pairs, and fails on a single text.
    plain = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    plain.no_truncation()
    plain.no_padding()
    for text in distinct:
        ids = plain.encode(text, add_special_tokens=False).ids
        for begin in range(0, len(ids), room):
            part = ids[begin : begin + room]
            rows.append([tokenizer.cls_token_id, *part, tokenizer.sep_token_id])
        if limit and len(rows) >= limit:
            break
    if not rows:
        raise DataError("no text to distil on")
    table = datasets.Dataset.from_dict({"input_ids": rows})
    return table.add_column("length", [len(ids) for ids in rows])
