"""Quantisation: smaller, near, and the same bytes each time, for every variant."""

from __future__ import annotations

import os
import platform
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

from edgeqa.errors import ConfigError, GateError, ModelLoadError
from edgeqa.files import sha256_hex
from edgeqa.manifest import Manifest
from edgeqa_models.draft import SERVED, open_measurable, read_draft
from edgeqa_models.drift import measure_drift
from edgeqa_models.export import export
from edgeqa_models.halves import to_halves
from edgeqa_models.outliers import measure_peaks, split_outliers
from edgeqa_models.portable import IR_VERSION, OPERATORS, OPSET, demand_portable
from edgeqa_models.quantise import calibration_texts, converted, quantise
from edgeqa_models.variants import ABOUT, Variant, listed

TEXTS = [(question, context) for question, context, _, _ in questions(4)]


@pytest.fixture(scope="module")
def drafts(
    fp32: Path, distilbert: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, Path]]:
    """Every variant, fp32 too, of a BERT and of a DistilBERT."""
    folder = tmp_path_factory.mktemp("variants")
    export(checkpoint=str(distilbert), output=folder / "distilbert-fp32", questions=TEXTS)
    made = {}
    for kind, source in {"bert": fp32, "distilbert": folder / "distilbert-fp32"}.items():
        made[kind] = {"fp32": source}
        for variant in Variant:
            output = folder / f"{kind}-{variant}"
            quantise(draft=source, output=output, texts=TEXTS, variant=variant)
            made[kind][variant.value] = output
    return made


KINDS = pytest.mark.parametrize("kind", ["bert", "distilbert"])
VARIANTS = pytest.mark.parametrize("variant", list(Variant))


def test_int8_has_no_float_matrix_or_table(int8: Path) -> None:
    graph = onnx.load(int8 / "model.onnx")
    onnx.checker.check_model(graph)
    for tensor in graph.graph.initializer:
        if len(tensor.dims) == 2 and min(tensor.dims) > 2:
            assert tensor.data_type == TensorProto.INT8, tensor.name
    kinds = {node.op_type for node in graph.graph.node}
    assert {"DynamicQuantizeMatMul", "MultiHeadAttention"} < kinds
    assert not {"MatMul", "Attention"} & kinds
    assert {tensor.name for tensor in graph.graph.input} == {"input_ids", "token_type_ids"}
    assert read_draft(int8).precision == "int8"


@KINDS
@pytest.mark.parametrize(("variant", "bits"), [("int8-block", 8), ("int4-block", 4)])
def test_blocks_take_every_product_and_table(
    drafts: dict[str, dict[str, Path]], kind: str, variant: str, bits: int
) -> None:
    graph = onnx.load(drafts[kind][variant] / "model.onnx").graph
    products = [node for node in graph.node if node.op_type == "MatMulNBits"]
    # Query, key and value in one, output, two of the feed-forward part; and the head.
    assert len(products) == 2 * 4 + 1
    for node in products:
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        assert (attributes["bits"], attributes["block_size"]) == (bits, 32)
    assert not {"MatMul", "Attention"} & {node.op_type for node in graph.node}
    assert all(t.data_type != TensorProto.FLOAT or len(t.dims) < 2 or t.dims[0] == 2
               or t.name.endswith("_scale") for t in graph.initializer)  # fmt: skip


@KINDS
def test_halves_hold_no_float_matrix(drafts: dict[str, dict[str, Path]], kind: str) -> None:
    before, after = (drafts[kind][name] / "model.onnx" for name in ("fp32", "fp16"))
    assert all(
        tensor.data_type == TensorProto.FLOAT16 or len(tensor.dims) < 2
        for tensor in onnx.load(after).graph.initializer
        if tensor.data_type in {TensorProto.FLOAT, TensorProto.FLOAT16}
    )
    assert after.stat().st_size < 0.7 * before.stat().st_size


def _adds_in_32_bits() -> bool:
    """Whether this processor adds up products of 8 bits without saturating: VNNI, or ARM64."""
    if platform.machine() != "x86_64":
        return True
    return "vnni" in Path("/proc/cpuinfo").read_text(encoding="utf-8")


# Random weights are harsher than trained ones: the tables of docs/models.md have those. Without
# VNNI pairs of products are added up in 16 bits, which weights as large as these overflow.
NEAR = {
    "int8": 0.85 if _adds_in_32_bits() else 0.5,
    "int8-block": 0.97,
    "int4-block": 0.5,
    "fp16": 0.99999,
}


