"""Silently worse models, as they are exported: each mistake is caught, and the message names it.

Source of the list: FIELD.md, the most reported trap of quantised and exported models.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import transformers
from onnx import numpy_helper
from safetensors.torch import load_file, save_file
from support.tiny import WORDS, make_tokenizer, questions, vocabulary

from edgeqa.errors import GateError, ModelLoadError
from edgeqa_models.checkpoint import ReaderCheckpoint, load_reader
from edgeqa_models.diagnosis import explain
from edgeqa_models.draft import SERVED
from edgeqa_models.export import export
from edgeqa_models.graph import fuse, trace
from edgeqa_models.parity import demand_parity, measure_parity

# Two windows each, so that stride, padding and token types are all used.
PAIRS = [(question, context) for question, context, _, _ in questions(5, words=500)]


def swap_outputs(graph: onnx.ModelProto) -> None:
    for node in graph.graph.node:
        for index, name in enumerate(node.output):
            if name in {"start_logits", "end_logits"}:
                node.output[index] = "end_logits" if name == "start_logits" else "start_logits"


def swap_inputs(graph: onnx.ModelProto) -> None:
    other = {"attention_mask": "token_type_ids", "token_type_ids": "attention_mask"}
    for node in graph.graph.node:
        for index, name in enumerate(node.input):
            node.input[index] = other.get(name, name)


def forget_mask(graph: onnx.ModelProto) -> None:
    for node in graph.graph.node:
        if node.op_type == "Attention":
            node.input[3] = ""


def forget_types(graph: onnx.ModelProto) -> None:
    [table] = [t for t in graph.graph.initializer if "token_type_embeddings" in t.name]
    rows = numpy_helper.to_array(table).copy()
    rows[1] = rows[0]
    table.CopyFrom(numpy_helper.from_array(rows, table.name))


def drop_input(graph: onnx.ModelProto) -> None:
    forget_mask(graph)
    kept = [node for node in graph.graph.input if node.name != "attention_mask"]
    del graph.graph.input[:]
    graph.graph.input.extend(kept)
    nodes = [node for node in graph.graph.node if "attention_mask" not in " ".join(node.input)]
    del graph.graph.node[:]
    graph.graph.node.extend(nodes)


def head_weights(graph: onnx.ModelProto) -> onnx.TensorProto:
    [node] = [n for n in graph.graph.node if n.op_type == "MatMul" and "qa_outputs" in n.name]
    return next(t for t in graph.graph.initializer if t.name == node.input[1])


def random_head(graph: onnx.ModelProto) -> None:
    tensor = head_weights(graph)
    made = np.random.default_rng(1).normal(0, 0.02, tuple(tensor.dims)).astype(np.float32)
    tensor.CopyFrom(numpy_helper.from_array(made, tensor.name))


def nudged_head(graph: onnx.ModelProto) -> None:
    [bias] = [t for t in graph.graph.initializer if t.name.endswith("qa_outputs.bias")]
    bias.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(bias) + 0.01, bias.name))


def not_a_number(graph: onnx.ModelProto) -> None:
    [bias] = [t for t in graph.graph.initializer if t.name.endswith("qa_outputs.bias")]
    bias.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(bias) * np.nan, bias.name))


def other_layer(graph: onnx.ModelProto) -> None:
    tensor = next(t for t in graph.graph.initializer if t.name == "Attention_1_qkv_weight")
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor)[::-1], tensor.name))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (swap_outputs, "start_logits and end_logits are exchanged"),
        (swap_inputs, "the inputs attention_mask and token_type_ids are exchanged"),
        (forget_mask, "attention_mask has no effect"),
        (forget_types, "token_type_ids has no effect"),
        (random_head, "its question answering head is another"),
        (nudged_head, "its question answering head is another"),
        (not_a_number, "values that are not numbers"),
        (other_layer, "is not the torch model; logits differ"),
    ],
)
def test_a_graph_that_is_not_its_checkpoint_is_refused_with_the_reason(
    fp32: Path, bert: Path, spoil: Callable[[onnx.ModelProto], None], said: str
) -> None:
    graph = onnx.load(fp32 / "model.onnx")
    spoil(graph)
    content, reader = graph.SerializeToString(), load_reader(str(bert))
    with pytest.raises(GateError) as caught:
        demand_parity(
            measure_parity(content, reader, PAIRS, SERVED),
            explain=lambda: explain(content, reader, PAIRS, SERVED),
        )
    assert caught.value.code == "parity_failed"
    assert said in str(caught.value)


def test_a_graph_without_mask_is_named(fp32: Path, bert: Path) -> None:
    graph = onnx.load(fp32 / "model.onnx")
    drop_input(graph)
    with pytest.raises(GateError, match="inputs input_ids, token_type_ids") as caught:
        measure_parity(graph.SerializeToString(), load_reader(str(bert)), PAIRS, SERVED)
    assert caught.value.code == "parity_failed"


def test_the_head_of_another_checkpoint_is_named(bert: Path, tmp_path: Path) -> None:
    """The graph of a checkpoint with the same encoder and another head."""
    weights = load_file(bert / "model.safetensors")
    torch.manual_seed(1)
    other = shutil.copytree(bert, tmp_path / "c")
    weights["qa_outputs.weight"] = torch.randn_like(weights["qa_outputs.weight"])
    save_file(weights, other / "model.safetensors", {"format": "pt"})
    theirs, ours = load_reader(str(other)), load_reader(str(bert))
    content = fuse(trace(theirs), theirs).SerializeToString()
    assert measure_parity(content, ours, PAIRS, SERVED).max_difference > 0.1
    assert "head is another" in explain(content, ours, PAIRS, SERVED)


def test_an_export_that_goes_wrong_leaves_no_draft(
    bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole command path with an exporter that exchanges the outputs."""

    def wrong(graph: onnx.ModelProto, reader: ReaderCheckpoint) -> onnx.ModelProto:
        made = fuse(graph, reader)
        swap_outputs(made)
        return made

    monkeypatch.setattr("edgeqa_models.export.fuse", wrong)
    with pytest.raises(GateError, match="start_logits and end_logits are exchanged"):
        export(checkpoint=str(bert), output=tmp_path / "out", questions=PAIRS)
    assert list(tmp_path.iterdir()) == []


