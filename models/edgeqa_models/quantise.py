"""Quantise: an fp32 draft becomes an int8 draft, a quarter of its size and twice as fast.

MatMul and Attention are quantised dynamically: weights to int8 with one scale per output channel,
activations to uint8 with one scale per tensor and run. Embedding tables are stored as int8 with
one scale per row and are looked up before they are scaled, so that a table never exists in fp32.
Loud channels are kept apart (`edgeqa_models.outliers`). The choices were measured; the table is in
docs/models.md.
"""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

from edgeqa.errors import ConfigError, ModelLoadError
from edgeqa.files import write_atomic
from edgeqa.manifest import MODEL_FILE, TOKENIZER_FILE
from edgeqa_models.draft import open_measurable, read_draft, write_draft
from edgeqa_models.folders import new_folder
from edgeqa_models.outliers import measure_peaks, split_outliers

Feed = Mapping[str, NDArray[np.int64]]

# Our own texts (Apache-2.0), beside the check questions and apart from them: a change of these
# changes the bytes of every int8 model, a change of a check question must not.
CALIBRATION = Path(__file__).with_name("calibration.json")

OPERATORS = ("MatMul", "Attention")
_INT8_MAX = 127  # symmetric: -128 is not used, so that negation is exact


def quantise(*, draft: Path, output: Path, texts: Sequence[tuple[str, str]]) -> int:
    """Write the int8 draft of an fp32 draft; the same inputs give the same bytes.

    Args:
        draft: of `export`.
        output: folder to make.
        texts: typical (question, context) pairs, on which loud channels are looked for.

    Returns:
        Bytes of the graph.

    Raises:
        ModelLoadError: `draft` is not a draft, or its graph is damaged.
        ConfigError: it is not fp32, or `output` exists or cannot be written.
    """
    description = read_draft(draft)
    if description.precision != "fp32":
        raise ConfigError(f"{draft} is {description.precision} already; quantise an fp32 draft")
    try:
        graph = onnx.load(draft / MODEL_FILE)
        onnx.checker.check_model(graph)
    except Exception as error:
        raise ModelLoadError(f"{draft / MODEL_FILE}: not an ONNX graph: {error}") from error
    engine = open_measurable(draft, threads=1).engine
    windows = [window for pair in texts for window in engine.prepare(*pair).windows]
    with new_folder(output) as folder:
        content = quantised(graph, [engine.feeds(window) for window in windows])
        write_atomic(folder / MODEL_FILE, content)
        write_atomic(folder / TOKENIZER_FILE, (draft / TOKENIZER_FILE).read_bytes())
        write_draft(folder, description.model_copy(update={"precision": "int8"}))
    return len(content)


def calibration_texts() -> list[tuple[str, str]]:
    """The (question, context) pairs that `edgeqa models quantise` looks for loud channels on."""
    return [(question, text) for question, text in json.loads(CALIBRATION.read_bytes())]


def quantised(graph: onnx.ModelProto, feeds: Sequence[Feed]) -> bytes:
    """The int8 graph of an fp32 graph, serialised; `graph` is used up."""
    small = split_outliers(graph, measure_peaks(graph, feeds))
    _quantise_tables(graph)
    with tempfile.TemporaryDirectory() as scratch, _without_advice():
        path = Path(scratch) / MODEL_FILE
        quantize_dynamic(
            graph,
            path,
            op_types_to_quantize=list(OPERATORS),
            nodes_to_exclude=small,
            per_channel=True,
            weight_type=QuantType.QInt8,
            # Shape inference knows no com.microsoft operator; what they give is float32.
            extra_options={"DefaultTensorType": TensorProto.FLOAT},
        )
        smaller = onnx.load(path)
    return bytes(smaller.SerializeToString(deterministic=True))


def _quantise_tables(graph: onnx.ModelProto) -> None:
    """Replace Gather(table) by Cast(Gather(int8 table)) * Gather(scales), row by row."""
    tables = {
        tensor.name: tensor
        for tensor in graph.graph.initializer
        if tensor.data_type == TensorProto.FLOAT and len(tensor.dims) == 2  # noqa: PLR2004  a table
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


def _by_row(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
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


@contextmanager
def _without_advice() -> Iterator[None]:
    """Keep the quantiser from advising a pre-processing that cannot read fused graphs."""
    root = logging.getLogger()
    root.addFilter(_no_advice)
    try:
        yield
    finally:
        root.removeFilter(_no_advice)


def _no_advice(record: logging.LogRecord) -> bool:
    return "pre-processing before quantization" not in record.getMessage()
