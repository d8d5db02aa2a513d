"""The question-answering pipeline of transformers on torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers

from peers.workers.pipelines import PipelineReader
from peers.workers.protocol import serve

PACKAGES: Sequence[str] = ("transformers", "torch", "tokenizers")


def _load(model: Path, threads: int, options: dict[str, str]) -> PipelineReader:
    torch.set_num_threads(threads)
    transformers.logging.set_verbosity_error()
    padding = options.get("padding", "do_not_pad")
    pipeline = transformers.pipeline(
        "question-answering",
        model=str(model),
        device="cpu",
        dtype=getattr(torch, options["dtype"]),
        model_kwargs={"attn_implementation": "sdpa"},
    )
    counter = Counter(pipeline.model)
    return PipelineReader(
        pipeline,
        windows=counter.take,
        padding=padding,
        packages=PACKAGES,
        settings=(
            f"{options['dtype']}, sdpa attention, "
            f"{threads} threads, {padding}, one window at a time: the pipeline's guide advises "
            "against batches on a processor"
        ),
    )


class Counter:
    """Counts the windows that a model reads."""

    def __init__(self, model: Any) -> None:
        self._windows = 0
        model.register_forward_pre_hook(self._count, with_kwargs=True)

    def take(self) -> int:
        """Those since the last call."""
        windows, self._windows = self._windows, 0
        return windows

    def _count(self, _: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._windows += len(kwargs["input_ids"] if "input_ids" in kwargs else args[0])


if __name__ == "__main__":
    serve("transformers", _load)