@KINDS
@VARIANTS
def test_a_variant_is_smaller_near_fp32_and_says_what_it_is(
    drafts: dict[str, dict[str, Path]], kind: str, variant: Variant
) -> None:
    before, after = drafts[kind]["fp32"], drafts[kind][variant]
    assert (after / "model.onnx").stat().st_size < 0.75 * (before / "model.onnx").stat().st_size
    one, other = (open_measurable(path, threads=1).engine for path in (before, after))
    pairs = [(question, context) for question, context, _, _ in questions(5)]
    assert measure_drift(one, other, pairs, SERVED).correlation > NEAR[variant]
    draft = read_draft(after)
    assert draft.precision == variant
    assert draft.source_sha256 == sha256_hex(before / "model.onnx")
    assert (after / "tokenizer.json").read_bytes() == (before / "tokenizer.json").read_bytes()


@KINDS
def test_every_operator_of_every_variant_is_one_that_was_run_on_arm64(
    drafts: dict[str, dict[str, Path]], kind: str
) -> None:
    assert set(drafts[kind]) == {"fp32", *Variant}
    for folder in drafts[kind].values():
        graph = onnx.load(folder / "model.onnx")
        demand_portable(graph)
        assert graph.ir_version <= IR_VERSION
        versions = {o.domain: o.version for o in graph.opset_import}
        assert versions[""] == OPSET
        for node in graph.graph.node:
            assert node.op_type in OPERATORS[node.domain], node.op_type


def test_a_graph_that_a_device_may_not_load_is_refused(fp32: Path) -> None:
    def operator(graph: onnx.ModelProto) -> None:
        graph.graph.node[-1].op_type = "Squeezed"

    def domain(graph: onnx.ModelProto) -> None:
        graph.graph.node[-1].domain = "com.example"

    def opset(graph: onnx.ModelProto) -> None:
        graph.opset_import[0].version = OPSET + 1

    def version(graph: onnx.ModelProto) -> None:
        graph.ir_version = IR_VERSION + 1

    def elsewhere(graph: onnx.ModelProto) -> None:
        graph.graph.initializer[0].data_location = TensorProto.EXTERNAL

    for spoil in (operator, domain, opset, version, elsewhere):
        graph = onnx.load(fp32 / "model.onnx")
        demand_portable(graph)
        spoil(graph)
        with pytest.raises(ModelLoadError) as caught:
            demand_portable(graph)
        assert caught.value.code == "unsupported_operator"


@pytest.mark.slow
def test_the_same_draft_gives_the_same_bytes_in_any_process(fp32: Path, tmp_path: Path) -> None:
    script = """
import sys
from pathlib import Path
from edgeqa_models.quantise import calibration_texts, quantise
from edgeqa_models.variants import Variant
for variant in Variant:
    quantise(draft=Path(sys.argv[1]), output=Path(sys.argv[2]) / variant,
             texts=calibration_texts(), variant=variant)
"""
    made = []
    for seed in ("1", "2"):
        output = tmp_path / seed
        subprocess.run(
            [sys.executable, "-c", script, fp32, output],
            check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        )
        paths = sorted(path for path in output.rglob("*") if path.is_file())
        made.append({str(path.relative_to(output)): path.read_bytes() for path in paths})
    assert len(made[0]) == 3 * len(Variant)
    assert made[0] == made[1]


def test_every_variant_is_explained_and_is_a_precision_of_the_manifest() -> None:
    assert set(ABOUT) == set(Variant)
    done = subprocess.run(
        [sys.executable, "-m", "edgeqa.cli", "models", "quantise", "--list"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == listed()
    precisions = Manifest.model_fields["precision"].annotation.__args__  # type: ignore[union-attr]
    assert {*Variant, "fp32"} == set(precisions)


def test_an_unknown_variant_is_refused_by_name(fp32: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "edgeqa.cli", "models", "quantise", fp32),
            *("--output", tmp_path / "out", "--variant", "int2"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "int8-block" in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_result_that_computes_something_else_is_refused(fp32: Path) -> None:
    before = open_measurable(fp32, threads=1).engine
    swapped, broken = (open_measurable(fp32, threads=1).engine for _ in range(2))
    logits = before.logits
    swapped.logits = lambda window: tuple(value[::-1] for value in logits(window))  # type: ignore[method-assign,assignment]
    broken.logits = lambda window: tuple(0 * value for value in logits(window))  # type: ignore[method-assign,assignment]
    for after in (swapped, broken):
        with pytest.raises(GateError) as caught:
            measure_drift(before, after, TEXTS, SERVED)
        assert caught.value.code == "parity_failed"


def test_weights_too_large_for_fp16_are_refused() -> None:
    with pytest.raises(ModelLoadError, match="too large for fp16"):
        to_halves(product(np.full((32, 16), 1e5, np.float32)))


def test_calibration_texts_are_well_formed() -> None:
    assert all(question and context for question, context in calibration_texts())


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
    apart, together = (converted(product(weights), Variant.INT8, some) for some in (feeds, []))
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
