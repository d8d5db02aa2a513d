"""Which matrix products a reader's answer to one window needs, from the shapes of its weights.

The count is that of the architecture, not of the graph: what a graph does on top (loud channels in
a product of their own, say) is its own cost, and what it merges or splits changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeqa.errors import DataError

# BERT's and DistilBERT's own size of a head, where the graph does not say how many heads there are.
_HEAD = 64


@dataclass(frozen=True, slots=True)
class Architecture:
    """What fixes the products of a BERT or DistilBERT reader."""

    layers: int
    hidden: int
    heads: int
    intermediate: int


@dataclass(frozen=True, slots=True)
class Product:
    """`count` products of (rows, inner) by (inner, columns), each of them `batch` times over.

    Attributes:
        weight: the right side is constant, and each of the `count` has its own.
    """

    name: str
    rows: int
    inner: int
    columns: int
    count: int = 1
    batch: int = 1
    weight: bool = True

    @property
    def operations(self) -> int:
        """A multiplication and an addition for each pair of elements."""
        return 2 * self.rows * self.inner * self.columns * self.count * self.batch

    def __str__(self) -> str:
        batch = f"{self.batch} x " if self.batch > 1 else ""
        return f"{batch}{self.rows} x {self.inner} x {self.columns}"


def products(architecture: Architecture, tokens: int) -> list[Product]:
    """All matrix products for one window of so many tokens."""
    a = architecture
    head = a.hidden // a.heads
    return [
        Product("query, key, value", tokens, a.hidden, 3 * a.hidden, a.layers),
        Product("scores", tokens, head, tokens, a.layers, a.heads, weight=False),
        Product("values", tokens, tokens, head, a.layers, a.heads, weight=False),
        Product("attention output", tokens, a.hidden, a.hidden, a.layers),
        Product("feed forward, in", tokens, a.hidden, a.intermediate, a.layers),
        Product("feed forward, out", tokens, a.intermediate, a.hidden, a.layers),
        Product("start and end", tokens, a.hidden, 2),
    ]


def read_architecture(model: Path) -> Architecture:
    """Of a reader's graph, fused and quantised or not.

    Raises:
        DataError: it is not a graph, or not a BERT's.
    """
    graph = _graph(model)
    looked_up = {node.input[0] for node in graph.node if node.op_type == "Gather"}
    shapes = {t.name: tuple(t.dims) for t in graph.initializer if len(t.dims) == 2}
    tables = [shapes[name] for name in looked_up if name in shapes]
    weights = [shape for name, shape in shapes.items() if name not in looked_up]
    if not tables or not weights:
        raise DataError(f"{model}: no embeddings and weights in it; name a reader's model.onnx")
    hidden = max(tables)[1]
    # A table has a column of scales beside it where it is quantised by row.
    if hidden == 1:
        hidden = max(shape[1] for shape in tables)
    intermediate = max(max(shape) for shape in weights)
    # Of the two feed-forward weights of a layer, the one that widens: its loud channels may be cut.
    layers = sum(shape[1] == intermediate and shape[0] > hidden // 2 for shape in weights)
    heads = next(_attribute(graph, "num_heads"), hidden // _HEAD)
    if layers == 0 or hidden % heads:
        raise DataError(f"{model}: its weights are not those of a BERT or DistilBERT")
    return Architecture(layers, hidden, heads, intermediate)


def _graph(model: Path) -> Any:
    import onnx

    try:
        return onnx.load(str(model)).graph
    except Exception as error:
        raise DataError(f"{model}: not an ONNX graph: {error}") from error


def _attribute(graph: Any, name: str) -> Iterator[int]:
    for node in graph.node:
        yield from (int(a.i) for a in node.attribute if a.name == name)


def weight_bytes(model: Path) -> int:
    """What one window reads of a graph's constants: all but the tables that it looks up in.

    Raises:
        DataError: it is not a graph.
    """
    graph = _graph(model)
    looked_up = {node.input[0] for node in graph.node if node.op_type == "Gather"}
    return sum(t.ByteSize() for t in graph.initializer if t.name not in looked_up)
