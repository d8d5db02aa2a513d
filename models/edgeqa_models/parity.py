"""Does an ONNX graph give the logits of the torch model that it was made of?

Windows of real questions go through both in padded batches of changing size and length, so that
the attention mask, the token types and the free axes are all used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import onnxruntime as ort
import torch
from tokenizers import Encoding, Tokenizer

from edgeqa.errors import GateError
from edgeqa.manifest import Sizes
from edgeqa.reader.engine import OUTPUTS
from edgeqa.reader.spans import Logits, TokenSpan, context_slice, read_window
from edgeqa.reader.windows import Windower, WindowSizes
from edgeqa_models.checkpoint import ReaderCheckpoint

# Largest difference of a logit, which is of the order of 1 to 10: fusion and another summation
# order were measured to give 1e-5; an exchanged input or a lost mask gives 0.1 and more.
TOLERANCE = 1e-3
_BATCHES = (1, 4, 2)  # windows per batch, in turn


@dataclass(frozen=True, slots=True)
class Parity:
    """How close a graph is to its torch model.

    Attributes:
        windows: compared.
        max_difference: largest difference of a logit of any token that is not padding.
        same_spans: windows in which both find the same best token span.
    """

    windows: int
    max_difference: float
    same_spans: int


def measure_parity(
    graph: bytes, reader: ReaderCheckpoint, questions: Sequence[tuple[str, str]], sizes: Sizes
) -> Parity:
    """Run both over the windows of (question, context) pairs."""
    tokenizer = Tokenizer.from_str(reader.tokenizer.backend_tokenizer.to_str())
    windower = Windower(
        tokenizer=tokenizer,
        sizes=WindowSizes(sizes.max_seq_len, sizes.doc_stride, sizes.max_question_tokens),
    )
    windows = [window for pair in questions for window in windower.cut(*pair)]
    options = ort.SessionOptions()
    options.log_severity_level = 3  # errors
    session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    largest, same, done = 0.0, 0, 0
    while done < len(windows):
        batch = windows[done : done + _BATCHES[done % len(_BATCHES)]]
        feeds = _pad(batch, reader)
        ours = session.run(OUTPUTS, feeds)
        theirs = _torch_logits(reader, feeds)
        for row, window in enumerate(batch):
            a = (ours[0][row][: len(window)], ours[1][row][: len(window)])
            b = (theirs[0][row][: len(window)], theirs[1][row][: len(window)])
            largest = max(largest, *(float(np.abs(x - y).max()) for x, y in zip(a, b, strict=True)))
            same += _best(*a, window, sizes) == _best(*b, window, sizes)
        done += len(batch)
    return Parity(len(windows), largest, same)


def demand_parity(parity: Parity, *, tolerance: float = TOLERANCE) -> None:
    """Refuse a graph that is not its torch model.

    Raises:
        GateError: `parity_failed`, a logit differs by more than `tolerance` (or is not a number),
            or a best span differs.
    """
    if not parity.max_difference <= tolerance or parity.same_spans < parity.windows:
        raise GateError(
            "the exported graph is not the torch model: logits differ by up to "
            f"{parity.max_difference:.2g} (allowed {tolerance:.2g}), best spans are the same in "
            f"{parity.same_spans} of {parity.windows} windows",
            code="parity_failed",
        )


def as_record(parity: Parity) -> dict[str, float | int]:
    """For a JSON report."""
    return asdict(parity)


def _pad(batch: Sequence[Encoding], reader: ReaderCheckpoint) -> dict[str, Any]:
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


def _torch_logits(reader: ReaderCheckpoint, feeds: dict[str, Any]) -> tuple[Any, Any]:
    with torch.no_grad():
        out = reader.model(**{name: torch.from_numpy(value) for name, value in feeds.items()})
    return out.start_logits.numpy(), out.end_logits.numpy()


def _best(start: Logits, end: Logits, window: Encoding, sizes: Sizes) -> tuple[int, int] | None:
    candidates: list[TokenSpan] = read_window(
        start, end, context_slice(window), max_answer_tokens=sizes.max_answer_tokens, count=1
    ).candidates
    return (candidates[0].first, candidates[0].last) if candidates else None
