"""Packaging: whole or not at all, the same bytes each time, and only what was proven."""

from __future__ import annotations

import copy
import errno
import json
import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest
from support.reports import make_report
from support.tiny import make_tokenizer

from edgeqa.errors import ConfigError, DataError, EdgeqaError, ModelLoadError
from edgeqa.files import sha256_hex
from edgeqa.manifest import Check, open_package
from edgeqa.reader.engine import Engine
from edgeqa.reader.proof import prove
from edgeqa_models.checks import SHIPPED, read_checks, run_checks
from edgeqa_models.draft import open_measurable, read_draft, write_draft
from edgeqa_models.folders import new_folder
from edgeqa_models.package import Label, package, read_training
from edgeqa_models.portable import IR_VERSION
from edgeqa_models.report import Report, read_report


def report(precision: str, draft: Path, **changes: Any) -> Report:
    return make_report(precision, sha256_hex(draft / "model.onnx"), **changes)


def everything(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_package_opens_loads_and_proves_itself(inputs: dict[str, Any], tmp_path: Path) -> None:
    made = package(output=tmp_path, **inputs)
    opened = open_package(tmp_path / "tiny-1.0.0")
    assert opened.digest == made.digest
    assert prove(Engine.load(opened, threads=1), opened).f1 == 100
    scores = {score.precision: score.f1 for score in opened.manifest.scores}
    assert scores == {"fp32": 80.0, "int8": 79.6}
    assert opened.manifest.baseline is not None
    assert opened.manifest.baseline.p50_ms == 1.5
    assert {path.name for path in opened.path.iterdir()} == {
        *opened.manifest.files,
        "manifest.json",
    }
    assert opened.path.stat().st_mode & 0o777 == 0o755


def test_the_same_inputs_give_the_same_bytes(inputs: dict[str, Any], tmp_path: Path) -> None:
    one = package(output=tmp_path / "one", **inputs)
    other = package(output=tmp_path / "other", **inputs)
    assert everything(one.path) == everything(other.path)


@contextmanager
def files_at_most(size: int) -> Iterator[None]:
    """The kernel refuses to let any file of this process grow beyond `size` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("room", [0, 100, 5_000, 30_000])
def test_a_write_that_fails_leaves_nothing_behind(
    inputs: dict[str, Any], tmp_path: Path, room: int
) -> None:
    with files_at_most(room), pytest.raises(ConfigError) as caught:
        package(output=tmp_path, **inputs)
    assert caught.value.code == "output_unwritable"
    assert list(tmp_path.iterdir()) == []
    package(output=tmp_path, **inputs)


def test_a_full_disk_is_named_and_ctrl_c_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the disk is full"), new_folder(tmp_path / "p"):
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(KeyboardInterrupt), new_folder(tmp_path / "p") as folder:  # noqa: PT012
        (folder / "half").write_bytes(b"x")  # the block is what is tested
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_an_existing_package_is_never_changed(inputs: dict[str, Any], tmp_path: Path) -> None:
    made = package(output=tmp_path, **inputs)
    before = everything(made.path)
    with pytest.raises(ConfigError) as caught:
        package(output=tmp_path, **inputs)
    assert caught.value.code == "output_exists"
    assert everything(made.path) == before


def refused(inputs: dict[str, Any], output: Path, **changes: Any) -> EdgeqaError:
    with pytest.raises(EdgeqaError) as caught:
        package(output=output, **{**inputs, **changes})
    assert "\n" not in str(caught.value)
    assert not output.exists() or list(output.iterdir()) == []
    return caught.value


def test_a_check_that_is_missed_is_refused_by_name(inputs: dict[str, Any], tmp_path: Path) -> None:
    wrong = Check(question="what pump ?", context="the pump starts", answers=["nothing of it"])
    error = refused(inputs, tmp_path, checks=[*inputs["checks"], wrong])
    assert error.code == "checks_failed"
    assert "what pump ?" in str(error)


@pytest.mark.parametrize("label", [Label("Bad Name/", "1.0.0", "x"), Label("tiny", "1.0", "x")])
def test_a_bad_label_is_refused(inputs: dict[str, Any], tmp_path: Path, label: Label) -> None:
    refused(inputs, tmp_path / "out", label=label)
    assert not list(tmp_path.rglob("manifest.json"))


def reseal(draft: Path) -> None:
    """As if the draft had been made with the files that it holds now."""
    write_draft(draft, read_draft(draft).model_copy(update={"files": {}}))


def unseal(draft: Path, **changes: Any) -> None:
    description = json.loads((draft / "draft.json").read_text())
    (draft / "draft.json").write_text(json.dumps({**description, "files": {}, **changes}))


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json"])
def test_a_file_that_was_exchanged_after_the_export_is_named(
    inputs: dict[str, Any], int8: Path, distilbert: Path, tmp_path: Path, name: str
) -> None:
    draft = shutil.copytree(int8, tmp_path / "draft")
    content = (draft / name).read_bytes()
    (draft / name).write_bytes(content.replace(b"pump", b"pmup") + b"\n")
    error = refused(inputs, tmp_path / "out", draft=draft)
    assert error.code == "draft_malformed"
    assert name in str(error)


def test_a_draft_of_an_earlier_version_is_measured_but_not_packaged(
    inputs: dict[str, Any], int8: Path, tmp_path: Path
) -> None:
    draft = shutil.copytree(int8, tmp_path / "draft")
    unseal(draft)
    open_measurable(draft, threads=1)
    assert refused(inputs, tmp_path / "out", draft=draft).code == "draft_malformed"
    unseal(draft, source_sha256=None)
    reseal(draft)
    assert refused(inputs, tmp_path / "out", draft=draft).code == "draft_malformed"


def test_a_tokenizer_that_is_not_the_models_is_refused(
    inputs: dict[str, Any], int8: Path, tmp_path: Path
) -> None:
    draft = shutil.copytree(int8, tmp_path / "draft")
    larger = make_tokenizer()
    larger.add_tokens(["extra"])
    plain = json.loads((int8 / "tokenizer.json").read_text())
    bare = {**plain, "post_processor": None}
    no_end, no_types = copy.deepcopy(plain), copy.deepcopy(plain)
    no_end["post_processor"]["pair"].pop()
    for piece in no_types["post_processor"]["pair"]:
        next(iter(piece.values()))["type_id"] = 0
    for content in (larger.to_str(), *map(json.dumps, (bare, no_end, no_types)), "{}", "garbage"):
        unseal(draft)
        (draft / "tokenizer.json").write_text(content)
        reseal(draft)
        error = refused(inputs, tmp_path / "out", draft=draft)
        assert isinstance(error, ModelLoadError)
        assert "tokenizer.json" in str(error)
    cased = json.loads((int8 / "tokenizer.json").read_text())
    cased["normalizer"]["lowercase"] = False
    unseal(draft)
    (draft / "tokenizer.json").write_text(json.dumps(cased))
    reseal(draft)
    loud = [c.model_copy(update={"context": c.context.upper()}) for c in inputs["checks"]]
    quiet = open_measurable(int8, threads=1).engine
    assert any(result.right for result in run_checks(quiet, loud))
    assert refused(inputs, tmp_path / "out", draft=draft, checks=loud).code == "checks_failed"


def test_a_graph_that_a_device_may_not_load_is_refused(
    inputs: dict[str, Any], int8: Path, tmp_path: Path
) -> None:
    draft = shutil.copytree(int8, tmp_path / "draft")
    graph = onnx.load(draft / "model.onnx")
    graph.ir_version = IR_VERSION + 1
    unseal(draft)
    onnx.save(graph, draft / "model.onnx")
    reseal(draft)
    own = report("int8", draft)
    evidence = replace(inputs["evidence"], own=own)
    error = refused(inputs, tmp_path / "out", draft=draft, evidence=evidence)
    assert error.code == "unsupported_operator"


def test_shipped_checks_are_well_formed_and_enough() -> None:
    checks = read_checks(SHIPPED)
    assert 16 <= len(checks) <= 30
    assert len({check.question for check in checks}) == len(checks)


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[]", "[1]", '[{"question": "q", "context": "c", "answers": ["not there"]}]'],
)
def test_bad_input_files_are_one_line_errors(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    for read in (read_checks, read_report, read_training):
        with pytest.raises(DataError, match=r"x\.json") as caught:
            read(path)
        assert "\n" not in str(caught.value)
        with pytest.raises(DataError, match="No such file"):
            read(tmp_path / "none.json")
