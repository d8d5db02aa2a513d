"""Distillation of reading: the student learns start and end of answers from a fine-tuned teacher.

The teacher's span logits are softened by a temperature; true answers are hard labels; the hidden
states of each layer of the student follow those of the teacher's layers that it stands for.
Source: Sanh et al. 2019, section 3 ("an additional distillation step" on SQuAD); the alignment of
layers is that of Jiao et al. 2020, "TinyBERT", with uniform groups.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import torch
import transformers

from edgeqa.errors import ConfigError
from edgeqa_models.checkpoint import ReaderCheckpoint, load_reader
from edgeqa_models.distil_trainer import Batch, DistilTrainer, collator, to_device
from edgeqa_models.losses import Losses, Weights, cosine_loss, distil_loss, label_loss
from edgeqa_models.student import copy_weights, encoder, groups
from edgeqa_models.training import Schedule, arguments

_IMPOSSIBLE = -1e4  # logit of padding: exp of it is 0 at any temperature that makes sense


def make_reader(student: Any, teacher: Any) -> Any:
    """The student's encoder under the teacher's question answering head."""
    reader = transformers.DistilBertForQuestionAnswering(student.config)
    reader.distilbert = student
    copy_weights(teacher.qa_outputs, reader.qa_outputs)
    return reader


def copy_reader(checkpoint: str, reader: Any) -> None:
    """Go on from a student that was distilled before: copy its weights to `reader`.

    Raises:
        ModelLoadError: `checkpoint` is not a reader.
        ConfigError: it is of another architecture or shape than `reader` (`student_mismatch`).
    """
    earlier = load_reader(checkpoint).model
    ours, theirs = (
        {name: tuple(value.shape) for name, value in model.state_dict().items()}
        for model in (reader, earlier)
    )
    if ours != theirs:
        raise ConfigError(
            f"{checkpoint} is not a student of this teacher with {reader.config.n_layers} layers; "
            "name one that the same teacher and --layers gave",
            code="student_mismatch",
        )
    copy_weights(earlier, reader)


def reading_losses(student: Any, teacher: Any, batch: Batch, temperature: float) -> Losses:
    """The three losses of one batch of features, each the mean of start and end."""
    student_inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    teacher_inputs = dict(student_inputs)
    if encoder(teacher).config.model_type == "bert":
        teacher_inputs["token_type_ids"] = batch["token_type_ids"]
    ours = student(**student_inputs, output_hidden_states=True)
    with torch.no_grad():
        theirs = to_device(teacher, batch)(**teacher_inputs, output_hidden_states=True)
    tokens = batch["attention_mask"].bool()
    distil, labels = [], []
    for side in ("start", "end"):
        logits = _only(tokens, getattr(ours, f"{side}_logits"))
        softened = _only(tokens, getattr(theirs, f"{side}_logits"))
        distil.append(distil_loss(logits, softened, temperature))
        labels.append(label_loss(logits, batch[f"{side}_positions"]))
    return Losses(
        distil=torch.stack(distil).mean(),
        labels=torch.stack(labels).mean(),
        cosine=aligned_cosine(ours.hidden_states, theirs.hidden_states, tokens),
    )


def aligned_cosine(ours: Any, theirs: Any, tokens: torch.Tensor) -> torch.Tensor:
    """Mean cosine loss between each layer of the student and the last of its group.

    Args:
        ours: the student's hidden states, embeddings first.
        theirs: the teacher's.
        tokens: bool[rows, width], what is not padding.
    """
    pairs = [
        (layer + 1, group[-1] + 1)
        for layer, group in enumerate(groups(len(theirs) - 1, len(ours) - 1))
    ]
    return torch.stack(
        [cosine_loss(ours[a][tokens].float(), theirs[b][tokens].float()) for a, b in pairs]
    ).mean()


def reading_trainer(
    *,
    reader: Any,
    teacher: ReaderCheckpoint,
    rows: datasets.Dataset,
    output: Path,
    schedule: Schedule,
    weights: Weights,
    temperature: float,
) -> DistilTrainer:
    """The trainer of this stage; `rows` are features with a column `length`."""

    def losses(student: Any, batch: Batch, step: int) -> Losses:
        del step
        return reading_losses(student, teacher.model, batch, temperature)

    return DistilTrainer(
        losses=losses,
        weights=weights,
        model=reader,
        args=arguments(output, schedule, remove_unused_columns=False),
        train_dataset=rows,
        data_collator=collator(teacher.tokenizer),
    )


def _only(tokens: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    return logits.float().masked_fill(~tokens, _IMPOSSIBLE)
