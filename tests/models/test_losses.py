"""The losses of distillation, against values worked out by hand and against torch's own."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from edgeqa.errors import ConfigError
from edgeqa_models.losses import (
    IGNORED,
    Losses,
    Weights,
    cosine_loss,
    distil_loss,
    label_loss,
    soften,
)

LN2, LN3 = math.log(2), math.log(3)


def entropy(p: torch.Tensor) -> torch.Tensor:
    return -(p * p.log()).sum(dim=-1)


def logits(*, rows: int = 7, classes: int = 11, seed: int = 1) -> torch.Tensor:
    return 3 * torch.randn(rows, classes, generator=torch.Generator().manual_seed(seed))


def test_softened_softmax_at_temperature_1_is_softmax() -> None:
    z = logits()
    assert torch.equal(soften(z, 1.0), functional.softmax(z, dim=-1))


def test_softened_softmax_by_hand() -> None:
    # exp(2 ln 3 / 2) = 3 and exp(0) = 1, of 4 together.
    got = soften(torch.tensor([2 * LN3, 0.0]), 2.0)
    assert got.tolist() == pytest.approx([0.75, 0.25])


def test_entropy_grows_with_the_temperature_up_to_that_of_no_knowledge() -> None:
    z = logits()
    grown = torch.stack([entropy(soften(z, t)) for t in (0.5, 1.0, 2.0, 4.0, 8.0, 1000.0)])
    assert bool((grown[1:] > grown[:-1]).all())
    assert grown[-1].tolist() == pytest.approx([math.log(11)] * 7, abs=1e-3)


def test_distil_loss_by_hand() -> None:
    # Teacher 3/4 and 1/4, student 1/2 and 1/2, at T = 1: the cross-entropy is ln 2.
    teacher = torch.tensor([[LN3, 0.0]])
    assert float(distil_loss(torch.zeros(1, 2), teacher, 1.0)) == pytest.approx(LN2)
    # At T = 2, teacher 3/4 and 1/4, student 2/3 and 1/3, times T squared:
    # 4 * (3/4 ln(3/2) + 1/4 ln 3).
    got = distil_loss(torch.tensor([[2 * LN2, 0.0]]), 2 * teacher, 2.0)
    assert float(got) == pytest.approx(3 * math.log(1.5) + LN3)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0, 5.0])
def test_distil_loss_is_torchs_cross_entropy_and_its_kl_divergence_plus_the_entropy(
    temperature: float,
) -> None:
    student, teacher = logits(seed=1), logits(seed=2)
    ours = float(distil_loss(student, teacher, temperature)) / temperature**2
    target = soften(teacher, temperature)
    assert ours == pytest.approx(
        float(functional.cross_entropy(student / temperature, target)), rel=1e-5
    )
    divergence = functional.kl_div(
        functional.log_softmax(student / temperature, dim=-1), target, reduction="batchmean"
    )
    assert ours == pytest.approx(float(divergence + entropy(target).mean()), rel=1e-5)


def test_distil_loss_is_least_where_the_student_is_its_teacher() -> None:
    teacher = logits()
    student = teacher.clone().requires_grad_()
    distil_loss(student, teacher, 2.0).backward()
    assert student.grad is not None
    assert float(student.grad.abs().max()) < 1e-6
    assert float(distil_loss(teacher + logits(seed=3), teacher, 2.0)) > float(
        distil_loss(teacher, teacher, 2.0)
    )


def test_a_class_that_cannot_be_costs_nothing() -> None:
    student, teacher = logits(), logits(seed=2)
    padded = [functional.pad(z, (0, 3), value=-1e4) for z in (student, teacher)]
    assert float(distil_loss(*padded, 2.0)) == pytest.approx(
        float(distil_loss(student, teacher, 2.0))
    )


def test_label_loss_by_hand_and_as_torch_has_it() -> None:
    # Probabilities 3/4 and 1/2 of the true class; the third row has no label.
    z = torch.tensor([[LN3, 0.0], [0.0, 0.0], [9.0, 0.0]])
    labels = torch.tensor([0, 1, IGNORED])
    assert float(label_loss(z, labels)) == pytest.approx((math.log(4 / 3) + LN2) / 2)
    assert float(label_loss(z, labels)) == pytest.approx(
        float(functional.nll_loss(functional.log_softmax(z, dim=-1), labels, ignore_index=-100))
    )


def test_cosine_loss_by_hand_and_as_torch_has_it() -> None:
    along, across, between = torch.tensor([[[1.0, 0.0]], [[0.0, 2.0]], [[3.0, 3.0]]])
    assert float(cosine_loss(along, 5 * along)) == pytest.approx(0)
    assert float(cosine_loss(along, across)) == pytest.approx(1)
    assert float(cosine_loss(along, between)) == pytest.approx(1 - 1 / math.sqrt(2))
    assert float(cosine_loss(along, -along)) == pytest.approx(2)
    ours, theirs = logits(seed=1), logits(seed=2)
    assert float(cosine_loss(ours, theirs)) == pytest.approx(
        float(functional.cosine_embedding_loss(ours, theirs, torch.ones(len(ours))))
    )


def test_total_is_the_weighted_sum() -> None:
    parts = Losses(torch.tensor(1.0), torch.tensor(10.0), torch.tensor(100.0))
    assert float(parts.total(Weights(0.5, 0.3, 0.2))) == pytest.approx(23.5)


@pytest.mark.parametrize("weights", [(0.5, 0.5, 0.5), (0, 0, 0), (1.2, -0.2, 0), (1, 1e-3, 0)])
def test_weights_that_do_not_sum_to_1_are_refused(weights: tuple[float, float, float]) -> None:
    with pytest.raises(ConfigError, match="sum to 1") as caught:
        Weights(*weights)
    assert caught.value.code == "loss_weights"


def test_weights_as_people_type_them_are_taken() -> None:
    assert Weights(0.6, 0.3, 0.1).alpha == 0.6
    assert Weights(0.333333, 0.333333, 0.333334).beta == 0.333333
