"""A package's graph as a torch checkpoint again."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from support.reports import make_report
from support.tiny import questions
from support.workshop import edgeqa

from edgeqa.errors import ConfigError, GateError, ModelLoadError
from edgeqa.files import sha256_hex
from edgeqa.manifest import MODEL_FILE, Check, Training, open_package
from edgeqa_models.checkpoint import load_reader
from edgeqa_models.draft import open_measurable
from edgeqa_models.evidence import Evidence
from edgeqa_models.export import export
from edgeqa_models.package import Label, package
from edgeqa_models.quantise import quantise
from edgeqa_models.recover import recover

PACKAGES = Path(__file__).parents[2] / "models" / "packages"


@dataclass(frozen=True)
class Made:
    """A checkpoint whose weights all differ, as training leaves them, and its packages."""

    checkpoint: Path
    fp32: Path
    int8: Path


@pytest.fixture(scope="module")
def made(bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("recover")
    reader = load_reader(str(bert))
    torch.manual_seed(3)
    for parameter in reader.model.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    reader.model.save_pretrained(folder / "checkpoint")
    reader.tokenizer.save_pretrained(folder / "checkpoint")
    pairs = [(question, context) for question, context, _, _ in questions(6, words=120)]
    export(checkpoint=str(folder / "checkpoint"), output=folder / "fp32", questions=pairs)
    quantise(draft=folder / "fp32", output=folder / "int8", texts=pairs[:4])
    source = make_report("fp32", sha256_hex(folder / "fp32" / MODEL_FILE))
    packages = {}
    for precision in ("fp32", "int8"):
        draft = folder / precision
        engine = open_measurable(draft, threads=1).engine
        own = make_report(precision, sha256_hex(draft / MODEL_FILE))
        packages[precision] = package(
            draft=draft,
            output=folder / "packages",
            label=Label(f"tiny-{precision}", "1.0.0", "Apache-2.0"),
            training=Training(base="b", base_licence="Apache-2.0", data=[], recipe={"seed": 1}),
            evidence=Evidence(own=own, fp32=source, baseline=own),
            checks=[
                Check(question=q, context=c, answers=[engine.answer(q, c).spans[0].text])
                for q, c in pairs
            ],
        ).path
    return Made(folder / "checkpoint", packages["fp32"], packages["int8"])


@pytest.fixture
def int8(made: Made, tmp_path: Path) -> Path:
    """One's own copy of the int8 package."""
    return copied(made.int8, tmp_path)


def copied(package: Path, folder: Path) -> Path:
    return Path(shutil.copytree(package, folder / "packages" / package.name))


