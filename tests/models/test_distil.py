"""Distillation: both stages, interruptible, repeatable, and each loss on record."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from support.tiny import questions
from typer.testing import CliRunner

from edgeqa.data.sources import load_examples
from edgeqa.errors import ConfigError, DataError, ModelLoadError
from edgeqa.reader.windows import WindowSizes
from edgeqa_models.checkpoint import load_reader
from edgeqa_models.cli import app
from edgeqa_models.distil import DistilOptions, Stage, distil
from edgeqa_models.distil_language import fill, load_filler, make_filler, mask
from edgeqa_models.export import export
from edgeqa_models.losses import IGNORED, Weights
from edgeqa_models.student import encoder, make_student
from edgeqa_models.texts import make_texts, read_paragraphs
from edgeqa_models.training import Schedule

SCHEDULE = Schedule(epochs=1.0, batch_size=4, save_steps=100, learning_rate=1e-3, device="cpu")
OPTIONS = DistilOptions(
    dropout=0.1,  # draws random numbers, so that a resumed run must also resume those
    language=Stage(SCHEDULE, Weights(0.5, 0.3, 0.2)),
    reading=Stage(SCHEDULE, Weights(0.6, 0.3, 0.1)),
    head_epochs=1.0,
    sizes=WindowSizes(64, 8, 16),
    max_texts=12,
    max_examples=16,
)


class InterruptAt(transformers.TrainerCallback):  # type: ignore[misc]  # transformers is untyped
    """Ctrl-C while a step of the stage in hand runs."""

    def __init__(self, step: int) -> None:
        self._step = step

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == self._step:
            os.kill(os.getpid(), signal.SIGINT)


@pytest.fixture
def run(bert: Path, squad_file: Path) -> dict[str, Any]:
    examples = load_examples([str(squad_file)], split="train")
    texts = [example.context for example in examples]
    return {"teacher": str(bert), "examples": examples, "texts": texts, "options": OPTIONS}


def logged(folder: Path) -> list[dict[str, float]]:
    lines = (folder / "loss.jsonl").read_text().splitlines()
    return [row for row in map(json.loads, lines) if "loss" in row]


# Tiny checkpoints follow each other within a second, which the trainer finds suspicious.
@pytest.mark.filterwarnings("ignore:mtime may not be reliable:UserWarning")
def test_a_run_stopped_in_each_stage_ends_in_the_weights_of_an_uninterrupted_one(
    run: dict[str, Any], tmp_path: Path
) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert distil(output=whole, **run)
    tries = 0
    while not distil(output=parts, callbacks=[InterruptAt(1)], **run):
        tries += 1
        assert not (parts / "final").exists()
    assert tries == 3  # in the head's fit, the language and the reading
    expected, got = (load_file(path / "final" / "model.safetensors") for path in (whole, parts))
    assert expected.keys() == got.keys()
    for name, tensor in expected.items():
        assert torch.equal(tensor, got[name]), name
    assert distil(output=parts, **run)  # finished before: says so and leaves it


@pytest.mark.filterwarnings("ignore:mtime may not be reliable:UserWarning")
def test_the_three_losses_are_logged_apart_and_sum_to_the_loss(
    run: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeqa_models.training.LOGGING_STEPS", 1)
    assert distil(output=tmp_path / "run", **run)
    for stage, weights in (("language", (0.5, 0.3, 0.2)), ("reading", (0.6, 0.3, 0.1))):
        rows = logged(tmp_path / "run" / stage)
        assert rows
        for row in rows:
            parts = [row[name] for name in ("loss_distil", "loss_labels", "loss_cos")]
            assert all(part > 0 for part in parts)
            total = sum(w * part for w, part in zip(weights, parts, strict=True))
            assert row["loss"] == pytest.approx(total, rel=1e-2)


def test_the_student_is_a_reader_that_exports(run: dict[str, Any], tmp_path: Path) -> None:
    options = DistilOptions(
        language=Stage(Schedule(epochs=0.0), OPTIONS.language.weights),
        reading=OPTIONS.reading,
        sizes=OPTIONS.sizes,
    )
    assert distil(output=tmp_path / "run", **{**run, "options": options})
    assert not (tmp_path / "run" / "language").exists()
    pairs = [(question, context) for question, context, _, _ in questions(4)]
    made = export(
        checkpoint=str(tmp_path / "run" / "final"), output=tmp_path / "fp32", questions=pairs
    )
    assert made.architecture.type == "distilbert"
    assert made.architecture.layers == 1
    final = str(tmp_path / "run" / "final")
    tokens = transformers.AutoTokenizer.from_pretrained(final)(
        "the pump", "starts", return_tensors="pt"
    )
    transformers.AutoModelForQuestionAnswering.from_pretrained(final)(**tokens)


def test_distillation_brings_the_student_nearer_to_its_teacher(
    run: dict[str, Any], tmp_path: Path
) -> None:
    schedule = Schedule(epochs=12.0, batch_size=4, learning_rate=2e-3, precision="fp32")
    options = DistilOptions(
        language=Stage(Schedule(epochs=0.0), OPTIONS.language.weights),
        reading=Stage(schedule, Weights(0.5, 0.0, 0.5)),
        sizes=OPTIONS.sizes,
    )
    assert distil(output=tmp_path / "run", **{**run, "options": options})
    rows = logged(tmp_path / "run" / "reading")
    # The cross-entropy cannot fall below the teacher's own entropy; the cosine loss can.
    assert rows[-1]["loss_distil"] < rows[0]["loss_distil"]
    assert rows[-1]["loss_cos"] < 0.8 * rows[0]["loss_cos"]


def test_masking_hides_15_percent_never_special_tokens_and_repeats_by_seed(bert: Path) -> None:
    tokenizer = load_reader(str(bert)).tokenizer
    ids = torch.randint(5, len(tokenizer), (40, 64), generator=torch.Generator().manual_seed(1))
    ids[:, 0], ids[:, -1] = tokenizer.cls_token_id, tokenizer.sep_token_id
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    once, again, other = (mask(batch, tokenizer, seed) for seed in (1, 1, 2))
    assert torch.equal(once["input_ids"], again["input_ids"])
    assert not torch.equal(once["input_ids"], other["input_ids"])
    hidden = once["labels"] != IGNORED
    assert not bool(hidden[:, 0].any() | hidden[:, -1].any())
    assert float(hidden.float().mean()) == pytest.approx(0.15, abs=0.02)
    assert torch.equal(once["labels"][hidden], ids[hidden])
    assert torch.equal(once["input_ids"][~hidden], ids[~hidden])
    shown = once["input_ids"][hidden] == tokenizer.mask_token_id
    assert float(shown.float().mean()) == pytest.approx(0.8, abs=0.06)
    assert torch.equal(batch["input_ids"], ids)  # the teacher of the next stage sees it whole


def test_a_teacher_that_brought_its_head_keeps_it_and_the_student_starts_with_it(
    bert: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert not load_filler(str(bert))[1]
    assert "newly initialized" not in "".join(capfd.readouterr())
    torch.manual_seed(3)
    config = transformers.AutoConfig.from_pretrained(bert)
    both = transformers.BertForMaskedLM(config).state_dict()
    both |= load_file(bert / "model.safetensors")
    folder = tmp_path / "both"
    transformers.AutoModelForQuestionAnswering.from_pretrained(bert).save_pretrained(folder)
    clones = {name: tensor.clone().contiguous() for name, tensor in both.items()}
    del clones["cls.predictions.decoder.weight"], clones["cls.predictions.decoder.bias"]
    save_file(clones, folder / "model.safetensors", metadata={"format": "pt"})
    teacher, has_head = load_filler(str(folder))
    assert has_head
    student = make_filler(make_student(encoder(teacher), layers=1, dropout=0.0), teacher)
    states = torch.randn(3, config.hidden_size)
    assert torch.allclose(fill(student, states), fill(teacher, states), atol=1e-5)


def test_texts_are_cut_into_rows_with_nothing_lost(bert: Path) -> None:
    tokenizer = load_reader(str(bert)).tokenizer
    texts = ["the pump starts", " ".join(["valve"] * 70), "the pump starts"]
    rows = make_texts(texts, tokenizer, max_seq_len=32, limit=0, seed=1)
    inner = sorted(len(ids) - 2 for ids in rows["input_ids"])
    assert inner == [3, 10, 30, 30]
    assert rows["length"] == [len(ids) for ids in rows["input_ids"]]
    tokenizer.backend_tokenizer.enable_truncation(40, strategy="only_second")
    tokenizer.backend_tokenizer.enable_padding(length=40)
    again = make_texts(texts, tokenizer, max_seq_len=32, limit=0, seed=1)
    assert again["input_ids"] == rows["input_ids"]
    assert tokenizer.backend_tokenizer.truncation is not None  # its own is left as it was
    with pytest.raises(DataError, match="no text"):
        make_texts([], tokenizer, max_seq_len=32, limit=0, seed=1)


def test_text_files_that_cannot_be_read_are_one_line(tmp_path: Path) -> None:
    latin = tmp_path / "latin.txt"
    latin.write_bytes(b"caf\xe9")
    for path in (latin, tmp_path / "missing.txt", tmp_path):
        with pytest.raises(DataError) as caught:
            read_paragraphs([path])
        assert "\n" not in str(caught.value)


def test_a_run_may_go_on_from_an_earlier_student(run: dict[str, Any], tmp_path: Path) -> None:
    distil(output=tmp_path / "first", **run)
    still = replace(OPTIONS.reading.schedule, learning_rate=1e-12)
    options = replace(
        OPTIONS,
        start=str(tmp_path / "first/final"),
        language=replace(OPTIONS.language, schedule=replace(still, epochs=0)),
        reading=replace(OPTIONS.reading, schedule=still),
    )
    assert distil(output=tmp_path / "second", **{**run, "options": options})
    first, second = (
        load_file(tmp_path / name / "final/model.safetensors") for name in ("first", "second")
    )
    assert all(torch.allclose(first[name], second[name], atol=1e-6) for name in first)


def test_an_earlier_student_of_another_shape_is_refused(
    run: dict[str, Any], tmp_path: Path
) -> None:
    distil(output=tmp_path / "first", **run)
    options = replace(OPTIONS, layers=2, start=str(tmp_path / "first/final"))
    with pytest.raises(ConfigError) as caught:
        distil(output=tmp_path / "second", **{**run, "options": options})
    assert caught.value.code == "student_mismatch"
    assert not (tmp_path / "second").exists()


def test_a_run_folder_of_other_options_is_not_continued(
    run: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "edgeqa-run.json").write_text('{"teacher": "other"}')
    with pytest.raises(ConfigError, match="teacher") as caught:
        distil(output=tmp_path, **run)
    assert caught.value.code == "run_differs"


def test_a_teacher_without_a_question_answering_head_is_refused(
    run: dict[str, Any], tmp_path: Path
) -> None:
    from support.tiny import save_checkpoint

    bare = save_checkpoint(tmp_path / "bare", head=False)
    with pytest.raises(ModelLoadError) as caught:
        distil(output=tmp_path / "run", **{**run, "teacher": str(bare)})
    assert caught.value.code == "not_a_reader"
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--alpha", "0.9"], "sum to 1"),
        (["--layers", "3"], "may have 1 to 2"),
        (["--text", "nothing.txt"], "cannot be read"),
    ],
)
def test_wrong_options_are_one_line_and_leave_nothing(
    options: list[str], says: str, bert: Path, squad_file: Path, tmp_path: Path
) -> None:
    output = tmp_path / "run"
    command = ["distil", str(bert), "--data", str(squad_file), "--output", str(output)]
    result = CliRunner().invoke(app, [*command, *options])
    assert says in str(result.exception)
    assert not output.exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_said_before_anything_is_written(
    bert: Path, squad_file: Path, tmp_path: Path
) -> None:
    output = tmp_path / "run"
    command = ["distil", str(bert), "--data", str(squad_file), "--output", str(output)]
    result = CliRunner().invoke(app, [*command, "--device", "cuda"])
    assert "sees no GPU" in str(result.exception)
    assert not output.exists()
