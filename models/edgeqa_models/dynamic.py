"""The variant `int8`: dynamic quantisation of the whole graph.

Each product with weights is a DynamicQuantizeMatMul: weights int8 with one scale per output
channel, activations uint8 with one scale per tensor and run, and its bias added on the way.
Embedding tables have one scale per row (`edgeqa_models.embeddings`), loud channels are kept apart
(`edgeqa_models.outliers`). Of attention the projections are int8; the products of activations with
each other stay fp32, for the CPU provider has no operator that would take them otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from edgeqa_models.embeddings import quantise_tables
from edgeqa_models.lean import open_attention, remove_lone_sums, remove_unused
from edgeqa_models.outliers import measure_peaks, split_outliers

Feed = Mapping[str, NDArray[np.int64]]

_INT8_MAX = 127  # symmetric, as for the tables


def to_dynamic_int8(graph: onnx.ModelProto, feeds: Sequence[Feed]) -> onnx.ModelProto:
    """The int8 graph of an fp32 graph, which is used up.

    Args:
        graph: fused.
        feeds: inputs of typical windows, on which loud channels are looked for.
    """
    small = split_outliers(graph, measure_peaks(graph, feeds))
    open_attention(graph)
    quantise_tables(graph)
    _quantise_products(graph, frozenset(small))
    remove_lone_sums(graph)
    remove_unused(graph)
    return graph


def _quantise_products(graph: onnx.ModelProto, small: frozenset[str]) -> None:
    weights = {tensor.name: tensor for tensor in graph.graph.initializer}
    biases = {name for name, tensor in weights.items() if len(tensor.dims) == 1}
    sums = _sums_by_input(graph)
    for node in graph.graph.node:
        if node.op_type != "MatMul" or node.name in small or node.input[1] not in weights:
            continue
        matrix, scales = _by_column(numpy_helper.to_array(weights[node.input[1]]))
        names = [f"{node.input[1]}_quantized", f"{node.input[1]}_scale"]
        graph.graph.initializer.extend(
            numpy_helper.from_array(values, name)
            for values, name in zip((matrix, scales), names, strict=True)
        )
        node.op_type, node.domain = "DynamicQuantizeMatMul", "com.microsoft"
        node.name = f"{node.name}_quant"
        del node.input[1:]
        node.input.extend([*names, ""])  # no zero point: it is 0
        total = sums.get(node.output[0])
        bias = next((name for name in total.input if name in biases), None) if total else None
        if total is not None and bias is not None:
            total.input.remove(bias)
            node.input.append(bias)


def _sums_by_input(graph: onnx.ModelProto) -> dict[str, onnx.NodeProto]:
    return {name: node for node in graph.graph.node if node.op_type == "Sum" for name in node.input}


def _by_column(matrix: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    scales = np.abs(matrix).max(axis=0) / _INT8_MAX
    scales[scales == 0] = 1
    return np.rint(matrix / scales).astype(np.int8), scales.astype(np.float32)
