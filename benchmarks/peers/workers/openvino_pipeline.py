"""OpenVINO under the transformers pipeline, in fp32, bf16 or int8."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import nncf
import openvino
import torch
import transformers

from peers.workers.pipelines import PipelineReader, kept
from peers.workers.protocol import DOC_STRIDE, MAX_SEQ_LEN, calibration, serve

PACKAGES = ("openvino", "nncf", "transformers", "torch", "tokenizers")
_GRAPH = "graph.xml"
_PRECISION_HINTS = {"fp32": "f32", "bf16": "bf16"}


def _load(model: Path, threads: int, options: dict[str, str]) -> PipelineReader:
    transformers.logging.set_verbosity_error()
    precision = options["precision"]
    pipeline = transformers.pipeline("question-answering", model=str(model), device="cpu")
    stored = "int8" if precision == "int8" else "fp32"
    versions = " ".join(f"{name} {metadata.version(name)}" for name in PACKAGES)

    def make(folder: Path) -> None:
        graph = _convert(pipeline.model, pipeline.tokenizer)
        if stored == "int8":
            graph = _quantise(graph, pipeline.tokenizer)
        openvino.save_model(graph, str(folder / _GRAPH), compress_to_fp16=False)

    folder = kept(model, f"openvino {stored} {versions}", make)
    config: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads}
    if precision in _PRECISION_HINTS:
        config["INFERENCE_PRECISION_HINT"] = _PRECISION_HINTS[precision]
    compiled = openvino.Core().compile_model(str(folder / _GRAPH), "CPU", config)
    names = _inputs(pipeline.tokenizer)

    def forward(inputs: Any, **_: Any) -> dict[str, Any]:
        # As the pipeline's own step, but by OpenVINO, which reads torch's memory in place.
        fed = {name: inputs[name].numpy() for name in names}
        start, end = compiled(fed, share_inputs=True).to_tuple()
        return {"start": torch.from_numpy(start), "end": torch.from_numpy(end), **inputs}

    pipeline._forward = forward  # noqa: SLF001
    pipeline.model.to("meta")  # its weights are OpenVINO's now
    how = "int8 by nncf.quantize, model type transformer" if stored == "int8" else precision
    return PipelineReader(
        pipeline,
        padding="do_not_pad",
        packages=PACKAGES,
        settings=f"{how}, hint LATENCY, {threads} threads, dynamic shapes, do_not_pad",
    )


def _inputs(tokenizer: Any) -> list[str]:
    return list(tokenizer.model_input_names)


def _convert(model: Any, tokenizer: Any) -> Any:
    encoded = tokenizer("a", "b", return_tensors="pt")
    model.config.return_dict = False
    example = {name: encoded[name] for name in _inputs(tokenizer)}
    return openvino.convert_model(model, example_input=example)


def _quantise(graph: Any, tokenizer: Any) -> Any:
    samples = list(_samples(tokenizer))
    return nncf.quantize(
        graph,
        nncf.Dataset(samples),
        model_type=nncf.ModelType.TRANSFORMER,
        subset_size=len(samples),
    )


def _samples(tokenizer: Any) -> Iterator[dict[str, Any]]:
    for question, context in calibration():
        encoded = tokenizer(
            question,
            context,
            truncation="only_second",
            max_length=MAX_SEQ_LEN,
            stride=DOC_STRIDE,
            return_tensors="np",
        )
        yield {name: encoded[name] for name in _inputs(tokenizer)}


if __name__ == "__main__":
    serve("openvino", _load)
