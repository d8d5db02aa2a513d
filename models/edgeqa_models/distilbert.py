"""DistilBERT seen as a BERT, for export and for students made of their teachers.

DistilBERT is BERT without token types and pooler (Sanh et al. 2019), so its weights under BERT's
names and a row of zeros for the token type compute the same function. onnxruntime's attention
fusion knows BERT's graph but not the one that DistilBERT's own code traces to (0 of 6 layers
fused; transformers 4.57, onnxruntime 1.32). The parity check compares with the original.
"""

from __future__ import annotations

import re
from typing import Any

import torch
import transformers

_RENAMED = (
    ("distilbert.", "bert."),
    ("transformer.layer", "encoder.layer"),
    ("attention.q_lin", "attention.self.query"),
    ("attention.k_lin", "attention.self.key"),
    ("attention.v_lin", "attention.self.value"),
    ("attention.out_lin", "attention.output.dense"),
    ("sa_layer_norm", "attention.output.LayerNorm"),
    ("ffn.lin1", "intermediate.dense"),
    ("ffn.lin2", "output.dense"),
)


def as_bert(model: Any) -> Any:
    """A BertForQuestionAnswering with the weights of a DistilBertForQuestionAnswering."""
    config = model.config
    bert = transformers.BertForQuestionAnswering(
        transformers.BertConfig(
            vocab_size=config.vocab_size,
            hidden_size=config.dim,
            num_hidden_layers=config.n_layers,
            num_attention_heads=config.n_heads,
            intermediate_size=config.hidden_dim,
            hidden_act=config.activation,
            max_position_embeddings=config.max_position_embeddings,
            type_vocab_size=1,
            layer_norm_eps=1e-12,  # fixed in DistilBERT's code
            attn_implementation="eager",
        )
    )
    weights = {berts_name(name): weight for name, weight in model.state_dict().items()}
    types = "bert.embeddings.token_type_embeddings.weight"
    weights[types] = torch.zeros_like(bert.state_dict()[types])
    bert.load_state_dict(weights, strict=True)
    return bert.eval()


def berts_name(name: str) -> str:
    """What BERT calls the weight that DistilBERT calls `name`, prefix of the model or not."""
    for ours, berts in _RENAMED:
        name = name.replace(ours, berts)
    return re.sub(r"(layer\.\d+\.)output_layer_norm", r"\1output.LayerNorm", name)
