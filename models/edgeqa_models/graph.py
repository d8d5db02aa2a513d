"""From a torch reader to an ONNX graph, and its fusion for inference.

Fusion gives `com.microsoft` operators (Attention, SkipLayerNormalization, BiasGelu), of which
`lean` replaces the slow ones; `portable` says which are allowed. A graph whose attention was not
fused computes the same, slower, and nobody would notice: it is refused.
"""

from __future__ import annotations

import io
import warnings

import onnx
import torch
from onnxruntime.transformers import optimizer
from onnxruntime.transformers.fusion_options import FusionOptions
from torch.jit._trace import TracerWarning

from edgeqa.errors import ModelLoadError
from edgeqa.manifest import Architecture
from edgeqa.reader.loading import OUTPUTS
from edgeqa_models.checkpoint import ReaderCheckpoint
from edgeqa_models.distilbert import as_bert
from edgeqa_models.portable import IR_VERSION, OPSET, operators

# What one protobuf message holds, and an ONNX file is one: protobuf.dev, "Size limits".
MAX_GRAPH_BYTES = (1 << 31) - 1
_FLOAT_BYTES = 4
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


def demand_room(architecture: Architecture) -> None:
    """Refuse a model before it is traced whose graph would be larger than an ONNX file can be.

    Raises:
        ModelLoadError: `model_too_large`.
    """
    size = architecture.parameters * _FLOAT_BYTES
    if size > MAX_GRAPH_BYTES:
        raise ModelLoadError(
            f"{architecture.parameters:,} parameters are {size / 1e9:.1f} GB in fp32; an ONNX file "
            f"holds at most {MAX_GRAPH_BYTES / 1e9:.1f} GB",
            code="model_too_large",
        )


def trace(reader: ReaderCheckpoint) -> onnx.ModelProto:
    """The graph of a reader in fp32, batch and sequence free."""
    names = reader.input_names
    axes = {name: {0: "batch", 1: "sequence"} for name in [*names, *OUTPUTS]}
    inputs = tuple(torch.ones(_TRACE_BATCH, _TRACE_TOKENS, dtype=torch.int64) for _ in names)
    content = io.BytesIO()  # in memory: a full /tmp is nothing to an export
    with warnings.catch_warnings():
        # The tracer warns of Python branches on shapes; the parity check runs other shapes.
        warnings.simplefilter("ignore", TracerWarning)
        # The exporter through TorchScript is deprecated, but the graph of the new one is not
        # recognised by onnxruntime's attention fusion (0 of 6 layers, against 6 of 6; torch
        # 2.13, onnxruntime 1.32), and the int8 graph needs the fusion.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            _Reader(reader).eval(),
            inputs,
            content,  # type: ignore[arg-type]  # this exporter takes one
            dynamo=False,
            opset_version=OPSET,
            input_names=names,
            output_names=list(OUTPUTS),
            dynamic_axes=axes,
        )
    return onnx.load_from_string(content.getvalue())


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


def demand_fused(graph: onnx.ModelProto, reader: ReaderCheckpoint) -> None:
    """Refuse a graph in which fusion left a layer as it was.

    Raises:
        ModelLoadError: `fusion_failed`.
    """
    layers = reader.architecture.layers
    wanted = {"Attention": layers, "SkipLayerNormalization": 2 * layers}
    if reader.activation == "gelu":
        wanted["BiasGelu"] = layers
    found = operators(graph)
    for name, count in wanted.items():
        if found.get(name, 0) != count:
            raise ModelLoadError(
                f"{found.get(name, 0)} of {count} {name} operators were fused; the graph would be "
                "slow and cannot be quantised well. Is this a plain BERT or DistilBERT, with "
                "absolute positions?",
                code="fusion_failed",
            )