Edit = Callable[[dict[str, Any]], None]


def retokenised(checkpoint: Path, folder: Path, edit: Edit) -> Path:
    """A copy of a checkpoint with an edited tokenizer.json."""
    made = shutil.copytree(checkpoint, folder)
    document = json.loads((made / "tokenizer.json").read_text())
    edit(document)
    (made / "tokenizer.json").write_text(json.dumps(document))
    return made


def no_specials(document: dict[str, Any]) -> None:
    document["post_processor"] = None


def no_last_separator(document: dict[str, Any]) -> None:
    document["post_processor"]["pair"].pop()


def no_middle_separator(document: dict[str, Any]) -> None:
    del document["post_processor"]["pair"][2]


def no_types(document: dict[str, Any]) -> None:
    for piece in document["post_processor"]["pair"]:
        next(iter(piece.values()))["type_id"] = 0


def swapped_specials(document: dict[str, Any]) -> None:
    tokens = document["post_processor"]["special_tokens"]
    first, last = tokens["[CLS]"]["ids"], tokens["[SEP]"]["ids"]
    tokens["[CLS]"]["ids"], tokens["[SEP]"]["ids"] = last, first


def keeps_capitals(document: dict[str, Any]) -> None:
    document["normalizer"]["lowercase"] = False


def cased(document: dict[str, Any]) -> None:
    words = document["model"]["vocab"]
    for word in WORDS:
        if len(word) > 1:
            words[word.upper()] = words.pop(word)


