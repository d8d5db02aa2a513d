"""Distillation of language: the student learns to fill masked words as its teacher does.

The teacher needs a masked-language-model head. A checkpoint that was saved with one keeps it; most
readers and sentence encoders were not, so a head is first fitted on the frozen teacher, on the same
text. The student starts with a copy of that head and both are compared on the masked tokens.
Source: Devlin et al. 2019, section 3.1 (masking); Sanh et al. 2019, section 2 (the three losses).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import torch
import transformers

from edgeqa_models.checkpoint import ReaderCheckpoint, unloadable
from edgeqa_models.distil_reading import aligned_cosine
from edgeqa_models.distil_trainer import Batch, DistilTrainer, collator, to_device
from edgeqa_models.losses import IGNORED, Losses, Weights, distil_loss, label_loss
from edgeqa_models.student import copy_weights, encoder, freeze
from edgeqa_models.training import Schedule, arguments

MASKED = 0.15  # share of tokens to fill in; of them 80 % [MASK], 10 % another token, 10 % as is
_SHOWN_AS_MASK, _SHOWN_AS_OTHER = 0.8, 0.1
_TRUTH_ONLY = Weights(alpha=0.0, beta=1.0, gamma=0.0)
# Where a BERT and a DistilBERT keep the parts of the same head.
_HEAD = {
    "bert": ("cls.predictions.transform.dense", "cls.predictions.transform.LayerNorm"),
    "distilbert": ("vocab_transform", "vocab_layer_norm"),
}
_BIAS = {"bert": "cls.predictions.bias", "distilbert": "vocab_projector.bias"}


def mask(batch: Batch, tokenizer: Any, seed: int) -> Batch:
    """Hide tokens of a batch; the same seed hides the same.

    Drawn by seed and step rather than from torch's state, so that a resumed run, which reads
    batches ahead, hides what the uninterrupted one would.

    Returns:
        The batch with `input_ids` changed and `labels`: int64[rows, width], `IGNORED` where
        nothing is hidden.
    """
    ids = batch["input_ids"]
    draw = torch.Generator().manual_seed(seed)
    chance, kind = (torch.rand(ids.shape, generator=draw) for _ in range(2))
    others = torch.randint(len(tokenizer), ids.shape, generator=draw).to(ids.device)
    chance, kind = chance.to(ids.device), kind.to(ids.device)
    special = torch.isin(ids, torch.tensor(tokenizer.all_special_ids, device=ids.device))
    hidden = (chance < MASKED) & ~special
    shown = ids.masked_fill(hidden & (kind < _SHOWN_AS_MASK), tokenizer.mask_token_id)
    swapped = hidden & (kind >= _SHOWN_AS_MASK) & (kind < _SHOWN_AS_MASK + _SHOWN_AS_OTHER)
    return {
        **batch,
        "input_ids": torch.where(swapped, others, shown),
        "labels": ids.masked_fill(~hidden, IGNORED),
    }


def load_filler(checkpoint: str) -> tuple[Any, bool]:
    """A checkpoint as a masked language model, and whether it brought a head of its own.

    Raises:
        ModelLoadError: it cannot be loaded.
    """
    verbosity = transformers.logging.get_verbosity()
    # A head that is missing is told in a line of our own, not as a warning of five.
    transformers.logging.set_verbosity_error()
    try:
        model, info = transformers.AutoModelForMaskedLM.from_pretrained(
            checkpoint, output_loading_info=True
        )
    except Exception as error:
        raise unloadable(checkpoint, error) from error
    finally:
        transformers.logging.set_verbosity(verbosity)
    return model, not info["missing_keys"]


def language_losses(student: Any, teacher: Any, masked: Batch, temperature: float) -> Losses:
    """The three losses of one masked batch; the first two over the hidden tokens only."""
    inputs = {name: masked[name] for name in ("input_ids", "attention_mask")}
    hidden = masked["labels"] != IGNORED
    labels = masked["labels"][hidden]
    ours = encoder(student)(**inputs, output_hidden_states=True)
    with torch.no_grad():
        theirs = encoder(to_device(teacher, masked))(**inputs, output_hidden_states=True)
        softened = fill(teacher, theirs.last_hidden_state[hidden]).float()
    logits = fill(student, ours.last_hidden_state[hidden]).float()
    return Losses(
        distil=distil_loss(logits, softened, temperature),
        labels=label_loss(logits, labels),
        cosine=aligned_cosine(
            ours.hidden_states, theirs.hidden_states, inputs["attention_mask"].bool()
        ),
    )


def fill(model: Any, states: torch.Tensor) -> torch.Tensor:
    """Logits of the vocabulary for hidden states float[tokens, hidden]: the head alone."""
    if model.config.model_type == "bert":
        return model.cls(states)  # type: ignore[no-any-return]  # transformers is untyped
    states = model.vocab_layer_norm(model.activation(model.vocab_transform(states)))
    return model.vocab_projector(states)  # type: ignore[no-any-return]


def make_filler(student: Any, teacher: Any) -> Any:
    """The student's encoder under a copy of the teacher's masked-language-model head."""
    filler = transformers.DistilBertForMaskedLM(student.config)
    filler.distilbert = student
    for ours, theirs in zip(_HEAD["distilbert"], _HEAD[teacher.config.model_type], strict=True):
        copy_weights(teacher.get_submodule(theirs), filler.get_submodule(ours))
    with torch.no_grad():
        bias = teacher.get_parameter(_BIAS[teacher.config.model_type])
        filler.get_parameter(_BIAS["distilbert"]).copy_(bias)
    filler.tie_weights()
    return filler


def head_trainer(
    *,
    model: Any,
    teacher: ReaderCheckpoint,
    rows: datasets.Dataset,
    output: Path,
    schedule: Schedule,
) -> DistilTrainer:
    """Fits the head of a masked language model; its encoder stays as it is."""
    freeze(encoder(model))

    def losses(model: Any, batch: Batch, step: int) -> Losses:
        masked = mask(batch, teacher.tokenizer, schedule.seed + step)
        hidden = masked["labels"] != IGNORED
        inputs = {name: masked[name] for name in ("input_ids", "attention_mask")}
        states = encoder(model).eval()(**inputs).last_hidden_state[hidden]
        labels = label_loss(fill(model, states).float(), masked["labels"][hidden])
        nothing = torch.zeros((), device=labels.device)
        return Losses(distil=nothing, labels=labels, cosine=nothing)

    return _trainer(
        losses=losses,
        weights=_TRUTH_ONLY,
        model=model,
        teacher=teacher,
        rows=rows,
        output=output,
        schedule=schedule,
    )


def language_trainer(
    *,
    filler: Any,
    teacher_filler: Any,
    teacher: ReaderCheckpoint,
    rows: datasets.Dataset,
    output: Path,
    schedule: Schedule,
    weights: Weights,
    temperature: float,
) -> DistilTrainer:
    """Teaches a student to fill masked words; `rows` are of `make_texts`."""
    freeze(teacher_filler)

    def losses(student: Any, batch: Batch, step: int) -> Losses:
        masked = mask(batch, teacher.tokenizer, schedule.seed + step)
        return language_losses(student, teacher_filler, masked, temperature)

    return _trainer(
        losses=losses,
        weights=weights,
        model=filler,
        teacher=teacher,
        rows=rows,
        output=output,
        schedule=schedule,
    )


def _trainer(
    *,
    losses: Any,
    weights: Weights,
    model: Any,
    teacher: ReaderCheckpoint,
    rows: datasets.Dataset,
    output: Path,
    schedule: Schedule,
) -> DistilTrainer:
    return DistilTrainer(
        losses=losses,
        weights=weights,
        model=model,
        args=arguments(output, schedule, remove_unused_columns=False),
        train_dataset=rows,
        data_collator=collator(teacher.tokenizer),
    )
