"""The variants `int8-block` and `int4-block`: weights in blocks of 32 with a scale each.

`MatMulNBits` multiplies by such weights; it quantises its input to int8 in the same blocks
(accuracy level 4), so that a loud channel costs its own block accuracy and no other. Level 0, which
multiplies in fp32, was measured to be slower than fp32 itself. With 8 bits the operator runs on
ARM64 since onnxruntime 1.23.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from onnxruntime.capi._pybind_state import quantize_matmul_4bits, quantize_matmul_8bits

from edgeqa_models.embeddings import quantise_tables
from edgeqa_models.lean import open_attention

BLOCK = 32
_INT8_ACTIVATIONS = 4  # of MatMulNBits' attribute accuracy_level
_BYTE = 8

Bits = Literal[4, 8]


def to_blocks(graph: onnx.ModelProto, bits: Bits) -> onnx.ModelProto:
    """The same graph with weights in blocks; tables are int8 by row. `graph` is used up."""
    open_attention(graph)
    weights = {tensor.name: tensor for tensor in graph.graph.initializer}
    for node in graph.graph.node:
        if node.op_type == "MatMul" and node.input[1] in weights:
            tensor = weights[node.input[1]]
            _replace(graph, node, tensor, bits)
    quantise_tables(graph)
    return graph


def _replace(
    graph: onnx.ModelProto, node: onnx.NodeProto, tensor: onnx.TensorProto, bits: Bits
) -> None:
    """Make the product `node` a MatMulNBits."""
    values = numpy_helper.to_array(tensor)
    arrays = _in_blocks(values, bits)
    names = [f"{tensor.name}_{part}" for part in arrays]
    graph.graph.initializer.remove(tensor)
    graph.graph.initializer.extend(map(numpy_helper.from_array, arrays.values(), names))
    node.op_type, node.domain = "MatMulNBits", "com.microsoft"
    del node.input[1:]
    node.input.extend(names)
    rows, columns = values.shape
    for key, value in {
        "K": rows,
        "N": columns,
        "bits": bits,
        "block_size": BLOCK,
        "accuracy_level": _INT8_ACTIVATIONS,
    }.items():
        node.attribute.append(helper.make_attribute(key, value))


def _in_blocks(values: NDArray[np.float32], bits: Bits) -> dict[str, NDArray[np.generic]]:
    rows, columns = values.shape
    blocks = -(-rows // BLOCK)
    packed = np.zeros((columns, blocks, BLOCK * bits // _BYTE), np.uint8)
    scales = np.zeros(columns * blocks, np.float32)
    zeros = np.zeros(columns * -(-blocks * bits // _BYTE), np.uint8)
    # Zero points cost 4 bits a block and are worth it with 16 steps; with 256 they were measured
    # to give nothing.
    symmetric = bits == _BYTE
    quantise = quantize_matmul_8bits if bits == _BYTE else quantize_matmul_4bits
    quantise(packed, values, scales, zeros, BLOCK, columns, rows, symmetric)
    arrays: dict[str, NDArray[np.generic]] = {"packed": packed, "scales": scales}
    return arrays if symmetric else {**arrays, "zeros": zeros}
