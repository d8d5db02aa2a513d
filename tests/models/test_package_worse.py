"""Silently worse models on their last way into a package, with the default model as the victim.

Every file here belongs together as far as digests tell: only the check questions can know better.
They are asked when a package is made, and again wherever it is loaded.
"""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from support.reports import make_report
from support.tiny import make_tokenizer

from edgeqa.errors import EdgeqaError, GateError
from edgeqa.files import sha256_hex
from edgeqa.manifest import Manifest, Package, Training, open_package
from edgeqa.reader.engine import Engine
from edgeqa.reader.proof import prove
from edgeqa_models.draft import Draft, write_draft
from edgeqa_models.evidence import Evidence
from edgeqa_models.package import Label, package

DEFAULT = Path(__file__).parents[2] / "models" / "packages" / "minilm-l6-squad-0.1.2"
SOURCE = "f" * 64

Edit = Callable[[Path], None]


def edited(name: str, edit: Callable[[Any], None]) -> Edit:
    def change(folder: Path) -> None:
        if name.endswith(".json"):
            document = json.loads((folder / name).read_text())
            edit(document)
            (folder / name).write_text(json.dumps(document))
        else:
            graph = onnx.load(folder / name)
            edit(graph)
            onnx.save(graph, folder / name)

    return change


def permute(document: dict[str, Any]) -> None:
    words = [word for word in document["model"]["vocab"] if not word.startswith("[")]
    numbers = [document["model"]["vocab"][word] for word in words]
    random.Random(1).shuffle(numbers)
    document["model"]["vocab"].update(zip(words, numbers, strict=True))


def keep_capitals(document: dict[str, Any]) -> None:
    document["normalizer"]["lowercase"] = False


def swap_outputs(graph: onnx.ModelProto) -> None:
    for node in graph.graph.node:
        for index, name in enumerate(node.output):
            if name in {"start_logits", "end_logits"}:
                node.output[index] = "end_logits" if name == "start_logits" else "start_logits"


def swap_types(graph: onnx.ModelProto) -> None:
    [table] = [t for t in graph.graph.initializer if "token_type_embeddings" in t.name]
    table.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(table)[::-1].copy(), table.name))


def random_head(graph: onnx.ModelProto) -> None:
    """The head's int8 weights, as training began with them."""
    [node] = [
        n
        for n in graph.graph.node
        if n.op_type == "DynamicQuantizeMatMul" and "qa_outputs" in n.name
    ]
    tensor = next(t for t in graph.graph.initializer if t.name == node.input[1])
    made = np.random.default_rng(1).integers(-127, 128, tuple(tensor.dims)).astype(np.int8)
    tensor.CopyFrom(numpy_helper.from_array(made, tensor.name))


def foreign_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").write_text(make_tokenizer().to_str())


SPOILED = [
    pytest.param(edited("tokenizer.json", permute), id="vocabulary permuted"),
    pytest.param(edited("tokenizer.json", keep_capitals), id="capitals kept"),
    pytest.param(foreign_tokenizer, id="tokenizer of another model"),
    pytest.param(edited("model.onnx", swap_outputs), id="outputs exchanged"),
    pytest.param(edited("model.onnx", random_head), id="untrained head"),
]
# Not each check question notices: `package`, which demands every answer to the letter, sees it; a
# device, where rounding may differ, allows for more than that.
SUBTLE = pytest.param(edited("model.onnx", swap_types), id="token types exchanged")


def packaged(folder: Path, output: Path) -> Package:
    """`package` of the default model's files as they are in `folder`."""
    original = open_package(DEFAULT)
    draft = Draft(
        architecture=original.manifest.architecture, precision="int8", source_sha256=SOURCE
    )
    write_draft(folder, draft)
    own = make_report("int8", sha256_hex(folder / "model.onnx"))
    return package(
        draft=folder,
        output=output,
        label=Label("victim", "1.0.0", "Apache-2.0"),
        training=Training(base="b", base_licence="l", data=[], recipe={}),
        evidence=Evidence(own=own, fp32=make_report("fp32", SOURCE), baseline=own),
        checks=original.checks(),
    )


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    folder.mkdir()
    for name in ("model.onnx", "tokenizer.json"):
        shutil.copy(DEFAULT / name, folder / name)
    return folder


def test_the_unspoiled_model_is_packaged(files: Path, tmp_path: Path) -> None:
    made = packaged(files, tmp_path / "out")
    assert prove(Engine.load(made, threads=1), made).f1 == 100


@pytest.mark.parametrize("spoil", [*SPOILED, SUBTLE])
def test_a_silently_worse_model_is_not_packaged(files: Path, tmp_path: Path, spoil: Edit) -> None:
    spoil(files)
    with pytest.raises(GateError) as caught:
        packaged(files, tmp_path / "out")
    assert caught.value.code == "checks_failed"
    message = str(caught.value)
    assert "check questions are not answered" in message
    assert "\n" not in message
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    "spoil", [edited("tokenizer.json", permute), edited("model.onnx", swap_outputs)]
)
def test_the_message_says_what_so_many_wrong_answers_mean(
    files: Path, tmp_path: Path, spoil: Edit
) -> None:
    spoil(files)
    with pytest.raises(GateError, match="another model's tokenizer") as caught:
        packaged(files, tmp_path / "out")
    assert "more" in str(caught.value)
    assert len(str(caught.value)) < 1500


def forge(folder: Path) -> Package:
    """A package around changed files whose digests are all right."""
    raw = json.loads((DEFAULT / "manifest.json").read_text())
    raw["cards"] = []  # they name the model.onnx that was measured
    shutil.copy(DEFAULT / "checks.json", folder)
    for name, entry in raw["files"].items():
        content = (folder / name).read_bytes()
        entry.update(sha256=hashlib.sha256(content).hexdigest(), bytes=len(content))
    (folder / "manifest.json").write_text(json.dumps(raw))
    Manifest.model_validate(raw)
    return open_package(folder)


@pytest.mark.parametrize("spoil", SPOILED)
def test_a_silently_worse_package_does_not_serve(files: Path, spoil: Edit) -> None:
    spoil(files)
    made = forge(files)
    with pytest.raises(EdgeqaError) as caught:
        prove(Engine.load(made, threads=1), made)
    assert caught.value.code == "checks_failed"
