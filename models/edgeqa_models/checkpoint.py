"""Reading Hugging Face checkpoints, refusing what transformers would let pass.

`from_pretrained` fills missing weights with random ones and only logs it; here a question
answering head that is not in the file is an error, and so is everything else that would make a
reader that loads but does not read.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import transformers

from edgeqa.errors import ModelLoadError
from edgeqa.manifest import Architecture
from edgeqa_models.vocabulary import demand_fitting_tokenizer

SUPPORTED = ("bert", "distilbert")
_SPAN_LABELS = 2  # start and end
_WEIGHTS = (
    *("model.safetensors", "model.safetensors.index.json"),
    *("pytorch_model.bin", "pytorch_model.bin.index.json"),
)
_TOKENIZERS = ("tokenizer.json", "vocab.txt")
_MAX_REASON_CHARS = 300  # transformers lists all architectures that it knows


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
    _demand_config(checkpoint)
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
    _demand_one_of(checkpoint, _TOKENIZERS, "tokenizer (tokenizer.json)")
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint, use_fast=True)
    except Exception as error:
        raise unloadable(checkpoint, error, part="its tokenizer") from error
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
    _demand_one_of(checkpoint, _WEIGHTS, "weights (model.safetensors or pytorch_model.bin)")
    try:
        model, info = transformers.AutoModelForQuestionAnswering.from_pretrained(
            checkpoint, config=config, attn_implementation=attention, output_loading_info=True
        )
    except Exception as error:
        raise unloadable(checkpoint, error, part="its weights") from error
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


def unloadable(checkpoint: str, error: Exception, *, part: str = "it") -> ModelLoadError:
    """One line about a checkpoint, or a part of it, that transformers refuses."""
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
    if len(reason) > _MAX_REASON_CHARS:
        reason = f"{reason[:_MAX_REASON_CHARS]}…"
    advice = (
        ""
        if Path(checkpoint).is_dir()
        else "; without internet, name a folder with config.json, weights and tokenizer"
    )
    return ModelLoadError(f"{checkpoint}: {part} cannot be loaded: {reason}{advice}")


def _demand_config(checkpoint: str) -> None:
    """Say of a folder what transformers says at length."""
    path = Path(checkpoint) / "config.json"
    if not Path(checkpoint).is_dir():
        return
    try:
        config = json.loads(path.read_bytes())
    except OSError as error:
        raise ModelLoadError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ModelLoadError(f"{path}: not valid JSON") from error
    kind = config.get("model_type") if isinstance(config, dict) else None
    if not isinstance(kind, str):
        raise ModelLoadError(f"{path}: names no model_type")


def _demand_one_of(checkpoint: str, names: tuple[str, ...], what: str) -> None:
    folder = Path(checkpoint)
    if folder.is_dir() and not any((folder / name).is_file() for name in names):
        raise ModelLoadError(f"{checkpoint}: holds no {what}")


def _architecture(config: Any, model: Any) -> Architecture:
    return Architecture(
        type=config.model_type,
        layers=config.num_hidden_layers,
        hidden=config.hidden_size,
        heads=config.num_attention_heads,
        vocabulary=config.vocab_size,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
    )
