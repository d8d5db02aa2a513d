"""Embedding tables in int8, one scale per row.

They are looked up before they are scaled, so that a table never exists in fp32: of a small BERT
they are half of the weights, and of memory more than that.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

_INT8_MAX = 127  # symmetric: -128 is not used, so that negation is exact
_TABLE = 2  # dimensions
# Of so few rows (token types) each lookup costs more than the bytes are worth.
_FEW_ROWS = 16


def quantise_tables(graph: onnx.ModelProto) -> None:
    """Replace Gather(table) by Cast(Gather(int8 table)) * Gather(scales), row by row, in place."""
    tables = {
        tensor.name: tensor
        for tensor in graph.graph.initializer
        if tensor.data_type == TensorProto.FLOAT
        and len(tensor.dims) == _TABLE
        and tensor.dims[0] > _FEW_ROWS
    }
    nodes: list[onnx.NodeProto] = []
    done: set[str] = set()
    for node in graph.graph.node:
        if node.op_type != "Gather" or node.input[0] not in tables:
            nodes.append(node)
            continue
        name = node.input[0]
        if name not in done:
            done.add(name)
            rows, scales = _by_row(numpy_helper.to_array(tables[name]))
            graph.graph.initializer.remove(tables[name])
            graph.graph.initializer.append(numpy_helper.from_array(rows, f"{name}_int8"))
            graph.graph.initializer.append(numpy_helper.from_array(scales, f"{name}_scale"))
        nodes.extend(_looked_up(node, name))
    del graph.graph.node[:]
    graph.graph.node.extend(nodes)


def _by_row(table: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    scales = np.abs(table).max(axis=1, keepdims=True) / _INT8_MAX
    scales[scales == 0] = 1  # a row of zeros, such as [PAD]'s
    return np.rint(table / scales).astype(np.int8), scales.astype(np.float32)


def _looked_up(node: onnx.NodeProto, table: str) -> Iterator[onnx.NodeProto]:
    ids, out = node.input[1], node.output[0]
    yield helper.make_node("Gather", [f"{table}_int8", ids], [f"{out}_int8"], f"{node.name}_int8")
    yield helper.make_node(
        "Cast", [f"{out}_int8"], [f"{out}_cast"], f"{node.name}_cast", to=TensorProto.FLOAT
    )
    yield helper.make_node("Gather", [f"{table}_scale", ids], [f"{out}_scale"], f"{node.name}_sc")
    yield helper.make_node("Mul", [f"{out}_cast", f"{out}_scale"], [out], f"{node.name}_mul")