def weights_of(checkpoint: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = load_reader(str(checkpoint)).model.state_dict()
    return state


def test_fp32_gives_the_very_weights(made: Made, tmp_path: Path) -> None:
    recovered = recover(package=made.fp32, output=tmp_path / "checkpoint")
    assert recovered.same_spans == recovered.windows > 0
    theirs, ours = weights_of(made.checkpoint), weights_of(tmp_path / "checkpoint")
    assert theirs.keys() == ours.keys()
    assert all(torch.equal(theirs[name], ours[name]) for name in theirs)


def test_int8_gives_weights_within_half_a_step(made: Made, tmp_path: Path) -> None:
    recover(package=made.int8, output=tmp_path / "checkpoint")
    theirs, ours = weights_of(made.checkpoint), weights_of(tmp_path / "checkpoint")
    for name, weight in theirs.items():
        if weight.dim() == 1:
            assert torch.equal(weight, ours[name]), name
            continue
        step = weight.abs().max(dim=1, keepdim=True).values / 127
        assert ((weight - ours[name]).abs() <= 0.51 * step + 1e-7).all(), name


@pytest.mark.parametrize("kind", ["bert", "distilbert"])
def test_a_recovered_checkpoint_is_exported_again(kind: str, tmp_path: Path) -> None:
    """The default packages: the real ones, with loud channels apart."""
    [source] = [
        path for path in PACKAGES.iterdir() if open_package(path).manifest.architecture.type == kind
    ]
    made = recover(package=source, output=tmp_path / "checkpoint")
    assert made.correlation > 0.99
    checks = [(check.question, check.context) for check in open_package(source).checks()[:3]]
    exported = export(
        checkpoint=str(tmp_path / "checkpoint"), output=tmp_path / "fp32", questions=checks
    )
    assert exported.architecture == open_package(source).manifest.architecture


def test_what_does_not_show_its_weights_is_refused(int8: Path, tmp_path: Path) -> None:
    graph = onnx.load(str(int8 / MODEL_FILE))
    for node in graph.graph.node:
        node.name = f"other_{node.name}"
    for tensor in graph.graph.initializer:
        if tensor.name.endswith("LayerNorm.weight"):
            tensor.name = rename_use(graph, tensor.name, f"other_{tensor.name}")
    onnx.save(graph, str(int8 / MODEL_FILE))
    resign(int8)
    with pytest.raises(ModelLoadError) as caught:
        recover(package=int8, output=tmp_path / "checkpoint")
    assert caught.value.code == "not_recoverable"
    assert not (tmp_path / "checkpoint").exists()


def test_weights_at_the_wrong_place_are_noticed(made: Made, tmp_path: Path) -> None:
    """What the checkpoint would compute is compared with what the package computes."""
    wrong = copied(made.fp32, tmp_path)
    graph = onnx.load(str(wrong / MODEL_FILE))
    for tensor in graph.graph.initializer:
        if tensor.name.endswith("output.LayerNorm.weight"):
            # Unused by the graph under this name from now on, and found by it.
            twin = onnx.TensorProto()
            twin.CopyFrom(tensor)
            twin.name = rename_use(graph, tensor.name, f"{tensor.name}_used")
            graph.graph.initializer.append(twin)
            noise = np.random.default_rng(0).normal(size=tensor.dims).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(noise, tensor.name))
    onnx.save(graph, str(wrong / MODEL_FILE))
    resign(wrong)
    with pytest.raises(GateError) as caught:
        recover(package=wrong, output=tmp_path / "checkpoint")
    assert caught.value.code == "parity_failed"
    assert not (tmp_path / "checkpoint").exists()


def test_the_command(int8: Path, tmp_path: Path) -> None:
    made = edgeqa("recover", int8, "--output", tmp_path / "checkpoint")
    assert made.returncode == 0, made.stderr
    assert "same best span in" in made.stdout
    again = edgeqa("recover", int8, "--output", tmp_path / "checkpoint")
    assert again.returncode == 3
    assert "exists already" in again.stderr
    assert "Traceback" not in again.stderr
    nowhere = edgeqa("recover", tmp_path / "none", "--output", tmp_path / "other")
    assert nowhere.returncode != 0
    assert "Traceback" not in nowhere.stderr


def test_an_output_that_exists_is_left_alone(int8: Path, tmp_path: Path) -> None:
    (tmp_path / "checkpoint").mkdir()
    with pytest.raises(ConfigError):
        recover(package=int8, output=tmp_path / "checkpoint")
    assert not list((tmp_path / "checkpoint").iterdir())


def rename_use(graph: onnx.ModelProto, old: str, new: str) -> str:
    """Have the nodes read another tensor, and say which."""
    for node in graph.graph.node:
        node.input[:] = [new if name == old else name for name in node.input]
    return new


def resign(folder: Path) -> None:
    """Write what the changed graph's digest and size are into the manifest."""
    text = (folder / "manifest.json").read_text()
    before = json.loads(text)["files"][MODEL_FILE]["sha256"]
    manifest = json.loads(text.replace(before, sha256_hex(folder / MODEL_FILE)))
    manifest["files"][MODEL_FILE]["bytes"] = (folder / MODEL_FILE).stat().st_size
    (folder / "manifest.json").write_text(json.dumps(manifest))
