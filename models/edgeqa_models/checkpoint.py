"""Reading Hugging Face checkpoints, refusing what transformers would let pass.

`from_pretrained` fills missing weights with random ones and only logs it; here a question
answering head that is not in the file is an error, and so is everything else that would make a
reader that loads but does not read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import transformers

from edgeqa.errors import ModelLoadError
from edgeqa.manifest import Architecture
from edgeqa_models.vocabulary import demand_fitting_tokenizer

SUPPORTED = ("bert", "distilbert")
_SPAN_LABELS = 2  # start and end


@dataclass(frozen=True, slots=True)
class ReaderCheckpoint:
    """A fine-tuned reader in torch, with its fast tokenizer."""

    model: Any
    tokenizer: Any
    architecture: Architecture

    @property
    def input_names(self) -> list[str]:
        """The graph's inputs; DistilBERT knows no token types."""
        names = ["input_ids", "attention_mask"]
        return [*names, "token_type_ids"] if self.architecture.type == "bert" else names

    @property
    def activation(self) -> str:
        """Of the feed-forward layers, as transformers calls it: gelu, relu, gelu_new."""
        config = self.model.config
        return str(config.hidden_act if config.model_type == "bert" else config.activation)


def load_config(checkpoint: str) -> Any:
    """The configuration of a BERT or DistilBERT checkpoint.

    Raises:
        ModelLoadError: it cannot be loaded or is of another architecture.
    """
    try:
        config = transformers.AutoConfig.from_pretrained(checkpoint)
    except Exception as error:
        raise unloadable(checkpoint, error) from error
    if config.model_type not in SUPPORTED:
        raise ModelLoadError(
            f"{checkpoint} is a {config.model_type} model; EdgeQA reads {' and '.join(SUPPORTED)}",
            code="unsupported_architecture",
        )
    return config


def load_tokenizer(checkpoint: str) -> Any:
    """The fast tokenizer of a checkpoint.

    Raises:
        ModelLoadError: there is none, or only a slow one.
    """
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint, use_fast=True)
    except Exception as error:
        raise unloadable(f"the tokenizer of {checkpoint}", error) from error
    if not tokenizer.is_fast:
        raise ModelLoadError(f"{checkpoint} has no fast tokenizer (tokenizer.json)")
    return tokenizer


def load_reader(checkpoint: str, *, attention: str = "eager") -> ReaderCheckpoint:
    """A fine-tuned reader: BertForQuestionAnswering or DistilBertForQuestionAnswering.

    Args:
        checkpoint: folder or hub id.
        attention: `eager` is the plain MatMul-Softmax-MatMul that the exporter's fusion knows;
            `sdpa` is torch's fused one, quicker where nothing is exported.

    Raises:
        ModelLoadError: it cannot be loaded, is of another architecture, or weights of it, such
            as the question answering head, are missing from the file (`not_a_reader`), or its
            tokenizer is another model's (`tokenizer_mismatch`).
    """
    config = load_config(checkpoint)
    tokenizer = load_tokenizer(checkpoint)
    demand_fitting_tokenizer(checkpoint, tokenizer, config)
    try:
        model, info = transformers.AutoModelForQuestionAnswering.from_pretrained(
            checkpoint, config=config, attn_implementation=attention, output_loading_info=True
        )
    except Exception as error:
        raise unloadable(checkpoint, error) from error
    missing = sorted(info["missing_keys"])
    if missing:
        raise ModelLoadError(
            f"{checkpoint} is not a fine-tuned reader: {missing[0]} is not among its weights "
            f"({len(missing)} missing); run `edgeqa models finetune` first",
            code="not_a_reader",
        )
    if config.num_labels != _SPAN_LABELS:
        raise ModelLoadError(
            f"{checkpoint}: its head has {config.num_labels} outputs, not start and end",
            code="not_a_reader",
        )
    return ReaderCheckpoint(model.eval(), tokenizer, _architecture(config, model))


def unloadable(what: str, error: Exception) -> ModelLoadError:
    """One line about a checkpoint that transformers refuses."""
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return ModelLoadError(
        f"{what}: cannot be loaded: {reason.rstrip('.')}; without internet, name a folder with "
        "config.json, weights and tokenizer"
    )


def _architecture(config: Any, model: Any) -> Architecture:
    return Architecture(
        type=config.model_type,
        layers=config.num_hidden_layers,
        hidden=config.hidden_size,
        heads=config.num_attention_heads,
        vocabulary=config.vocab_size,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
    )
