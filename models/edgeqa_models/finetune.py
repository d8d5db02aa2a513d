"""Fine-tuning a BERT or DistilBERT checkpoint into a SQuAD reader.

The loop is `transformers.Trainer` (see `training`); this module fixes the rows and the model.
Source of the recipe: Devlin et al. 2019, section 4.2 (span start and end cross-entropy).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import transformers

from edgeqa.reader.windows import WindowSizes
from edgeqa.squad import Example
from edgeqa_models.checkpoint import load_config, load_tokenizer, unloadable
from edgeqa_models.distil_trainer import collator
from edgeqa_models.features import FeatureOptions, make_rows, sampled
from edgeqa_models.training import Schedule, arguments, claim, demand_device, train


@dataclass(frozen=True, slots=True)
class FinetuneOptions:
    """What defines a run; a checkpoint is only resumed under equal options.

    Attributes:
        schedule: how long and how fast.
        dropout: of the hidden states; attention dropout is always off, which lets torch use its
            fused attention, much the quicker on a CPU.
        sizes: window sizes in training.
        features: how rows are made.
        max_examples: use at most so many questions (0: all), for a first short run.
    """

    schedule: Schedule = Schedule(epochs=2.0)
    dropout: float = 0.0
    sizes: WindowSizes = WindowSizes(max_seq_len=384, doc_stride=128, max_question_tokens=64)
    features: FeatureOptions = FeatureOptions()
    max_examples: int = 0


def finetune(
    *,
    checkpoint: str,
    examples: Sequence[Example],
    output: Path,
    options: FinetuneOptions,
    callbacks: Sequence[transformers.TrainerCallback] = (),
) -> bool:
    """Train, resuming from the newest checkpoint in `output` if there is one.

    Args:
        checkpoint: hub id or folder of a BERT or DistilBERT model with its tokenizer.
        examples: the training questions.
        output: run folder; the finished model lies in `output/final`.
        options: what defines the run.
        callbacks: that watch the run, beside our own.

    Returns:
        True when finished, False when stopped by Ctrl-C with a checkpoint to go on from.

    Raises:
        ModelLoadError: the checkpoint is not there or of another architecture.
        ConfigError: `output` holds a run with other options.
    """
    schedule = options.schedule
    demand_device(schedule)
    transformers.set_seed(schedule.seed)
    chosen = sampled(examples, options.max_examples, schedule.seed)
    model, tokenizer = _load(checkpoint, options)
    rows = make_rows(chosen, tokenizer, options.sizes, options.features)
    claim(output, {"checkpoint": checkpoint, "examples": len(chosen), **asdict(options)})
    trainer = transformers.Trainer(
        model=model,
        args=arguments(output, schedule),
        train_dataset=rows,
        data_collator=collator(tokenizer),
        callbacks=list(callbacks),
    )
    if not train(trainer, output):
        return False
    trainer.save_model(str(output / "final"))
    tokenizer.save_pretrained(str(output / "final"))
    return True


def _load(checkpoint: str, options: FinetuneOptions) -> tuple[Any, Any]:
    config = load_config(checkpoint)
    if config.model_type == "bert":
        config.hidden_dropout_prob, config.attention_probs_dropout_prob = options.dropout, 0.0
    else:
        config.dropout, config.attention_dropout = options.dropout, 0.0
    tokenizer = load_tokenizer(checkpoint)
    try:
        model = transformers.AutoModelForQuestionAnswering.from_pretrained(
            checkpoint, config=config
        )
    except Exception as error:
        raise unloadable(checkpoint, error) from error
    return model, tokenizer
