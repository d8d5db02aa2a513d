"""Packaging: whole or not at all, the same bytes each time, and only what was proven."""

from __future__ import annotations

import errno
import json
import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.tiny import make_tokenizer, questions

from edgeqa.errors import ConfigError, DataError, EdgeqaError, GateError, ModelLoadError
from edgeqa.files import sha256_hex
from edgeqa.manifest import Check, Training, open_package
from edgeqa.reader.engine import Engine, prove
from edgeqa_models.checks import SHIPPED, read_checks, run_checks
from edgeqa_models.draft import open_measurable
from edgeqa_models.folders import new_folder
from edgeqa_models.package import Evidence, Label, package, read_training
from edgeqa_models.report import Report, read_report

TRAINING = Training(base="b", base_licence="Apache-2.0", data=[], recipe={"seed": 1})


def report(precision: str, model: Path, f1: float = 80.0) -> Report:
    return Report(
        schema=2,
        dataset="tiny",
        fingerprint="0" * 64,
        task="squad_v1",
        precision=precision,
        model_sha256=sha256_hex(model / "model.onnx"),
        model_bytes=(model / "model.onnx").stat().st_size,
        complete=True,
        questions=24,
        refused=0,
        exact_match=70.0,
        f1=f1,
        exact_match_interval=(50.0, 90.0),
        f1_interval=(f1 - 10, f1 + 10),
        seconds=1.0,
        questions_per_s=24.0,
        p50_ms=1.5,
        p95_ms=2.5,
        p99_ms=3.5,
        peak_memory_bytes=1 << 20,
        machine="test",
        threads=1,
    )


@pytest.fixture(scope="module")
def inputs(fp32: Path, int8: Path) -> dict[str, Any]:
    """Everything that `package` needs; the check answers are what the random weights answer."""
    engine = open_measurable(int8, threads=1).engine
    checks = [
        Check(question=q, context=c, answers=[engine.answer(q, c).spans[0].text])
        for q, c, _, _ in questions(6)
    ]
    own = report("int8", int8, f1=79.6)
    return {
        "draft": int8,
        "label": Label("tiny", "1.0.0", "Apache-2.0"),
        "training": TRAINING,
        "evidence": Evidence(own=own, fp32=report("fp32", fp32), baseline=own),
        "checks": checks,
    }


def everything(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_package_opens_loads_and_proves_itself(inputs: dict[str, Any], tmp_path: Path) -> None:
    made = package(output=tmp_path, **inputs)
    opened = open_package(tmp_path / "tiny-1.0.0")
    assert opened.digest == made.digest
    assert prove(Engine.load(opened, threads=1), opened) == 1.0
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


@pytest.mark.parametrize("room", [0, 100, 5_000, 60_000])
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


def test_a_loss_beyond_the_bound_is_refused(inputs: dict[str, Any], tmp_path: Path) -> None:
    evidence = inputs["evidence"]
    worse = replace(evidence, own=evidence.own.model_copy(update={"f1": 79.4}))
    error = refused(inputs, tmp_path, evidence=worse)
    assert isinstance(error, GateError)
    assert error.code == "quality_lost"
    package(output=tmp_path, **{**inputs, "evidence": worse, "max_f1_loss": 0.7})


@pytest.mark.parametrize(
    "change",
    [
        {"model_sha256": "1" * 64},
        {"precision": "fp32"},
        {"fingerprint": "1" * 64},
        {"dataset": "other"},
        {"questions": 23},
        {"complete": False},
    ],
)
def test_reports_of_something_else_are_no_evidence(
    inputs: dict[str, Any], tmp_path: Path, change: dict[str, Any]
) -> None:
    evidence = inputs["evidence"]
    other = replace(evidence, own=evidence.own.model_copy(update=change))
    assert refused(inputs, tmp_path, evidence=other).code == "report_mismatch"


def test_a_check_that_is_missed_is_refused_by_name(inputs: dict[str, Any], tmp_path: Path) -> None:
    wrong = Check(question="what pump ?", context="the pump starts", answers=["nothing of it"])
    error = refused(inputs, tmp_path, checks=[*inputs["checks"], wrong])
    assert error.code == "checks_failed"
    assert "what pump ?" in str(error)


@pytest.mark.parametrize("label", [Label("Bad Name/", "1.0.0", "x"), Label("tiny", "1.0", "x")])
def test_a_bad_label_is_refused(inputs: dict[str, Any], tmp_path: Path, label: Label) -> None:
    refused(inputs, tmp_path / "out", label=label)
    assert not list(tmp_path.rglob("manifest.json"))


def test_a_tokenizer_that_is_not_the_models_is_refused(
    inputs: dict[str, Any], int8: Path, tmp_path: Path
) -> None:
    draft = shutil.copytree(int8, tmp_path / "draft")
    larger = make_tokenizer()
    larger.add_tokens(["extra"])
    bare = json.loads((int8 / "tokenizer.json").read_text())
    bare["post_processor"] = None
    for content in (larger.to_str(), json.dumps(bare), "{}", "", "garbage"):
        (draft / "tokenizer.json").write_text(content)
        assert isinstance(refused(inputs, tmp_path / "out", draft=draft), ModelLoadError)
    cased = json.loads((int8 / "tokenizer.json").read_text())
    cased["normalizer"]["lowercase"] = False
    (draft / "tokenizer.json").write_text(json.dumps(cased))
    loud = [c.model_copy(update={"context": c.context.upper()}) for c in inputs["checks"]]
    quiet = open_measurable(int8, threads=1).engine
    assert any(result.right for result in run_checks(quiet, loud))
    assert refused(inputs, tmp_path / "out", draft=draft, checks=loud).code == "checks_failed"


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
