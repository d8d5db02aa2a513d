"""A DistilBERT student made of its teacher: fewer layers, no token types, no pooler.

Layers are copied, not drawn at random: of each group of neighbouring teacher layers the student
takes one (Sanh et al. 2019, section 3). Everything else that both have is copied whole.
"""

from __future__ import annotations

from typing import Any

import torch
import transformers

from edgeqa.errors import ConfigError
from edgeqa_models.distilbert import berts_name

_BERT, _DISTILBERT = "bert", "distilbert"


def groups(teacher_layers: int, student_layers: int) -> list[range]:
    """The teacher's layers that each layer of the student stands for, in order.

    Raises:
        ConfigError: the student would have no layer, or more than its teacher.
    """
    if not 1 <= student_layers <= teacher_layers:
        raise ConfigError(
            f"a student of {teacher_layers} layers may have 1 to {teacher_layers}, not "
            f"{student_layers}",
            code="student_layers",
        )
    ends = [teacher_layers * (k + 1) // student_layers for k in range(student_layers)]
    return [range(begin, end) for begin, end in zip([0, *ends], ends, strict=False)]


def make_student(teacher: Any, *, layers: int, dropout: float) -> Any:
    """A DistilBertModel of `layers` layers with the teacher's weights.

    Each layer starts as the first of its group (every other layer for half of them), so that the
    lowest layer goes on reading the embeddings it was trained on. The teacher's first token type,
    which plain text has throughout, is added to the position embeddings: what falls away is only
    the difference between the two types.

    Args:
        teacher: BertModel or DistilBertModel.
        layers: of the student.
        dropout: of the student's hidden states; its attention has none.

    Raises:
        ConfigError: `layers` is not between 1 and the teacher's.
    """
    config = teacher.config
    copied = [group[0] for group in groups(config.num_hidden_layers, layers)]
    student = transformers.DistilBertModel(
        transformers.DistilBertConfig(
            vocab_size=config.vocab_size,
            dim=config.hidden_size,
            n_layers=layers,
            n_heads=config.num_attention_heads,
            hidden_dim=_feed_forward(config),
            activation=_activation(config),
            max_position_embeddings=config.max_position_embeddings,
            pad_token_id=config.pad_token_id or 0,
            dropout=dropout,
            attention_dropout=0.0,
            qa_dropout=dropout,
            # Under bf16 on a CPU the backward pass of torch's fused attention takes twice the time
            # of the plain one (torch 2.13).
            attn_implementation="eager",
        )
    )
    theirs = teacher.state_dict()
    weights = {}
    for name in student.state_dict():
        source = _in_teacher(name, copied)
        if config.model_type == _BERT:
            source = berts_name(source)
        weights[name] = theirs[source].clone()
    if config.model_type == _BERT:
        types = theirs["embeddings.token_type_embeddings.weight"]
        weights["embeddings.position_embeddings.weight"] += types[0]
    student.load_state_dict(weights, strict=True)
    return student


def encoder(model: Any) -> Any:
    """The bare encoder of a BERT or DistilBERT with any head."""
    return getattr(model, model.config.model_type)


def _in_teacher(name: str, copied: list[int]) -> str:
    """`transformer.layer.2.ffn…` is `transformer.layer.{copied[2]}.ffn…` in the teacher."""
    prefix = "transformer.layer."
    if not name.startswith(prefix):
        return name
    number, _, rest = name.removeprefix(prefix).partition(".")
    return f"{prefix}{copied[int(number)]}.{rest}"


def _feed_forward(config: Any) -> int:
    return int(config.hidden_dim if config.model_type == _DISTILBERT else config.intermediate_size)


def _activation(config: Any) -> str:
    return str(config.activation if config.model_type == _DISTILBERT else config.hidden_act)


def freeze(model: Any) -> Any:
    """A teacher: no dropout, no gradients."""
    for parameter in model.parameters():
        parameter.requires_grad_(requires_grad=False)
    return model.eval()


def copy_weights(source: Any, target: Any) -> None:
    """Copy all weights of one module to another of the same shape."""
    with torch.no_grad():
        target.load_state_dict(source.state_dict(), strict=True)
