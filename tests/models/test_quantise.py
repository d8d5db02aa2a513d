"""Quantisation: smaller, near, and the same bytes each time."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper
from support.tiny import questions

from edgeqa.errors import ConfigError, ModelLoadError
from edgeqa_models.draft import open_measurable, read_draft
from edgeqa_models.outliers import measure_peaks, split_outliers
from edgeqa_models.quantise import quantise, quantised

TEXTS = [(question, context) for question, context, _, _ in questions(4)]


def test_matrices_and_tables_are_int8_and_nothing_large_is_float(int8: Path) -> None:
    graph = onnx.load(int8 / "model.onnx")
    onnx.checker.check_model(graph)
    for tensor in graph.graph.initializer:
        if len(tensor.dims) == 2 and min(tensor.dims) > 2:
            assert tensor.data_type == TensorProto.INT8, tensor.name
    kinds = {node.op_type for node in graph.graph.node}
    assert "QAttention" in kinds
    assert not {"MatMul", "Attention"} & kinds
    assert read_draft(int8).precision == "int8"


def test_int8_is_smaller_and_near_fp32(fp32: Path, int8: Path) -> None:
    assert (int8 / "model.onnx").stat().st_size < 0.7 * (fp32 / "model.onnx").stat().st_size
    one, other = (open_measurable(path, threads=1).engine for path in (fp32, int8))
    for question, context, _, _ in questions(5):
        window = one.prepare(question, context).windows[0]
        for a, b in zip(one.logits(window), other.logits(window), strict=True):
            assert np.corrcoef(a, b)[0, 1] > 0.85  # random weights are harsher than trained


def test_the_same_draft_gives_the_same_bytes_in_any_process(fp32: Path, tmp_path: Path) -> None:
    made = []
    for seed in ("1", "2"):
        output = tmp_path / seed
        subprocess.run(
            [sys.executable, "-m", "edgeqa.cli", "models", "quantise", fp32, "--output", output],
            check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
        )
        made.append({path.name: path.read_bytes() for path in output.iterdir()})
    assert made[0] == made[1]


def product(weights: np.ndarray) -> onnx.ModelProto:
    """A graph that is one product: [batch, tokens, 32] by [32, 16]."""
    shapes = {"x": ["batch", "tokens", 32], "y": ["batch", "tokens", 16]}
    info = {n: helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in shapes.items()}
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"], "product")],
        *("product", [info["x"]], [info["y"]], [numpy_helper.from_array(weights, "w")]),
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize(("loudness", "kept"), [(100.0, ["product_small"]), (1.0, [])])
def test_loud_channels_are_kept_apart_and_only_those(loudness: float, kept: list[str]) -> None:
    rng = np.random.default_rng(1)
    weights = rng.normal(0, 1, (32, 16)).astype(np.float32)
    x = rng.uniform(-1, 1, (1, 50, 32)).astype(np.float32)
    x[..., [3, 17]] *= loudness
    feeds: list[Any] = [{"x": x}]
    graph = product(weights)
    assert split_outliers(graph, measure_peaks(graph, feeds)) == kept

    def error(model: bytes) -> float:
        [y] = ort.InferenceSession(model).run(None, feeds[0])
        return float(np.abs(y - x @ weights).mean())

    assert error(graph.SerializeToString()) < 1e-4
    apart, together = (quantised(product(weights), some) for some in (feeds, []))
    if kept:
        assert error(apart) < 0.1 * error(together)
    else:
        assert apart == together


def test_what_is_not_an_fp32_draft_is_refused(fp32: Path, int8: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="int8 already"):
        quantise(draft=int8, output=tmp_path / "out", texts=TEXTS)
    with pytest.raises(ModelLoadError) as caught:
        quantise(draft=tmp_path, output=tmp_path / "out", texts=TEXTS)
    assert caught.value.code == "draft_malformed"
    for damage in (b"", b"garbage", (fp32 / "model.onnx").read_bytes()[:5000]):
        copy = shutil.copytree(fp32, tmp_path / "copy", dirs_exist_ok=True)
        (copy / "model.onnx").write_bytes(damage)
        with pytest.raises(ModelLoadError, match=r"model\.onnx"):
            quantise(draft=copy, output=tmp_path / "out", texts=TEXTS)
    for text in ("", "{}", '{"precision": "fp32"}'):
        (copy / "draft.json").write_text(text)
        with pytest.raises(ModelLoadError) as caught:
            quantise(draft=copy, output=tmp_path / "out", texts=TEXTS)
        assert caught.value.code == "draft_malformed"
    assert not (tmp_path / "out").exists()
