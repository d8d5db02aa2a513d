"""Export: the graph is the torch model, or there is no draft."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import onnx
import onnxruntime as ort
import pytest
import transformers
from support.tiny import make_tokenizer, questions
from tokenizers import Tokenizer

from edgeqa.errors import ConfigError, GateError, ModelLoadError
from edgeqa.files import sha256_hex
from edgeqa.manifest import Architecture
from edgeqa_models.checkpoint import load_reader
from edgeqa_models.checks import SHIPPED, read_checks
from edgeqa_models.draft import SERVED, open_measurable, read_draft
from edgeqa_models.export import export
from edgeqa_models.graph import demand_room
from edgeqa_models.parity import TOLERANCE, measure_parity
from edgeqa_models.portable import IR_VERSION, OPSET
from edgeqa_models.quantise import calibration_texts, quantise
from edgeqa_models.variants import Variant

# Two windows each, so that stride, padding and token types are all used.
PAIRS = [(question, context) for question, context, _, _ in questions(5, words=500)]
# At most so much of fp32's bytes.
SHARES = {Variant.INT8: 0.26, Variant.INT8_BLOCK: 0.29, Variant.INT4_BLOCK: 0.2, Variant.FP16: 0.51}


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
    assert fused.count("LayerNormalization") == 5
    assert fused.count("Gelu") == 2
    draft = read_draft(fp32)
    assert (draft.precision, draft.architecture.layers, draft.sizes) == ("fp32", 2, SERVED)
    assert draft.source_sha256 is None
    assert {name: entry.sha256 for name, entry in draft.files.items()} == {
        name: sha256_hex(fp32 / name) for name in ("model.onnx", "tokenizer.json")
    }
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
    assert made.operators["LayerNormalization"] == 5
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


def with_config(checkpoint: Path, folder: Path, **changes: object) -> Path:
    """A copy of a checkpoint with another config.json."""
    copy = shutil.copytree(checkpoint, folder)
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, **changes}))
    return copy


@pytest.mark.parametrize("kind", ["bert", "distilbert"])
@pytest.mark.parametrize(("activation", "operator"), [("relu", "Relu"), ("gelu_new", "FastGelu")])
def test_other_activations_are_exported_too(
    kind: str, activation: str, operator: str, tmp_path: Path, request: Any
) -> None:
    field = {"bert": "hidden_act", "distilbert": "activation"}[kind]
    copy = with_config(request.getfixturevalue(kind), tmp_path / "c", **{field: activation})
    made = export(checkpoint=str(copy), output=tmp_path / "d", questions=PAIRS)
    assert made.operators[operator] == 2
    assert made.operators["Attention"] == 2


def test_a_graph_that_was_not_fused_is_refused(bert: Path, tmp_path: Path) -> None:
    """Relative positions add a term to attention that the fusion does not know."""
    transformers.set_seed(7)
    config = transformers.AutoConfig.from_pretrained(bert)
    config.position_embedding_type = "relative_key"
    folder = shutil.copytree(bert, tmp_path / "c")
    transformers.BertForQuestionAnswering(config).save_pretrained(folder)
    with pytest.raises(ModelLoadError) as caught:
        export(checkpoint=str(folder), output=tmp_path / "d", questions=PAIRS)
    assert caught.value.code == "fusion_failed"
    assert "0 of 2 Attention" in str(caught.value)
    assert not (tmp_path / "d").exists()


def test_a_model_beyond_an_onnx_file_is_refused_before_it_is_traced() -> None:
    shape = {"type": "bert", "layers": 24, "hidden": 1024, "heads": 16, "vocabulary": 30522}
    demand_room(Architecture(**shape, parameters=335_000_000))  # BERT-large
    with pytest.raises(ModelLoadError) as caught:
        demand_room(Architecture(**shape, parameters=540_000_000))
    assert caught.value.code == "model_too_large"
    assert "2.1 GB" in str(caught.value)


def test_questions_that_no_reader_takes_are_left_out_and_progress_is_told(
    bert: Path, tmp_path: Path
) -> None:
    told: list[tuple[int, int]] = []
    made = export(
        checkpoint=str(bert),
        output=tmp_path / "d",
        questions=[*PAIRS, ("what " * 100, "pump"), ("", "pump"), ("pump", "")],
        on_progress=lambda done, total: told.append((done, total)),
    )
    assert made.parity.questions == len(PAIRS)
    assert told[-1] == (made.parity.windows, made.parity.windows)
    assert [done for done, _ in told] == sorted({done for done, _ in told})


def test_an_export_that_could_compare_nothing_is_refused(bert: Path, tmp_path: Path) -> None:
    with pytest.raises(GateError) as caught:
        export(checkpoint=str(bert), output=tmp_path / "d", questions=[("", "")])
    assert caught.value.code == "parity_failed"


@pytest.mark.slow
def test_the_command_says_what_it_fused_compared_and_thinks_of_the_reader(
    bert: Path, squad_file: Path, tmp_path: Path
) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "edgeqa.cli", "models", "export", bert),
            *("--output", tmp_path / "d", "--data", squad_file),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "attention fused in 2 of 2 layers" in done.stdout
    [parity] = [line for line in done.stdout.splitlines() if line.startswith("parity")]
    asked = len(read_checks(SHIPPED)) + 24
    assert f"windows of {asked} questions" in parity
    # Random weights answer next to nothing, and somebody should be told.
    assert "WARNING: the reader misses most check questions" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["bert", "distilbert"])
def test_full_size_models_are_exported_and_quantised(kind: str, tmp_path: Path) -> None:
    """BertConfig() and DistilBertConfig() as they are, with random weights."""
    config, made = {
        "bert": (transformers.BertConfig(), transformers.BertForQuestionAnswering),
        "distilbert": (
            transformers.DistilBertConfig(),
            transformers.DistilBertForQuestionAnswering,
        ),
    }[kind]
    transformers.set_seed(7)
    made(config).save_pretrained(tmp_path / "c")
    default = Path(__file__).parents[2] / "models" / "packages" / "minilm-l6-squad-0.1.2"
    transformers.BertTokenizerFast(tokenizer_file=str(default / "tokenizer.json")).save_pretrained(
        tmp_path / "c"
    )
    layers, megabytes = {"bert": (12, 436), "distilbert": (6, 265)}[kind]
    checks = [(check.question, check.context) for check in read_checks(SHIPPED)]
    exported = export(checkpoint=str(tmp_path / "c"), output=tmp_path / "fp32", questions=checks)
    assert exported.operators["Attention"] == layers
    assert exported.parity.same_spans == exported.parity.windows
    assert abs(exported.bytes / 1e6 - megabytes) < 2
    for variant, share in SHARES.items():
        output = tmp_path / variant
        small = quantise(
            draft=tmp_path / "fp32", output=output, texts=calibration_texts(), variant=variant
        )
        assert small.bytes < share * exported.bytes
        assert open_measurable(output, threads=1).engine.answer(*checks[0]).spans
        shutil.rmtree(output)
