"""optimum-intel: the transformers pipeline on OpenVINO."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import nncf
import openvino
import transformers
from optimum.intel import OVModelForQuestionAnswering

from peers.workers.pipelines import PipelineReader, kept
from peers.workers.protocol import DOC_STRIDE, MAX_SEQ_LEN, calibration, serve

PACKAGES = ("openvino", "optimum-intel", "nncf", "transformers", "torch", "tokenizers")
_GRAPH = "openvino_model.xml"


def _load(model: Path, threads: int, options: dict[str, str]) -> PipelineReader:
    transformers.logging.set_verbosity_error()
    precision = options["precision"]
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(model))
    versions = " ".join(f"{name} {metadata.version(name)}" for name in PACKAGES)

    def make(folder: Path) -> None:
        reader = OVModelForQuestionAnswering.from_pretrained(
            str(model), export=True, compile=False, load_in_8bit=False
        )
        reader.save_pretrained(str(folder))
        if precision == "int8":
            _quantise(folder, tokenizer)

    kind = "int8" if precision == "int8" else "fp32"
    folder = kept(model, f"openvino {kind} {versions}", make)
    config = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads}
    if precision != "int8":
        config["INFERENCE_PRECISION_HINT"] = {"fp32": "f32", "bf16": "bf16"}[precision]
    reader = OVModelForQuestionAnswering.from_pretrained(str(folder), ov_config=config)
    rest = "" if precision != "int8" else ", full int8 by nncf.quantize for transformers"
    return PipelineReader(
        transformers.pipeline("question-answering", model=reader, tokenizer=tokenizer),
        padding="do_not_pad",
        packages=PACKAGES,
        settings=f"{precision}{rest}, hint LATENCY, {threads} threads, dynamic shapes, do_not_pad",
    )


def _quantise(folder: Path, tokenizer: Any) -> None:
    graph = openvino.Core().read_model(str(folder / _GRAPH))
    inputs = {name for port in graph.inputs for name in port.get_names()}
    samples = list(_samples(tokenizer, inputs))
    quantised = nncf.quantize(
        graph,
        nncf.Dataset(samples),
        model_type=nncf.ModelType.TRANSFORMER,
        subset_size=len(samples),
    )
    # Beside the fp32 graph first: its weights are still mapped.
    openvino.save_model(quantised, str(folder / "int8.xml"))
    del graph, quantised
    for suffix in (".xml", ".bin"):
        (folder / "int8").with_suffix(suffix).replace((folder / _GRAPH).with_suffix(suffix))


def _samples(tokenizer: Any, inputs: set[str]) -> Iterator[dict[str, Any]]:
    for question, context in calibration():
        encoded = tokenizer(
            question,
            context,
            truncation="only_second",
            max_length=MAX_SEQ_LEN,
            stride=DOC_STRIDE,
            return_tensors="np",
        )
        yield {name: encoded[name] for name in inputs}


if __name__ == "__main__":
    serve("openvino", _load)
