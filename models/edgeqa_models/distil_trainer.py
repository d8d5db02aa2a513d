"""The training loop of distillation: a student, a frozen teacher, three losses logged apart."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import transformers

from edgeqa_models.losses import Losses, Weights

Batch = dict[str, torch.Tensor]
# Of a student, a batch and the number of the step; the teacher is the function's own.
LossFunction = Callable[[Any, Batch, int], Losses]
_PARTS = ("loss_distil", "loss_labels", "loss_cos")


class DistilTrainer(transformers.Trainer):  # type: ignore[misc]  # transformers is untyped
    """A trainer that minimises the weighted sum of the three losses."""

    def __init__(self, *, losses: LossFunction, weights: Weights, **more: Any) -> None:
        super().__init__(**more)
        self._losses = losses
        self._weights = weights
        self._sums = [0.0] * len(_PARTS)
        self._steps = 0

    def compute_loss(
        self,
        model: Any,
        inputs: Batch,
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> torch.Tensor:
        """The loss of one step."""
        del return_outputs, num_items_in_batch  # training only, no accumulation
        parts = self._losses(model, inputs, self.state.global_step)
        for index, part in enumerate((parts.distil, parts.labels, parts.cosine)):
            self._sums[index] += float(part.detach())
        self._steps += 1
        return parts.total(self._weights)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the mean of each loss since the last line."""
        if self._steps and "loss" in logs:
            means = (total / self._steps for total in self._sums)
            logs = {**logs, **dict(zip(_PARTS, means, strict=True))}
            self._sums, self._steps = [0.0] * len(_PARTS), 0
        super().log(logs, start_time)


def to_device(teacher: Any, batch: Batch) -> Any:
    """The teacher on the device of the batch; a move only the first time."""
    return teacher.to(batch["input_ids"].device)


def collator(tokenizer: Any) -> Callable[[list[dict[str, Any]]], Batch]:
    """Pads rows into a batch and leaves out `length`, which only the sampler reads.

    Widths are multiples of 16, which the matrix products of CPUs and GPUs like.
    """
    # Batches are padded here on purpose: windows are cut before, by our own code.
    tokenizer.deprecation_warnings["Asking-to-pad-a-fast-tokenizer"] = True
    pad = transformers.DataCollatorWithPadding(tokenizer, pad_to_multiple_of=16)

    def collate(rows: list[dict[str, Any]]) -> Batch:
        return dict(pad([{k: v for k, v in row.items() if k != "length"} for row in rows]))

    return collate
