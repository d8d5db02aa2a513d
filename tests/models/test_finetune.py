"""Fine-tuning: repeatable, interruptible, and clear about checkpoints that it cannot use."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import TrainerCallback

from edgeqa.data.sources import load_examples
from edgeqa.errors import ConfigError, ModelLoadError
from edgeqa.reader.windows import WindowSizes
from edgeqa_models.finetune import FinetuneOptions, finetune
from edgeqa_models.training import Schedule

OPTIONS = FinetuneOptions(
    schedule=Schedule(epochs=1.0, batch_size=4, save_steps=100),
    sizes=WindowSizes(64, 8, 16),
    max_examples=16,
)


class InterruptAt(TrainerCallback):  # type: ignore[misc]  # transformers is untyped
    """Ctrl-C while a step runs."""

    def __init__(self, step: int) -> None:
        self._step = step

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == self._step:
            os.kill(os.getpid(), signal.SIGINT)


def weights(run: Path) -> dict[str, torch.Tensor]:
    return dict(load_file(run / "final" / "model.safetensors"))


# Tiny checkpoints follow each other within a second, which the trainer finds suspicious.
@pytest.mark.filterwarnings("ignore:mtime may not be reliable:UserWarning")
def test_interrupted_and_resumed_run_gives_the_weights_of_an_uninterrupted_one(
    bert: Path, squad_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    examples = load_examples([str(squad_file)], split="train")
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    run: dict[str, Any] = {"checkpoint": str(bert), "examples": examples, "options": OPTIONS}
    assert finetune(output=whole, **run)
    handler = signal.getsignal(signal.SIGINT)
    assert not finetune(output=parts, callbacks=[InterruptAt(1)], **run)
    assert signal.getsignal(signal.SIGINT) is handler
    assert [path.name for path in parts.glob("checkpoint-*")] == ["checkpoint-2"]
    assert not (parts / "final").exists()
    assert finetune(output=parts, **run)

    expected, got = weights(whole), weights(parts)
    assert expected.keys() == got.keys()
    for name, tensor in expected.items():
        assert torch.equal(tensor, got[name]), name
    before = dict(load_file(bert / "model.safetensors"))
    assert any(not torch.equal(before[name], got[name]) for name in got)
    assert "loss" in (parts / "loss.jsonl").read_text()


def test_a_run_folder_of_other_options_is_not_continued(
    bert: Path, squad_file: Path, tmp_path: Path
) -> None:
    examples = load_examples([str(squad_file)], split="train")
    (tmp_path / "edgeqa-run.json").write_text('{"checkpoint": "other", "seed": 1}')
    with pytest.raises(ConfigError, match=r"checkpoint.*seed"):
        finetune(checkpoint=str(bert), examples=examples, output=tmp_path, options=OPTIONS)


@pytest.mark.parametrize("checkpoint", ["nobody/no-such-model", "no/such/folder/at-all", ""])
def test_a_checkpoint_that_is_not_there_is_one_clear_line(
    checkpoint: str, squad_file: Path, tmp_path: Path
) -> None:
    examples = load_examples([str(squad_file)], split="train")
    with pytest.raises(ModelLoadError) as caught:
        finetune(checkpoint=checkpoint, examples=examples, output=tmp_path / "run", options=OPTIONS)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()
