"""Questions as padded batches of windows, for comparing a graph with torch.

The device never pads (docs/adr/0004); here padding shows whether the attention mask is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from edgeqa.errors import PayloadError
from edgeqa.manifest import Sizes
from edgeqa.reader.windows import Window, Windower, WindowSizes
from edgeqa_models.checkpoint import ReaderCheckpoint


def windows_of(
    reader: ReaderCheckpoint, questions: Sequence[tuple[str, str]], sizes: Sizes
) -> tuple[int, list[Window]]:
    """How many questions the reader takes, and their windows."""
    tokenizer = Tokenizer.from_str(reader.tokenizer.backend_tokenizer.to_str())
    windower = Windower(
        tokenizer=tokenizer,
        sizes=WindowSizes(sizes.max_seq_len, sizes.doc_stride, sizes.max_question_tokens),
    )
    asked = 0
    windows: list[Window] = []
    for pair in questions:
        try:
            windows += windower.cut(*pair)
        except PayloadError:
            continue  # refused on the device as well
        asked += 1
    return asked, windows


def pad(batch: Sequence[Window], reader: ReaderCheckpoint) -> dict[str, Any]:
    """int64[windows, tokens] for each input; shorter windows are filled up."""
    width = max(len(window) for window in batch)
    shape = (len(batch), width)
    columns = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}
    feeds = {}
    for name in reader.input_names:
        fill = reader.tokenizer.pad_token_id or 0 if name == "input_ids" else 0
        feeds[name] = np.full(shape, fill, np.int64)
        for row, window in enumerate(batch):
            feeds[name][row, : len(window)] = getattr(window, columns[name])
    return feeds
