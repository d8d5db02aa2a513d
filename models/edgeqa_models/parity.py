"""Does an ONNX graph give the logits of the torch model that it was made of?

Windows of real questions go through both in padded batches of changing size and length, so that
the attention mask, the token types and the free axes are all used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime as ort
import torch

from edgeqa.errors import GateError
from edgeqa.manifest import Sizes
from edgeqa.reader.loading import OUTPUTS
from edgeqa.reader.spans import Logits, TokenSpan, read_window
from edgeqa.reader.windows import Window
from edgeqa_models.checkpoint import ReaderCheckpoint
from edgeqa_models.padded import pad, windows_of

# Largest difference of a logit, which is of the order of 1 to 10: fusion and another summation
# order were measured to give 1e-5; an exchanged input or a lost mask gives 0.1 and more.
TOLERANCE = 1e-3
# Two spans whose scores (sums of two logits) differ by less in torch are equally good there:
# either may win by rounding. A tenth of what a logit may differ.
_TIE = 1e-4
_BATCHES = (1, 4, 2)  # windows per batch, in turn


Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Parity:
    """How close a graph is to its torch model.

    Attributes:
        questions: compared; those that the reader does not take (too long) are left out.
        windows: that they were cut into.
        max_difference: largest difference of a logit of any token that is not padding.
        same_spans: windows in which both find the same best token span.
    """

    questions: int
    windows: int
    max_difference: float
    same_spans: int


def measure_parity(
    graph: bytes,
    reader: ReaderCheckpoint,
    questions: Sequence[tuple[str, str]],
    sizes: Sizes,
    on_progress: Progress | None = None,
) -> Parity:
    """Run both over the windows of (question, context) pairs.

    Args:
        graph: serialised.
        reader: in torch.
        questions: to ask.
        sizes: of the windows.
        on_progress: told the windows done and to do.

    Raises:
        GateError: `parity_failed`, the graph has other inputs than the reader.
    """
    asked, windows = windows_of(reader, questions, sizes)
    options = ort.SessionOptions()
    options.log_severity_level = 3  # errors
    session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    inputs = sorted(node.name for node in session.get_inputs())
    if inputs != sorted(reader.input_names):
        raise GateError(
            f"the exported graph is not the torch model: it has the inputs {', '.join(inputs)}",
            code="parity_failed",
        )
    largest, same, done = 0.0, 0, 0
    while done < len(windows):
        batch = windows[done : done + _BATCHES[done % len(_BATCHES)]]
        feeds = pad(batch, reader)
        ours = session.run(OUTPUTS, feeds)
        theirs = torch_logits(reader, feeds)
        for row, window in enumerate(batch):
            a = (ours[0][row][: len(window)], ours[1][row][: len(window)])
            b = (theirs[0][row][: len(window)], theirs[1][row][: len(window)])
            # numpy's max, for which nothing is larger than NaN
            largest = float(np.max([largest, *map(_largest, a, b)]))
            same += _same(best_span(*a, window, sizes), best_span(*b, window, sizes), b)
        done += len(batch)
        if on_progress is not None:
            on_progress(done, len(windows))
    return Parity(asked, len(windows), largest, same)


def demand_parity(
    parity: Parity, *, tolerance: float = TOLERANCE, explain: Callable[[], str] = str
) -> None:
    """Refuse a graph that is not its torch model.

    Args:
        parity: as measured.
        tolerance: largest difference of a logit.
        explain: asked for a reason where the graph is refused.

    Raises:
        GateError: `parity_failed`, a logit differs by more than `tolerance` (or is not a number),
            a best span differs, or nothing was compared.
    """
    if not parity.windows:
        raise GateError("no question could be compared with torch", code="parity_failed")
    if not parity.max_difference <= tolerance or parity.same_spans < parity.windows:
        reason = explain()
        raise GateError(
            f"the exported graph is not the torch model{': ' * bool(reason)}{reason}; logits "
            f"differ by up to {parity.max_difference:.2g} (allowed {tolerance:.2g}), best spans "
            f"are the same in {parity.same_spans} of {parity.windows} windows",
            code="parity_failed",
        )


def best_span(start: Logits, end: Logits, window: Window, sizes: Sizes) -> tuple[int, int] | None:
    """First and last token of the best answer in a window."""
    candidates: list[TokenSpan] = read_window(
        start, end, window.context, max_answer_tokens=sizes.max_answer_tokens, count=1
    ).candidates
    return (candidates[0].first, candidates[0].last) if candidates else None


def _largest(ours: Logits, theirs: Logits) -> float:
    return float(np.abs(ours - theirs).max())


def _same(
    ours: tuple[int, int] | None, theirs: tuple[int, int] | None, torchs: tuple[Logits, Logits]
) -> bool:
    if ours == theirs or ours is None or theirs is None:
        return ours == theirs
    start, end = torchs
    scores = [float(start[first] + end[last]) for first, last in (ours, theirs)]
    return abs(scores[0] - scores[1]) < _TIE


def torch_logits(reader: ReaderCheckpoint, feeds: dict[str, Any]) -> tuple[Any, Any]:
    """float[windows, tokens], start and end, of the torch model."""
    with torch.no_grad():
        out = reader.model(**{name: torch.from_numpy(value) for name, value in feeds.items()})
    return out.start_logits.numpy(), out.end_logits.numpy()
