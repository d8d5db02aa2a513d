"""The variant `int8`: dynamic quantisation of the whole graph.

MatMul and Attention are quantised dynamically: weights to int8 with one scale per output channel,
activations to uint8 with one scale per tensor and run. Embedding tables have one scale per row
(`edgeqa_models.embeddings`), loud channels are kept apart (`edgeqa_models.outliers`). Of attention
the projections are int8; the products of activations with each other stay fp32, for the CPU
provider has no operator that would take them otherwise.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto
from onnxruntime.quantization import QuantType, quantize_dynamic

from edgeqa.manifest import MODEL_FILE
from edgeqa_models.embeddings import quantise_tables
from edgeqa_models.outliers import measure_peaks, split_outliers

Feed = Mapping[str, NDArray[np.int64]]

_QUANTISED = ("MatMul", "Attention")


def to_dynamic_int8(graph: onnx.ModelProto, feeds: Sequence[Feed]) -> onnx.ModelProto:
    """The int8 graph of an fp32 graph, which is used up.

    Args:
        graph: fused.
        feeds: inputs of typical windows, on which loud channels are looked for.
    """
    small = split_outliers(graph, measure_peaks(graph, feeds))
    quantise_tables(graph)
    with tempfile.TemporaryDirectory() as scratch, _without_advice():
        path = Path(scratch) / MODEL_FILE
        quantize_dynamic(
            graph,
            path,
            op_types_to_quantize=list(_QUANTISED),
            nodes_to_exclude=small,
            per_channel=True,
            weight_type=QuantType.QInt8,
            # Shape inference knows no com.microsoft operator; what they give is float32.
            extra_options={"DefaultTensorType": TensorProto.FLOAT},
        )
        return onnx.load(path)


@contextmanager
def _without_advice() -> Iterator[None]:
    """Keep the quantiser from advising a pre-processing that cannot read fused graphs."""
    root = logging.getLogger()
    root.addFilter(_no_advice)
    try:
        yield
    finally:
        root.removeFilter(_no_advice)


def _no_advice(record: logging.LogRecord) -> bool:
    return "pre-processing before quantization" not in record.getMessage()
