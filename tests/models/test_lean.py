"""Quicker operators: what is there when onnxruntime is done with the graph, and the same values."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper
from support.tiny import questions

from edgeqa.reader.loading import OUTPUTS
from edgeqa_models.checkpoint import load_reader
from edgeqa_models.export import export
from edgeqa_models.graph import fuse, trace
from edgeqa_models.lean import open_attention, remove_lone_sums, remove_unused, replace_slow
from edgeqa_models.quantise import quantise

PAIRS = [(question, context) for question, context, _, _ in questions(4)]


@pytest.fixture(scope="module")
def distilbert_drafts(
    distilbert: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("lean")
    export(checkpoint=str(distilbert), output=folder / "fp32", questions=PAIRS)
    quantise(draft=folder / "fp32", output=folder / "int8", texts=PAIRS)
    return {"fp32": folder / "fp32", "int8": folder / "int8"}


def as_served(graph: bytes, folder: Path) -> Counter[Any]:
    """The operators that onnxruntime leaves after its own optimisation, as on a device."""
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    options.log_severity_level = 3
    ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    nodes = onnx.load(folder / "optimised.onnx").graph.node
    return Counter(node.op_type for node in nodes)


def test_onnxruntime_does_not_make_them_slow_again(
    fp32: Path, int8: Path, distilbert_drafts: dict[str, Path], tmp_path: Path
) -> None:
    for draft in (fp32, int8, *distilbert_drafts.values()):
        served = as_served((draft / "model.onnx").read_bytes(), tmp_path)
        assert not served.keys() & {"SkipLayerNormalization", "BiasGelu"}, draft
        assert served["LayerNormalization"] == 5
        assert served["Gelu"] == 2


def run(graph: onnx.ModelProto, feeds: dict[str, Any]) -> list[Any]:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(
        graph.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    known = {node.name for node in session.get_inputs()}
    return list(session.run(OUTPUTS, {k: v for k, v in feeds.items() if k in known}))


@pytest.mark.parametrize("kind", ["bert", "distilbert"])
@pytest.mark.parametrize("tokens", [1, 7, 200])
def test_the_same_logits_with_and_without_attention_opened(
    kind: str, tokens: int, request: pytest.FixtureRequest
) -> None:
    reader = load_reader(str(request.getfixturevalue(kind)))
    fused = fuse(trace(reader), reader)
    quick, opened = onnx.ModelProto(), onnx.ModelProto()
    quick.CopyFrom(fused)
    replace_slow(quick)
    opened.CopyFrom(quick)
    open_attention(opened)
    assert "attention_mask" in {tensor.name for tensor in quick.graph.input}
    assert "attention_mask" not in {tensor.name for tensor in opened.graph.input}
    ids = np.random.default_rng(tokens).integers(5, 90, (1, tokens))
    feeds = {
        "input_ids": ids,
        "attention_mask": np.ones_like(ids),
        "token_type_ids": (np.arange(tokens) > tokens // 2).astype(np.int64)[None],
    }
    before = run(fused, feeds)
    for graph in (quick, opened):
        onnx.checker.check_model(graph)
        for ours, theirs in zip(run(graph, feeds), before, strict=True):
            np.testing.assert_allclose(ours, theirs, atol=2e-4)


def test_distilbert_looks_no_token_type_up(distilbert_drafts: dict[str, Path]) -> None:
    for draft in distilbert_drafts.values():
        graph = onnx.load(draft / "model.onnx").graph
        assert not [t.name for t in graph.initializer if "token_type" in t.name]
        assert not {"Expand", "Where"} & {node.op_type for node in graph.node}


def test_a_bias_is_added_by_the_product_and_nowhere_else(int8: Path) -> None:
    graph = onnx.load(int8 / "model.onnx").graph
    vectors = {t.name for t in graph.initializer if len(t.dims) == 1}
    products = [node for node in graph.node if node.op_type == "DynamicQuantizeMatMul"]
    assert len(products) == 2 * 4 + 1
    # All but the head's, which torch adds before it splits the logits.
    assert sum(len(node.input) == 5 and node.input[4] in vectors for node in products) == 2 * 4
    sums = [node for node in graph.node if node.op_type == "Sum"]
    assert sums
    assert all(len(node.input) > 1 and not vectors & set(node.input) for node in sums)


def test_what_nothing_uses_goes_and_what_is_used_stays() -> None:
    info = {n: helper.make_tensor_value_info(n, TensorProto.FLOAT, [2]) for n in ("a", "b", "y")}
    one, two = (numpy_helper.from_array(np.ones(2, np.float32), name) for name in ("one", "two"))
    graph = helper.make_model(
        helper.make_graph(
            [
                helper.make_node("Add", ["a", "one"], ["c"]),
                helper.make_node("Sum", ["c"], ["d"]),
                helper.make_node("Add", ["b", "two"], ["unused"]),
                helper.make_node("Relu", ["d"], ["y"]),
            ],
            *("g", [info["a"], info["b"]], [info["y"]], [one, two]),
        )
    )
    remove_lone_sums(graph)
    remove_unused(graph)
    assert [node.op_type for node in graph.graph.node] == ["Add", "Relu"]
    assert [list(node.input) for node in graph.graph.node] == [["a", "one"], ["c"]]
    assert [tensor.name for tensor in graph.graph.input] == ["a"]
    assert [tensor.name for tensor in graph.graph.initializer] == ["one"]
