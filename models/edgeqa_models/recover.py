"""Recover: a package's graph becomes a torch checkpoint again.

For when the checkpoint that a package was made of is gone: to go on training from it, to let it
teach, or to measure it beside torch. int8 weights are multiplied by their scales, so the checkpoint
computes what the package does but for the rounding of activations; what was rounded away of the
weights stays away. Weights are found by the names that `export` and `quantise` give them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
import transformers
from numpy.typing import NDArray
from onnx import numpy_helper

from edgeqa.errors import GateError, ModelLoadError
from edgeqa.manifest import MODEL_FILE, TOKENIZER_FILE, Package, open_package
from edgeqa.reader.engine import Engine
from edgeqa_models.checkpoint import ReaderCheckpoint
from edgeqa_models.distilbert import berts_name
from edgeqa_models.folders import new_folder
from edgeqa_models.padded import pad
from edgeqa_models.parity import best_span, torch_logits

# Of the logits of a window: rounding of activations was measured to leave 0.99 and more; a weight
# at the wrong place leaves about 0.
MIN_CORRELATION = 0.9
_ROOT = "reader.bert."
_DENSE = ("attention.output.dense", "intermediate.dense", "output.dense")
_NORMS = ("attention.output.LayerNorm", "output.LayerNorm")

Weights = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Recovered:
    """How close a checkpoint is to its package.

    Attributes:
        windows: compared, of the package's check questions.
        correlation: of the logits, mean over the windows.
        same_spans: windows in which both find the same best token span.
    """

    windows: int
    correlation: float
    same_spans: int


def recover(*, package: Path, output: Path) -> Recovered:
    """Write a checkpoint that transformers loads.

    Args:
        package: of BERT or DistilBERT, fp32 or int8.
        output: folder to make, with config.json, model.safetensors and tokenizer.

    Raises:
        ModelLoadError: it is no package (`package_malformed`…), or not a graph of this workshop
            (`not_recoverable`).
        GateError: `parity_failed`, the checkpoint computes something else than the package.
        ConfigError: `output` exists or cannot be written.
    """
    opened = open_package(package)
    reader = _reader(opened)
    recovered = _compare(reader, opened)
    with new_folder(output) as folder:
        reader.model.save_pretrained(str(folder))
        reader.tokenizer.save_pretrained(str(folder))
    return recovered


def _reader(package: Package) -> ReaderCheckpoint:
    manifest = package.manifest
    graph = onnx.load(str(package.file(MODEL_FILE))).graph
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    try:
        berts = _bert_weights(weights, graph.node, manifest.architecture.layers)
        model = _model(package, berts)
    except (KeyError, ValueError, RuntimeError) as error:
        reason = str(error).strip("'\"").splitlines()[0]
        raise ModelLoadError(
            f"{package.path}: its graph is not one that `export` and `quantise` make: {reason}",
            code="not_recoverable",
        ) from error
    return ReaderCheckpoint(model.eval(), _tokenizer(package), manifest.architecture)


def _model(package: Package, berts: dict[str, NDArray[np.float32]]) -> Any:
    """The model of the manifest's architecture with weights under BERT's names."""
    shape = package.manifest.architecture
    positions = len(berts["bert.embeddings.position_embeddings.weight"])
    feed_forward = len(berts["bert.encoder.layer.0.intermediate.dense.bias"])
    if shape.type == "bert":
        types = len(berts["bert.embeddings.token_type_embeddings.weight"])
        model = transformers.BertForQuestionAnswering(
            transformers.BertConfig(
                vocab_size=shape.vocabulary,
                hidden_size=shape.hidden,
                num_hidden_layers=shape.layers,
                num_attention_heads=shape.heads,
                intermediate_size=feed_forward,
                max_position_embeddings=positions,
                type_vocab_size=types,
            )
        )
        named = berts
    else:
        model = transformers.DistilBertForQuestionAnswering(
            transformers.DistilBertConfig(
                vocab_size=shape.vocabulary,
                dim=shape.hidden,
                n_layers=shape.layers,
                n_heads=shape.heads,
                hidden_dim=feed_forward,
                max_position_embeddings=positions,
            )
        )
        named = {name: berts[berts_name(name)] for name in model.state_dict()}
    tensors = {name: torch.from_numpy(np.ascontiguousarray(w)) for name, w in named.items()}
    model.load_state_dict(tensors, strict=True)
    return model


def _bert_weights(
    weights: Weights, nodes: Sequence[onnx.NodeProto], layers: int
) -> dict[str, NDArray[np.float32]]:
    products = {node.name: node for node in nodes if "MatMul" in node.op_type}
    found: dict[str, NDArray[np.float32]] = {}
    for table in ("word_embeddings", "position_embeddings", "token_type_embeddings"):
        name = f"{_ROOT}embeddings.{table}"
        if table == "token_type_embeddings" and not {f"{name}.weight", f"{name}.weight_int8"} & (
            weights.keys()
        ):
            continue  # a DistilBERT's
        found[f"bert.embeddings.{table}.weight"] = _table(weights, name)
    norms = ["embeddings.LayerNorm"]
    for layer in range(layers):
        place = f"encoder.layer.{layer}."
        norms += [place + name for name in _NORMS]
        for name in _DENSE:
            found[f"bert.{place}{name}.weight"] = _product(weights, products, place + name)
            found[f"bert.{place}{name}.bias"] = _float(weights[f"{_ROOT}{place}{name}.bias"])
        matrix, bias = _attention(weights, layer)
        for part, rows, offset in zip(
            ("query", "key", "value"), np.split(matrix, 3), np.split(bias, 3), strict=True
        ):
            found[f"bert.{place}attention.self.{part}.weight"] = rows
            found[f"bert.{place}attention.self.{part}.bias"] = offset
    for name in norms:
        for part in ("weight", "bias"):
            found[f"bert.{name}.{part}"] = _float(weights[f"{_ROOT}{name}.{part}"])
    found["qa_outputs.weight"] = _product(weights, products, "qa_outputs", root="/reader/")
    found["qa_outputs.bias"] = _float(weights["reader.qa_outputs.bias"])
    return found


def _table(weights: Weights, name: str) -> NDArray[np.float32]:
    if f"{name}.weight_int8" in weights:
        return _float(weights[f"{name}.weight_int8"]) * weights[f"{name}.weight_scale"]
    return _float(weights[f"{name}.weight"])


def _attention(weights: Weights, layer: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """[3 * hidden, hidden] and [3 * hidden]: queries, keys and values."""
    name = f"Attention_{layer}_qkv"
    bias = _float(weights[f"{name}_bias"])
    if f"{name}_weight_quantized" in weights:
        return _scaled(weights, f"{name}_weight").T, bias
    return _float(weights[f"{name}_weight"]).T, bias


def _product(
    weights: Weights, products: Mapping[str, onnx.NodeProto], name: str, root: str = "/reader/bert/"
) -> NDArray[np.float32]:
    """[out, in] of a dense layer, with the rows of loud channels put back."""
    # encoder.layer.0.output.dense is /reader/bert/encoder/layer.0/output/dense/MatMul
    node_name = f"{root}{name.replace('.', '/').replace('layer/', 'layer.')}/MatMul"
    integer = products.get(f"{node_name}_quant")
    if integer is None:
        return _float(weights[products[node_name].input[1]]).T
    matrix = _scaled(weights, integer.input[1].removesuffix("_quantized"))
    if f"{node_name}_loud" in weights:
        matrix[weights[f"{node_name}_loud"]] = _float(weights[f"{node_name}_rows"])
    return matrix.T


def _scaled(weights: Weights, name: str) -> NDArray[np.float32]:
    """[in, out] of int8 weights with a scale for each column."""
    # Without zero points since the products are DynamicQuantizeMatMul; before, they were all 0.
    return _float(weights[f"{name}_quantized"] * weights[f"{name}_scale"])


def _float(values: NDArray[Any]) -> NDArray[np.float32]:
    return values.astype(np.float32)


def _tokenizer(package: Package) -> Any:
    names = ["input_ids", "attention_mask"]
    if package.manifest.architecture.type == "bert":
        names.append("token_type_ids")
    return transformers.BertTokenizerFast(
        tokenizer_file=str(package.file(TOKENIZER_FILE)),
        model_max_length=package.manifest.sizes.max_seq_len,
        model_input_names=names,
    )


def _compare(reader: ReaderCheckpoint, package: Package) -> Recovered:
    engine, sizes = Engine.load(package, threads=1), package.manifest.sizes
    correlations: list[float] = []
    same = 0
    for check in package.checks():
        for window in engine.prepare(check.question, check.context).windows:
            ours = engine.logits(window)
            padded = torch_logits(reader, pad([window], reader))
            theirs = (padded[0][0], padded[1][0])
            a, b = np.concatenate(ours), np.concatenate(theirs)
            correlations.append(float(np.corrcoef(a, b)[0, 1]))
            same += best_span(*ours, window, sizes) == best_span(*theirs, window, sizes)
    recovered = Recovered(len(correlations), float(np.mean(correlations)), same)
    if not recovered.correlation >= MIN_CORRELATION:
        raise GateError(
            "the checkpoint does not compute what its package does: their logits correlate by "
            f"{recovered.correlation:.2f}, at least {MIN_CORRELATION} is demanded",
            code="parity_failed",
        )
    return recovered
