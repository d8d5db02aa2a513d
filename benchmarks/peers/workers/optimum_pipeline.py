"""optimum: the transformers pipeline on onnxruntime, fp32."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import onnxruntime as ort
import transformers
from optimum.onnxruntime import ORTModelForQuestionAnswering, ORTOptimizer
from optimum.onnxruntime.configuration import AutoOptimizationConfig

from peers.workers.pipelines import PipelineReader, kept
from peers.workers.protocol import serve

PACKAGES = ("optimum", "optimum-onnx", "onnxruntime", "transformers", "torch", "tokenizers")


def _load(model: Path, threads: int, options: dict[str, str]) -> PipelineReader:
    transformers.logging.set_verbosity_error()
    level = options.get("level", "O2")
    versions = " ".join(f"{name} {metadata.version(name)}" for name in PACKAGES)

    def make(folder: Path) -> None:
        exported = ORTModelForQuestionAnswering.from_pretrained(str(model), export=True)
        ORTOptimizer.from_pretrained(exported).optimize(
            save_dir=str(folder), optimization_config=getattr(AutoOptimizationConfig, level)()
        )

    folder = kept(model, f"optimum {level} {versions}", make)
    session = ort.SessionOptions()
    session.intra_op_num_threads = threads
    [graph] = folder.glob("*.onnx")
    reader = ORTModelForQuestionAnswering.from_pretrained(
        str(folder), file_name=graph.name, session_options=session
    )
    return PipelineReader(
        transformers.pipeline(
            "question-answering",
            model=reader,
            tokenizer=transformers.AutoTokenizer.from_pretrained(str(model)),
        ),
        padding="do_not_pad",
        packages=PACKAGES,
        settings=f"float32, graph optimised at {level}, {threads} threads, do_not_pad",
    )


if __name__ == "__main__":
    serve("optimum", _load)
