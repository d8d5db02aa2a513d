"""The question-answering pipeline of transformers on torch."""

from __future__ import annotations

from pathlib import Path

import torch
import transformers

from peers.workers.pipelines import PipelineReader
from peers.workers.protocol import serve


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
    return PipelineReader(
        pipeline,
        padding=padding,
        packages=("transformers", "torch", "tokenizers"),
        settings=(
            f"{options['dtype']}, sdpa attention, {threads} threads, {padding}, one window at a "
            "time: the pipeline's guide advises against batches on a processor"
        ),
    )


if __name__ == "__main__":
    serve("transformers", _load)
