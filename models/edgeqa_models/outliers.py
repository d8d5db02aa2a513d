"""Keeping the loudest channels of an activation out of its int8 scale.

An activation is quantised with one scale for the whole tensor, set by its largest value. In BERT a
few channels of the feed-forward inputs are an order of magnitude louder than the rest (Dettmers et
al. 2022, "LLM.int8()"), so that all others are rounded coarsely. Their few rows of the weights
are split off into a small fp32 product that is added again: x @ W = (x without them) @ W + x[them]
@ W[them]. docs/models.md has what this was measured to give.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

CHANNELS = 4  # split off per product; 8 and more were measured to give nothing further
LOUD = 2.0  # split only where the loudest is so many times as loud as the first that stays

Peaks = NDArray[np.float32]


def measure_peaks(
    graph: onnx.ModelProto, feeds: Iterable[Mapping[str, NDArray[np.int64]]]
) -> dict[str, Peaks]:
    """The largest absolute value of each input channel of each weight product.

    Args:
        graph: fp32.
        feeds: inputs of some typical windows.

    Returns:
        By the name of the MatMul node.
    """
    products = {node.name: node.input[0] for node in _products(graph)}
    observed = onnx.ModelProto()
    observed.CopyFrom(graph)
    tensors = sorted(set(products.values()))
    for name in tensors:
        observed.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1  # the same sums each time
    options.log_severity_level = 3
    session = ort.InferenceSession(observed.SerializeToString(), options)
    peaks: dict[str, Any] = dict.fromkeys(tensors, 0.0)
    for feed in feeds:
        for name, value in zip(tensors, session.run(tensors, dict(feed)), strict=True):
            peaks[name] = np.maximum(peaks[name], np.abs(value).max(axis=(0, 1)))
    return {node: peaks[name] for node, name in products.items() if np.ndim(peaks[name])}


def split_outliers(graph: onnx.ModelProto, peaks: Mapping[str, Peaks]) -> list[str]:
    """Split the loud channels off, in place.

    Returns:
        Names of the small products, which must stay fp32.
    """
    weights = {tensor.name: tensor for tensor in graph.graph.initializer}
    sums = {name: node for node in graph.graph.node if node.op_type == "Sum" for name in node.input}
    nodes: list[onnx.NodeProto] = []
    kept: list[str] = []
    for node in graph.graph.node:
        loudest = _loudest(peaks[node.name]) if node.name in peaks else None
        if loudest is None:
            nodes.append(node)
            continue
        name = node.name
        mask = np.ones(len(peaks[name]), np.float32)
        mask[loudest] = 0
        matrix = numpy_helper.to_array(weights[node.input[1]]).copy()
        rows = matrix[loudest]
        matrix[loudest] = 0  # so that they do not set the scale of a column
        weights[node.input[1]].CopyFrom(numpy_helper.from_array(matrix, node.input[1]))
        for suffix, value in (("loud", loudest), ("mask", mask), ("rows", rows)):
            graph.graph.initializer.append(numpy_helper.from_array(value, f"{name}_{suffix}"))
        source, out = node.input[0], node.output[0]
        both = [f"{name}_int8", f"{name}_fp32"]
        node.input[0], node.output[0] = f"{name}_quiet", both[0]
        kept.append(f"{name}_small")
        nodes += [
            helper.make_node("Mul", [source, f"{name}_mask"], [f"{name}_quiet"], f"{name}_mul"),
            node,
            helper.make_node(
                "Gather", [source, f"{name}_loud"], [f"{name}_few"], f"{name}_gather", axis=2
            ),
            helper.make_node("MatMul", [f"{name}_few", f"{name}_rows"], [both[1]], kept[-1]),
        ]
        total = sums.get(out)
        if total is None:
            nodes.append(helper.make_node("Sum", both, [out], f"{name}_add"))
        else:
            total.input.remove(out)
            total.input.extend(both)
    del graph.graph.node[:]
    graph.graph.node.extend(nodes)
    return kept


def _products(graph: onnx.ModelProto) -> list[onnx.NodeProto]:
    """The MatMul nodes with constant weights and more channels than are split off."""
    large = {t.name for t in graph.graph.initializer if len(t.dims) > 1 and t.dims[0] > CHANNELS}
    return [n for n in graph.graph.node if n.op_type == "MatMul" and n.input[1] in large]


def _loudest(peaks: Peaks) -> NDArray[np.int64] | None:
    order = np.argsort(-peaks, kind="stable")
    if peaks[order[0]] < LOUD * peaks[order[CHANNELS]]:
        return None
    return np.sort(order[:CHANNELS]).astype(np.int64)
