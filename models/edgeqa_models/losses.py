"""The losses of knowledge distillation, each a function of logits or hidden states.

L = alpha * L_distil + beta * L_labels + gamma * L_cos with alpha + beta + gamma = 1, as DistilBERT
is trained. L_labels is the loss against true labels: the masked tokens while the student learns
the language, start and end of the answer while it learns to read.

Source: Hinton, Vinyals and Dean 2015, "Distilling the Knowledge in a Neural Network" (temperature);
Sanh et al. 2019, "DistilBERT" (the three losses).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch.nn import functional

from edgeqa.errors import ConfigError

IGNORED = -100  # label of a position that has none, as torch's cross_entropy has it
_TOLERANCE = 1e-6  # of the sum of the weights: three decimal fractions as people type them


@dataclass(frozen=True, slots=True)
class Weights:
    """Shares of the three losses.

    Attributes:
        alpha: of the teacher's softened answers.
        beta: of the true labels.
        gamma: of the cosine between hidden states.

    Raises:
        ConfigError: one is negative, or they do not sum to 1 (`loss_weights`).
    """

    alpha: float
    beta: float
    gamma: float

    def __post_init__(self) -> None:
        parts = (self.alpha, self.beta, self.gamma)
        if min(parts) < 0 or not math.isclose(sum(parts), 1, abs_tol=_TOLERANCE):
            raise ConfigError(
                "the weights of the losses must be at least 0 and sum to 1, not "
                f"{self.alpha} + {self.beta} + {self.gamma} = {sum(parts):g}",
                code="loss_weights",
            )


@dataclass(frozen=True, slots=True)
class Losses:
    """The three losses of one batch, each a scalar."""

    distil: torch.Tensor
    labels: torch.Tensor
    cosine: torch.Tensor

    def total(self, weights: Weights) -> torch.Tensor:
        """Their weighted sum, which is minimised."""
        return (
            weights.alpha * self.distil + weights.beta * self.labels + weights.gamma * self.cosine
        )


def soften(logits: torch.Tensor, temperature: float) -> torch.Tensor:
    """p_i = exp(z_i / T) / sum_j exp(z_j / T) over the last axis; T = 1 is softmax."""
    return functional.softmax(logits / temperature, dim=-1)


def distil_loss(student: torch.Tensor, teacher: torch.Tensor, temperature: float) -> torch.Tensor:
    """Cross-entropy of the student's softened answers under the teacher's, times T squared.

    T squared keeps the size of the gradient independent of T (Hinton et al. 2015, section 2).

    Args:
        student: float[rows, classes], logits; a class that cannot be is very negative, not -inf.
        teacher: of the same shape.
        temperature: T > 0.
    """
    log_student = functional.log_softmax(student / temperature, dim=-1)
    entropy = -(soften(teacher, temperature) * log_student).sum(dim=-1)
    return temperature**2 * entropy.mean()


def label_loss(student: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of the true labels.

    Args:
        student: float[rows, classes], logits.
        labels: int64[rows]; rows labelled `IGNORED` do not count.
    """
    return functional.cross_entropy(student, labels, ignore_index=IGNORED)


def cosine_loss(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """1 - cos(h_teacher, h_student), the mean over rows of float[rows, hidden]."""
    return 1 - functional.cosine_similarity(student, teacher, dim=-1).mean()
