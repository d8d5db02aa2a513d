"""Why an exported graph is not its torch model, for the message that refuses it.

Each suspicion is one experiment on a batch of windows: what would explain the graph's logits?
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnxruntime as ort
import torch
from numpy.typing import NDArray

from edgeqa.manifest import Sizes
from edgeqa.reader.loading import OUTPUTS
from edgeqa_models.checkpoint import ReaderCheckpoint
from edgeqa_models.padded import pad, windows_of
from edgeqa_models.parity import TOLERANCE

# Windows looked at: the fit of a head below needs more tokens than a model is wide (768).
_WINDOWS = 8

Feeds = Mapping[str, Any]
Pair = list[NDArray[np.float32]]


def explain(
    graph: bytes, reader: ReaderCheckpoint, questions: Sequence[tuple[str, str]], sizes: Sizes
) -> str:
    """A reason in one clause; empty if none of the known ones fits."""
    batch = windows_of(reader, questions, sizes)[1][:_WINDOWS]
    feeds = pad(batch, reader)
    options = ort.SessionOptions()
    options.log_severity_level = 4  # an experiment that fails is an answer, not an error
    session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    return next(_suspicions(session, reader, feeds), "")


def _suspicions(
    session: ort.InferenceSession, reader: ReaderCheckpoint, feeds: Feeds
) -> Iterator[str]:
    start, end, hidden = _torch(reader, feeds)
    ours = session.run(OUTPUTS, dict(feeds))
    if not all(np.isfinite(values).all() for values in ours):
        yield "it gives values that are not numbers"
    if _near(ours, [end, start], feeds):
        yield "start_logits and end_logits are exchanged"
    for one, other in (("attention_mask", "token_type_ids"), ("input_ids", "token_type_ids")):
        if other in feeds:
            swapped = {**feeds, one: feeds[other], other: feeds[one]}
            if _near(_run(session, swapped), [start, end], feeds):
                yield f"the inputs {one} and {other} are exchanged"
    for name in ("attention_mask", "token_type_ids"):
        if name in feeds:
            flat = {**feeds, name: np.ones_like(feeds[name])}
            if _near(_run(session, flat), ours, feeds):
                yield f"{name} has no effect"
    if _another_head(ours, hidden, feeds):
        yield "its encoder gives the same, its question answering head is another"


def _torch(reader: ReaderCheckpoint, feeds: Feeds) -> tuple[Any, Any, Any]:
    inputs = {name: torch.from_numpy(value) for name, value in feeds.items()}
    with torch.no_grad():
        out = reader.model(**inputs, output_hidden_states=True)
    return out.start_logits.numpy(), out.end_logits.numpy(), out.hidden_states[-1].numpy()


def _run(session: ort.InferenceSession, feeds: Feeds) -> Pair:
    try:
        return list(session.run(OUTPUTS, dict(feeds)))
    except Exception:  # noqa: BLE001  ids out of a table's range: this experiment says no
        return [np.full((1, 1), np.nan, np.float32)] * len(OUTPUTS)


def _near(ours: Sequence[Any], theirs: Sequence[Any], feeds: Feeds) -> bool:
    real = feeds["attention_mask"] == 1
    for one, other in zip(ours, theirs, strict=True):
        if one.shape != other.shape or not np.abs(one - other)[real].max() <= TOLERANCE:
            return False
    return True


def _another_head(ours: Sequence[Any], hidden: Any, feeds: Feeds) -> bool:
    """Whether the logits are some linear function of torch's last hidden states."""
    real = feeds["attention_mask"] == 1
    states = np.concatenate([hidden[real], np.ones((int(real.sum()), 1), np.float32)], axis=1)
    if len(states) <= states.shape[1]:
        return False  # anything would fit
    wanted = np.stack([logits[real] for logits in ours], axis=1)
    fitted, *_ = np.linalg.lstsq(states, wanted, rcond=None)
    return bool(np.abs(states @ fitted - wanted).max() <= TOLERANCE)
