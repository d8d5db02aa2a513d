"""Fixtures of the model workshop's tests: tiny checkpoints and drafts, made once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from support.tiny import save_checkpoint, save_squad

# Read by huggingface_hub when it is imported: no test may reach the network.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"


@pytest.fixture(scope="session")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BertForQuestionAnswering with its tokenizer."""
    return save_checkpoint(tmp_path_factory.mktemp("models") / "bert")


@pytest.fixture(scope="session")
def distilbert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny DistilBertForQuestionAnswering with its tokenizer."""
    return save_checkpoint(tmp_path_factory.mktemp("models") / "distilbert", kind="distilbert")


@pytest.fixture(scope="session")
def squad_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 questions over the tiny vocabulary."""
    return save_squad(tmp_path_factory.mktemp("data") / "tiny.json", 24)


@pytest.fixture(scope="session")
def fp32(bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The fp32 draft of `bert`."""
    from support.tiny import questions

    from edgeqa_models.export import export

    output = tmp_path_factory.mktemp("drafts") / "fp32"
    pairs = [(question, context) for question, context, _, _ in questions(6, words=120)]
    export(checkpoint=str(bert), output=output, questions=pairs)
    return output


@pytest.fixture(scope="session")
def int8(fp32: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The int8 draft of `fp32`."""
    from support.tiny import questions

    from edgeqa_models.quantise import quantise

    output = tmp_path_factory.mktemp("drafts") / "int8"
    quantise(draft=fp32, output=output, texts=[(q, c) for q, c, _, _ in questions(4)])
    return output


@pytest.fixture(scope="session")
def inputs(fp32: Path, int8: Path) -> dict[str, Any]:
    """Everything that `package` needs; the check answers are what the random weights answer."""
    from support.reports import make_report
    from support.tiny import questions

    from edgeqa.files import sha256_hex
    from edgeqa.manifest import Check, Training
    from edgeqa_models.draft import open_measurable
    from edgeqa_models.evidence import Evidence
    from edgeqa_models.package import Label

    engine = open_measurable(int8, threads=1).engine
    checks = [
        Check(question=q, context=c, answers=[engine.answer(q, c).spans[0].text])
        for q, c, _, _ in questions(6)
    ]
    own = make_report("int8", sha256_hex(int8 / "model.onnx"), f1=79.6)
    source = make_report("fp32", sha256_hex(fp32 / "model.onnx"))
    return {
        "draft": int8,
        "label": Label("tiny", "1.0.0", "Apache-2.0"),
        "training": Training(base="b", base_licence="Apache-2.0", data=[], recipe={"seed": 1}),
        "evidence": Evidence(own=own, fp32=source, baseline=own),
        "checks": checks,
    }
