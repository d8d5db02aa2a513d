"""What a graph may consist of, so that every device loads it.

Opset 17 and IR version 8: every onnxruntime ARM64 wheel since 1.13 (October 2022) reads them, and
17 is the first opset in which LayerNormalization is one operator; nothing later helps these graphs.
`com.microsoft` operators come from fusion and quantisation; the CPU provider has them on ARM64 as
on x86-64. Each operator below was run in all variants of a BERT and a DistilBERT with the ARM64
wheel of onnxruntime 1.32 (docs/models.md says how); one that is not listed is refused.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import onnx
from onnx import TensorProto

from edgeqa.errors import ModelLoadError

OPSET = 17
IR_VERSION = 8

OPERATORS = {
    "": frozenset(
        {
            *("Add", "Cast", "Constant", "ConstantOfShape", "DynamicQuantizeLinear", "Equal"),
            *("Expand", "Gather", "LayerNormalization", "MatMul", "MatMulInteger", "Mul"),
            *("ReduceSum", "Relu", "Shape", "Slice", "Split", "Squeeze", "Sum", "Unsqueeze"),
            "Where",
        }
    ),
    "com.microsoft": frozenset(
        {
            *("Attention", "BiasGelu", "DynamicQuantizeMatMul", "FastGelu", "Gelu"),
            *("MatMulNBits", "MultiHeadAttention", "QAttention", "SkipLayerNormalization"),
        }
    ),
}
_VERSIONS = {"": OPSET, "com.microsoft": 1}


def demand_portable(graph: onnx.ModelProto) -> None:
    """Refuse a graph that a device may not load.

    Raises:
        ModelLoadError: `unsupported_operator`, it is of another opset or IR version, holds an
            operator that is not listed, or keeps weights in another file.
    """
    for problem in _problems(graph):
        raise ModelLoadError(
            f"the graph would not load on every device: {problem}", code="unsupported_operator"
        )


def operators(graph: onnx.ModelProto) -> dict[str, int]:
    """How often each operator stands in a graph."""
    counts: Counter[Any] = Counter(node.op_type for node in graph.graph.node)
    return dict(sorted(counts.items()))


def _problems(graph: onnx.ModelProto) -> Iterator[str]:
    if graph.ir_version > IR_VERSION:
        yield f"IR version {graph.ir_version}, at most {IR_VERSION} is read everywhere"
    for imported in graph.opset_import:
        if imported.version > _VERSIONS.get(imported.domain, 0):
            name = imported.domain or "ai.onnx"
            yield f"opset {imported.version} of {name}"
    for node in graph.graph.node:
        if node.op_type not in OPERATORS.get(node.domain, ()):
            yield f"operator {f'{node.domain}.' * bool(node.domain)}{node.op_type}"
    for tensor in graph.graph.initializer:
        if tensor.data_location == TensorProto.EXTERNAL:
            yield f"weights of {tensor.name} in another file"