def splits_nothing(document: dict[str, Any]) -> None:
    document["pre_tokenizer"] = None


def more_tokens(document: dict[str, Any]) -> None:
    document["model"]["vocab"].update({f"word{n}": len(vocabulary()) + n for n in range(9)})


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (no_specials, "[CLS] question [SEP] context [SEP]"),
        (no_last_separator, "[CLS] question [SEP] context [SEP]"),
        (no_middle_separator, "[CLS] question [SEP] context [SEP]"),
        (swapped_specials, "around question and context"),
        (no_types, "token types"),
        (keeps_capitals, "do_lower_case should be true"),
        (cased, "do_lower_case should be false"),
        (splits_nothing, "does not know"),
        (more_tokens, "but the model knows"),
    ],
)
def test_a_tokenizer_that_contradicts_itself_or_its_model_is_refused(
    bert: Path, tmp_path: Path, edit: Edit, said: str
) -> None:
    folder = retokenised(bert, tmp_path / "c", edit)
    with pytest.raises(ModelLoadError) as caught:
        export(checkpoint=str(folder), output=tmp_path / "out", questions=PAIRS)
    assert caught.value.code == "tokenizer_mismatch"
    assert said in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_much_smaller_vocabulary_is_another_models(tmp_path: Path, bert: Path) -> None:
    config = transformers.AutoConfig.from_pretrained(bert)
    for rows, fits in ((len(vocabulary()) + 128, True), (len(vocabulary()) + 129, False)):
        config.vocab_size = rows
        folder = shutil.copytree(bert, tmp_path / f"c{rows}")
        transformers.BertForQuestionAnswering(config).save_pretrained(folder)
        if fits:
            load_reader(str(folder))
            continue
        with pytest.raises(ModelLoadError, match=f"but the model {rows}") as caught:
            load_reader(str(folder))
        assert caught.value.code == "tokenizer_mismatch"


def test_the_padding_token_of_another_vocabulary_is_refused(bert: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(bert, tmp_path / "c")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "pad_token_id": 3}))
    with pytest.raises(ModelLoadError, match="fills up with token 0, the model with 3"):
        load_reader(str(folder))


def with_fast_tokenizer(checkpoint: Path, folder: Path, **options: Any) -> Path:
    """A checkpoint as bert-base-uncased is published: BertTokenizerFast and vocab.txt."""
    made = shutil.copytree(checkpoint, folder)
    fast = transformers.BertTokenizerFast(tokenizer_object=make_tokenizer(), **options)
    fast.save_pretrained(made)
    return made


def test_a_vocabulary_in_another_order_than_its_list_is_refused(bert: Path, tmp_path: Path) -> None:
    folder = with_fast_tokenizer(bert, tmp_path / "c")
    (folder / "vocab.txt").write_text("\n".join(vocabulary()) + "\n")
    load_reader(str(folder))
    lines = vocabulary()
    lines[20], lines[30] = lines[30], lines[20]
    (folder / "vocab.txt").write_text("\n".join(lines) + "\n")
    with pytest.raises(ModelLoadError, match=r"token 20 .* vocab\.txt") as caught:
        load_reader(str(folder))
    assert caught.value.code == "tokenizer_mismatch"


def test_a_flag_that_overrides_the_tokenizer_file_is_refused(bert: Path, tmp_path: Path) -> None:
    """transformers rebuilds the normaliser from do_lower_case, silently."""
    folder = with_fast_tokenizer(bert, tmp_path / "c")
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**config, "do_lower_case": False}))
    with pytest.raises(ModelLoadError, match="do_lower_case") as caught:
        load_reader(str(folder))
    assert caught.value.code == "tokenizer_mismatch"


def test_a_published_looking_checkpoint_is_accepted(bert: Path, tmp_path: Path) -> None:
    load_reader(str(with_fast_tokenizer(bert, tmp_path / "c")))
