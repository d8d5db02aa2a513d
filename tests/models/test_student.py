"""The student: what it takes from its teacher, and what falls away."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from edgeqa.errors import ConfigError
from edgeqa_models.checkpoint import load_reader
from edgeqa_models.student import encoder, groups, make_student


def test_each_layer_of_the_student_stands_for_neighbouring_layers_of_the_teacher() -> None:
    assert [list(group) for group in groups(6, 3)] == [[0, 1], [2, 3], [4, 5]]
    assert [list(group) for group in groups(12, 6)][-1] == [10, 11]
    assert [list(group) for group in groups(5, 2)] == [[0, 1], [2, 3, 4]]
    assert [list(group) for group in groups(3, 3)] == [[0], [1], [2]]


@pytest.mark.parametrize("layers", [0, -1, 3])
def test_a_student_of_no_layers_or_more_than_its_teacher_is_refused(
    layers: int, bert: Path
) -> None:
    with pytest.raises(ConfigError, match="may have 1 to 2") as caught:
        make_student(encoder(load_reader(str(bert)).model), layers=layers, dropout=0.0)
    assert caught.value.code == "student_layers"


def test_the_student_has_half_the_layers_no_token_types_and_no_pooler(bert: Path) -> None:
    teacher = encoder(load_reader(str(bert)).model)
    student = make_student(teacher, layers=1, dropout=0.0)
    assert student.config.model_type == "distilbert"
    names = student.state_dict().keys()
    assert not [name for name in names if "token_type" in name or "pooler" in name]
    assert {name.split(".")[2] for name in names if name.startswith("transformer")} == {"0"}
    copied = student.state_dict()["transformer.layer.0.attention.q_lin.weight"]
    assert torch.equal(copied, teacher.encoder.layer[0].attention.self.query.weight)


@pytest.mark.parametrize("kind", ["bert", "distilbert"])
def test_a_student_of_all_layers_is_its_teacher_on_plain_text(
    kind: str, request: pytest.FixtureRequest
) -> None:
    teacher: Any = encoder(load_reader(str(request.getfixturevalue(kind))).model).eval()
    student = make_student(teacher, layers=teacher.config.num_hidden_layers, dropout=0.0).eval()
    ids = torch.arange(5, 45).reshape(2, 20)
    mask = torch.ones_like(ids)
    mask[1, 12:] = 0
    with torch.no_grad():
        ours = student(input_ids=ids, attention_mask=mask).last_hidden_state
        theirs = teacher(input_ids=ids, attention_mask=mask).last_hidden_state
    assert torch.allclose(ours[mask.bool()], theirs[mask.bool()], atol=1e-5)
    assert not torch.equal(teacher.state_dict()["embeddings.word_embeddings.weight"][5:6], ours[0])
