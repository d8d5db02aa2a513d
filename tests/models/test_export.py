"""Export: the graph is the torch model, or there is no draft."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import onnx
import onnxruntime as ort
import pytest
from onnx import numpy_helper
from support.tiny import make_tokenizer, questions, save_checkpoint
from tokenizers import Tokenizer

from edgeqa.errors import ConfigError, GateError, ModelLoadError
from edgeqa_models.checkpoint import load_reader
from edgeqa_models.draft import SERVED, open_measurable, read_draft
from edgeqa_models.export import export
from edgeqa_models.graph import IR_VERSION, OPSET
from edgeqa_models.parity import TOLERANCE, demand_parity, measure_parity

# Two windows each, so that stride, padding and token types are all used.
PAIRS = [(question, context) for question, context, _, _ in questions(5, words=500)]


def test_a_draft_gives_torchs_logits_and_says_what_it_is(fp32: Path, bert: Path) -> None:
    graph = onnx.load(fp32 / "model.onnx")
    onnx.checker.check_model(graph)
    assert graph.ir_version == IR_VERSION
    assert {o.domain: o.version for o in graph.opset_import} == {"": OPSET, "com.microsoft": 1}
    assert {node.name for node in graph.graph.input} == {
        *("input_ids", "attention_mask", "token_type_ids")
    }
    assert [node.name for node in graph.graph.output] == ["start_logits", "end_logits"]
    fused = [node.op_type for node in graph.graph.node]
    assert fused.count("Attention") == 2
    assert fused.count("SkipLayerNormalization") == 4
    assert fused.count("BiasGelu") == 2
    draft = read_draft(fp32)
    assert (draft.precision, draft.architecture.layers, draft.sizes) == ("fp32", 2, SERVED)
    parity = measure_parity(
        (fp32 / "model.onnx").read_bytes(), load_reader(str(bert)), PAIRS, SERVED
    )
    assert parity.windows > len(PAIRS)
    assert parity.max_difference < TOLERANCE
    assert parity.same_spans == parity.windows


def test_distilbert_has_no_token_types_and_is_fused_too(distilbert: Path, tmp_path: Path) -> None:
    made = export(checkpoint=str(distilbert), output=tmp_path / "d", questions=PAIRS)
    session = ort.InferenceSession(tmp_path / "d" / "model.onnx")
    assert {node.name for node in session.get_inputs()} == {"input_ids", "attention_mask"}
    assert made.parity.same_spans == made.parity.windows
    assert made.operators["SkipLayerNormalization"] == 4
    assert made.operators["Attention"] == 2
    assert open_measurable(tmp_path / "d", threads=1).engine.answer(*PAIRS[0]).spans


def test_the_tokenizer_is_written_without_state(bert: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(bert, tmp_path / "c")
    stateful = make_tokenizer()
    stateful.enable_truncation(8)
    stateful.enable_padding(length=8)
    stateful.save(str(copy / "tokenizer.json"))
    export(checkpoint=str(copy), output=tmp_path / "d", questions=PAIRS[:1])
    plain = json.loads((tmp_path / "d" / "tokenizer.json").read_text())
    assert plain["truncation"] is None
    assert plain["padding"] is None
    tokenizer = Tokenizer.from_file(str(tmp_path / "d" / "tokenizer.json"))
    assert tokenizer.encode("pump", "valve").ids == make_tokenizer().encode("pump", "valve").ids


def swap_outputs(graph: onnx.ModelProto) -> None:
    for node in graph.graph.node:
        for index, name in enumerate(node.output):
            if name in {"start_logits", "end_logits"}:
                node.output[index] = "end_logits" if name == "start_logits" else "start_logits"


def forget_mask(graph: onnx.ModelProto) -> None:
    for node in graph.graph.node:
        if node.op_type == "Attention":
            node.input[3] = ""


def nudge_head(graph: onnx.ModelProto) -> None:
    [bias] = [t for t in graph.graph.initializer if t.name.endswith("qa_outputs.bias")]
    bias.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(bias) + 0.01, bias.name))


@pytest.mark.parametrize("spoil", [swap_outputs, forget_mask, nudge_head])
def test_a_wrong_graph_fails_the_parity_check(fp32: Path, bert: Path, spoil: object) -> None:
    graph = onnx.load(fp32 / "model.onnx")
    spoil(graph)  # type: ignore[operator]  # one of the three above
    parity = measure_parity(graph.SerializeToString(), load_reader(str(bert)), PAIRS, SERVED)
    with pytest.raises(GateError) as caught:
        demand_parity(parity)
    assert caught.value.code == "parity_failed"


def test_failed_parity_leaves_no_draft(bert: Path, tmp_path: Path) -> None:
    with pytest.raises(GateError) as caught:
        export(checkpoint=str(bert), output=tmp_path / "d", questions=PAIRS[:2], tolerance=0.0)
    assert caught.value.code == "parity_failed"
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_not_overwritten(bert: Path, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    with pytest.raises(ConfigError) as caught:
        export(checkpoint=str(bert), output=tmp_path / "d", questions=PAIRS[:1])
    assert caught.value.code == "output_exists"


def refused(checkpoint: Path | str, tmp_path: Path) -> ModelLoadError:
    with pytest.raises(ModelLoadError) as caught:
        export(checkpoint=str(checkpoint), output=tmp_path / "out", questions=PAIRS[:1])
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()
    return caught.value


@pytest.mark.parametrize("kind", ["bert", "distilbert"])
def test_a_checkpoint_without_head_is_not_a_reader(kind: str, tmp_path: Path) -> None:
    folder = save_checkpoint(tmp_path / "c", kind=kind, head=False)
    assert refused(folder, tmp_path).code == "not_a_reader"


def test_another_architecture_is_refused(bert: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(bert, tmp_path / "c")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "roberta"}))
    assert refused(folder, tmp_path).code == "unsupported_architecture"


def test_a_head_of_three_outputs_is_refused(bert: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(bert, tmp_path / "c")
    config = json.loads((folder / "config.json").read_text())
    labels = {"id2label": {"0": "a", "1": "b", "2": "c"}, "label2id": {"a": 0, "b": 1, "c": 2}}
    (folder / "config.json").write_text(json.dumps({**config, **labels}))
    refused(folder, tmp_path)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
@pytest.mark.parametrize("damage", ["missing", "truncated", "garbage"])
def test_a_damaged_checkpoint_is_one_clear_line(
    bert: Path, tmp_path: Path, name: str, damage: str
) -> None:
    folder = shutil.copytree(bert, tmp_path / "c")
    content = (folder / name).read_bytes()
    if damage == "missing":
        (folder / name).unlink()
    else:
        bad = content[: len(content) // 2] if damage == "truncated" else b"\xff garbage" * 9
        (folder / name).write_bytes(bad)
    refused(folder, tmp_path)


def test_an_unknown_hub_id_offline_is_one_clear_line(tmp_path: Path) -> None:
    assert "nobody/no-such-model" in str(refused("nobody/no-such-model", tmp_path))
