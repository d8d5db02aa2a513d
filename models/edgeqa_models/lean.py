"""Operators that compute the same as those that fusion leaves, in less time.

Measured with onnxruntime 1.32 on one thread (docs/models.md): its SkipLayerNormalization takes
nine times as long as a sum and a LayerNormalization, BiasGelu half as long again as Gelu, and a
MultiHeadAttention without mask needs no matrix of tokens by tokens. onnxruntime would fuse an Add
with its LayerNormalization or Gelu again when it loads the graph; it leaves a Sum alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import onnx
from onnx import helper, numpy_helper

_SPLIT = "qkv_sizes"

Replacement = Callable[[onnx.NodeProto], Iterator[onnx.NodeProto]]


def replace_slow(graph: onnx.ModelProto) -> onnx.ModelProto:
    """The same function with quicker operators. `graph` is used up."""
    _replace(graph, {"SkipLayerNormalization": _normalised, "BiasGelu": _gelu})
    _drop_zeros(graph)
    remove_unused(graph)
    return graph


def open_attention(graph: onnx.ModelProto) -> None:
    """Replace each Attention by the product of query, key and value and a MultiHeadAttention.

    The product is then quantised like any other. The attention mask is lost with it, and the input
    goes: a device reads one window at a time and never pads (docs/adr/0004).
    """
    weights = {tensor.name: tensor for tensor in graph.graph.initializer}

    def opened(node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
        source, weight, bias = node.input[:3]
        name = node.name
        parts = [f"{name}_{part}" for part in ("query", "key", "value")]
        yield helper.make_node("MatMul", [source, weight], [f"{name}_product"], f"{name}_product")
        yield helper.make_node("Sum", [f"{name}_product", bias], [f"{name}_qkv"], f"{name}_bias")
        yield helper.make_node("Split", [f"{name}_qkv", _SPLIT], parts, f"{name}_split", axis=-1)
        heads = next(a.i for a in node.attribute if a.name == "num_heads")
        yield helper.make_node(
            "MultiHeadAttention", parts, node.output, name, domain="com.microsoft", num_heads=heads
        )

    attention = [node for node in graph.graph.node if node.op_type == "Attention"]
    if attention:
        hidden = weights[attention[0].input[1]].dims[1] // 3
        sizes = np.array([hidden] * 3, np.int64)
        graph.graph.initializer.append(numpy_helper.from_array(sizes, _SPLIT))
    _replace(graph, {"Attention": opened})
    remove_unused(graph)


def remove_lone_sums(graph: onnx.ModelProto) -> None:
    """Remove sums of one tensor, in place: what is left where a product takes the bias."""
    other = {
        node.output[0]: node.input[0]
        for node in graph.graph.node
        if node.op_type == "Sum" and len(node.input) == 1
    }
    kept = [node for node in graph.graph.node if node.output[0] not in other]
    for node in kept:
        node.input[:] = [other.get(name, name) for name in node.input]
    del graph.graph.node[:]
    graph.graph.node.extend(kept)


def remove_unused(graph: onnx.ModelProto) -> None:
    """Remove nodes, weights and inputs that nothing uses, in place."""
    used = {tensor.name for tensor in graph.graph.output}
    kept = []
    for node in reversed(graph.graph.node):
        if used.intersection(node.output):
            kept.append(node)
            used.update(node.input)
    for field, left in (
        (graph.graph.node, kept[::-1]),
        (graph.graph.initializer, [t for t in graph.graph.initializer if t.name in used]),
        (graph.graph.input, [i for i in graph.graph.input if i.name in used]),
    ):
        del field[:]
        field.extend(left)


def _normalised(node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
    product, skip, weight, offset, *bias = node.input
    [out] = node.output
    epsilon = next(a.f for a in node.attribute if a.name == "epsilon")
    yield helper.make_node("Sum", [product, skip, *bias], [f"{out}_sum"], f"{node.name}_sum")
    yield helper.make_node(
        *("LayerNormalization", [f"{out}_sum", weight, offset], [out], node.name),
        axis=-1,
        epsilon=epsilon,
    )


def _gelu(node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
    [out] = node.output
    yield helper.make_node("Sum", list(node.input), [f"{out}_sum"], f"{node.name}_sum")
    yield helper.make_node("Gelu", [f"{out}_sum"], [out], node.name, domain="com.microsoft")


def _drop_zeros(graph: onnx.ModelProto) -> None:
    """Do not add what is looked up in a row of zeros: DistilBERT's token types, seen as BERT."""
    zeros = {
        tensor.name
        for tensor in graph.graph.initializer
        if tensor.dims[:1] == [1] and not numpy_helper.to_array(tensor).any()
    }
    none = {
        node.output[0]
        for node in graph.graph.node
        if node.op_type == "Gather" and node.input[0] in zeros
    }
    other: dict[str, str] = {}
    for node in graph.graph.node:
        node.input[:] = [other.get(name, name) for name in node.input]
        left = [name for name in node.input if name not in none]
        if node.op_type == "Add" and len(left) == 1:
            other[node.output[0]] = left[0]


def _replace(graph: onnx.ModelProto, replacements: dict[str, Replacement]) -> None:
    nodes: list[onnx.NodeProto] = []
    for node in graph.graph.node:
        make = replacements.get(node.op_type)
        nodes.extend(make(node) if make else [node])
    del graph.graph.node[:]
    graph.graph.node.extend(nodes)
