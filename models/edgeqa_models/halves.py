"""The variant `fp16`: weights stored as fp16, computed in fp32.

A matrix is cast back when the model is loaded (onnxruntime folds the cast), a row of a table when
it is looked up. A graph that computes in fp16 is no variant: docs/models.md says why.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgeqa.errors import ModelLoadError

_MATRIX = 2  # dimensions; vectors are too small to matter


def to_halves(graph: onnx.ModelProto) -> onnx.ModelProto:
    """The same graph with its matrices in fp16. `graph` is used up.

    Raises:
        ModelLoadError: a weight is larger than fp16 holds.
    """
    large = {
        tensor.name: tensor
        for tensor in graph.graph.initializer
        if tensor.data_type == TensorProto.FLOAT and len(tensor.dims) == _MATRIX
    }
    nodes: list[onnx.NodeProto] = []
    stored: set[str] = set()
    cast: set[str] = set()
    for node in graph.graph.node:
        names = dict.fromkeys(name for name in node.input if name in large)
        for name in names:
            if name not in stored:
                stored.add(name)
                _store(graph, large[name])
        if node.op_type == "Gather" and names:
            table, out = node.input[0], node.output[0]
            node.input[0], node.output[0] = f"{table}_fp16", f"{out}_fp16"
            nodes += [node, _cast(f"{out}_fp16", out)]
        else:
            nodes += [_cast(f"{name}_fp16", name) for name in names if name not in cast]
            nodes.append(node)
            cast.update(names)
    del graph.graph.node[:]
    graph.graph.node.extend(nodes)
    return graph


def _store(graph: onnx.ModelProto, tensor: onnx.TensorProto) -> None:
    values = numpy_helper.to_array(tensor)
    if np.abs(values).max() > np.finfo(np.float16).max:
        raise ModelLoadError(f"{tensor.name} holds weights that are too large for fp16")
    graph.graph.initializer.remove(tensor)
    graph.graph.initializer.append(
        numpy_helper.from_array(values.astype(np.float16), f"{tensor.name}_fp16")
    )


def _cast(source: str, out: str) -> onnx.NodeProto:
    return helper.make_node("Cast", [source], [out], f"{out}_cast", to=TensorProto.FLOAT)
