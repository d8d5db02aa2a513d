"""transformers on TensorFlow 2.15, every window padded to 384: the published recipe."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

import tensorflow as tf
import transformers

from peers.workers.pipelines import PipelineReader
from peers.workers.protocol import serve

# The distribution's name on x86-64 and elsewhere: requirements-tensorflow.txt.
_TENSORFLOW = "tensorflow-cpu" if platform.machine() == "x86_64" else "tensorflow"


def _load(model: Path, threads: int, _: dict[str, str]) -> PipelineReader:
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    transformers.logging.set_verbosity_error()
    reader = transformers.TFAutoModelForQuestionAnswering.from_pretrained(str(model))
    pipeline = transformers.pipeline(
        "question-answering",
        model=reader,
        tokenizer=transformers.AutoTokenizer.from_pretrained(str(model)),
        framework="tf",
    )
    graph = tf.function(lambda inputs: reader(inputs, training=False))

    def forward(inputs: Any, **_: Any) -> dict[str, Any]:
        # As the pipeline's own step, but by the traced graph instead of operator by operator.
        fed = {name: inputs[name] for name in pipeline.tokenizer.model_input_names}
        output = graph(fed)
        return {"start": output.start_logits, "end": output.end_logits, **inputs}

    pipeline._forward = forward  # noqa: SLF001
    return PipelineReader(
        pipeline,
        padding="max_length",
        packages=("transformers", _TENSORFLOW, "tokenizers"),
        settings=(
            f"float32, padded to 384, {threads} threads, graph mode (tf.function), oneDNN as it "
            "comes; XLA was slower"
        ),
    )


if __name__ == "__main__":
    serve("tensorflow", _load)
