"""From a torch reader to an ONNX graph, and its fusion for inference.

Opset 17 and IR version 8: every onnxruntime ARM64 wheel since 1.13 (October 2022) reads them, and
17 is the first opset in which LayerNormalization is one operator; nothing later helps this graph.
Fusion gives `com.microsoft` operators (Attention, SkipLayerNormalization, BiasGelu), which the CPU
provider implements on ARM64 as on x86-64.
"""

from __future__ import annotations

import tempfile
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import onnx
import torch
from onnxruntime.transformers import optimizer
from onnxruntime.transformers.fusion_options import FusionOptions
from torch.jit._trace import TracerWarning

from edgeqa.reader.engine import OUTPUTS
from edgeqa_models.checkpoint import ReaderCheckpoint
from edgeqa_models.distilbert import as_bert

OPSET = 17
IR_VERSION = 8
# The shape that is traced: any other must work as well, and the parity check uses others.
_TRACE_BATCH, _TRACE_TOKENS = 2, 16


class _Reader(torch.nn.Module):
    """A reader with positional inputs and the two logits as outputs, as the exporter wants it."""

    def __init__(self, reader: ReaderCheckpoint) -> None:
        super().__init__()
        is_bert = reader.architecture.type == "bert"
        self.reader = reader.model if is_bert else as_bert(reader.model)
        self._names = reader.input_names

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The logits of start and end."""
        out = self.reader(**dict(zip(self._names, inputs, strict=True)))
        return out.start_logits, out.end_logits


def trace(reader: ReaderCheckpoint) -> onnx.ModelProto:
    """The graph of a reader in fp32, batch and sequence free."""
    names = reader.input_names
    axes = {name: {0: "batch", 1: "sequence"} for name in [*names, *OUTPUTS]}
    inputs = tuple(torch.ones(_TRACE_BATCH, _TRACE_TOKENS, dtype=torch.int64) for _ in names)
    with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings():
        # The tracer warns of Python branches on shapes; the parity check runs other shapes.
        warnings.simplefilter("ignore", TracerWarning)
        # The exporter through TorchScript is deprecated, but the graph of the new one is not
        # recognised by onnxruntime's attention fusion (0 of 6 layers, against 6 of 6; torch
        # 2.13, onnxruntime 1.32), and the int8 graph needs the fusion.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            _Reader(reader).eval(),
            inputs,
            Path(scratch) / "traced.onnx",
            dynamo=False,
            opset_version=OPSET,
            input_names=names,
            output_names=list(OUTPUTS),
            dynamic_axes=axes,
        )
        return onnx.load(Path(scratch) / "traced.onnx")


def fuse(graph: onnx.ModelProto, reader: ReaderCheckpoint) -> onnx.ModelProto:
    """The same function with fused attention, layer normalisation and GELU.

    Embeddings stay separate operators, so that `quantise` can give every row of them its scale.
    """
    options = FusionOptions("bert")
    options.enable_embed_layer_norm = False
    optimised = optimizer.optimize_model(
        graph,
        model_type="bert",
        num_heads=reader.architecture.heads,
        hidden_size=reader.architecture.hidden,
        optimization_options=options,
        opt_level=0,  # fusion in Python only: what onnxruntime itself fuses depends on the machine
    )
    optimised.topological_sort(is_deterministic=True)  # fusion appends its nodes at the end
    fused = optimised.model
    if all(known.domain != "com.microsoft" for known in fused.opset_import):
        fused.opset_import.append(onnx.helper.make_opsetid("com.microsoft", 1))
    fused.ir_version = IR_VERSION
    return fused


def operators(graph: onnx.ModelProto) -> dict[str, int]:
    """How often each operator stands in a graph, for people to read."""
    counts: Counter[Any] = Counter(node.op_type for node in graph.graph.node)
    return dict(sorted(counts.items()))
