"""Fine-tuning a BERT or DistilBERT checkpoint into a SQuAD reader.

The loop is `transformers.Trainer`; this module fixes what makes a run repeatable and
interruptible: seeds, length-grouped batches, bfloat16 autocast, checkpoints, and a Ctrl-C that
writes a checkpoint before it stops, so that the same command goes on where it was.
Source of the recipe: Devlin et al. 2019, section 4.2 (span start and end cross-entropy).
"""

from __future__ import annotations

import json
import random
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import datasets
import torch
import transformers
from tokenizers import Tokenizer
from transformers.trainer_utils import get_last_checkpoint

from edgeqa.errors import ConfigError
from edgeqa.reader.windows import Windower, WindowSizes
from edgeqa.squad import Example
from edgeqa_models.checkpoint import load_config, load_tokenizer, unloadable
from edgeqa_models.features import FeatureOptions, make_features

if TYPE_CHECKING:
    from types import FrameType

RUN_FILE = "edgeqa-run.json"


@dataclass(frozen=True, slots=True)
class FinetuneOptions:
    """What defines a run; a checkpoint is only resumed under equal options.

    Attributes:
        epochs: passes over the data; may be a fraction.
        batch_size: rows per step.
        learning_rate: peak, reached after `warmup` and then falling linearly to 0.
        warmup: share of all steps.
        dropout: of the hidden states; attention dropout is always off, which lets torch use its
            fused attention, much the quicker on a CPU.
        sizes: window sizes in training.
        features: how rows are made.
        save_steps: steps between checkpoints.
        seed: of weights, order and dropout.
        max_examples: use at most so many questions (0: all), for a first short run.
    """

    epochs: float = 2.0
    batch_size: int = 16
    learning_rate: float = 1.5e-4
    warmup: float = 0.06
    dropout: float = 0.0
    sizes: WindowSizes = WindowSizes(max_seq_len=384, doc_stride=128, max_question_tokens=64)
    features: FeatureOptions = FeatureOptions()
    save_steps: int = 250
    seed: int = 42
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
    transformers.set_seed(options.seed)
    if options.max_examples:
        draw = random.Random(options.seed)  # noqa: S311  a reproducible draw, not a secret
        examples = draw.sample(examples, min(options.max_examples, len(examples)))
    model, tokenizer = _load(checkpoint, options)
    rows = _rows(examples, tokenizer, options)
    _claim(output, checkpoint, options, len(examples))
    stop = _StopOnSignal()
    trainer = transformers.Trainer(
        model=model,
        args=_arguments(output, options),
        train_dataset=rows,
        data_collator=transformers.DataCollatorWithPadding(tokenizer, pad_to_multiple_of=16),
        callbacks=[_LossLog(output / "loss.jsonl"), stop, *callbacks],
    )
    with stop.installed():
        trainer.train(resume_from_checkpoint=get_last_checkpoint(str(output)))
    if stop.asked:
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
    # Batches are padded by the collator on purpose: windows are cut before, by our own code.
    tokenizer.deprecation_warnings["Asking-to-pad-a-fast-tokenizer"] = True
    try:
        model = transformers.AutoModelForQuestionAnswering.from_pretrained(
            checkpoint, config=config
        )
    except Exception as error:
        raise unloadable(checkpoint, error) from error
    return model, tokenizer


def _rows(
    examples: Sequence[Example], tokenizer: Any, options: FinetuneOptions
) -> datasets.Dataset:
    # A copy: cutting windows leaves truncation set, which has no place in the saved tokenizer.
    copy = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    windower = Windower(tokenizer=copy, sizes=options.sizes)
    rows = datasets.Dataset.from_list(list(make_features(examples, windower, options.features)))
    return rows.add_column("length", [len(ids) for ids in rows["input_ids"]])


def _arguments(output: Path, options: FinetuneOptions) -> transformers.TrainingArguments:
    return transformers.TrainingArguments(
        output_dir=str(output),
        num_train_epochs=options.epochs,
        per_device_train_batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        warmup_ratio=options.warmup,
        lr_scheduler_type="linear",
        weight_decay=0.01,
        optim="adamw_torch_fused",
        bf16=True,
        use_cpu=not torch.cuda.is_available(),
        group_by_length=True,
        length_column_name="length",
        dataloader_pin_memory=False,
        logging_steps=20,
        save_steps=options.save_steps,
        save_total_limit=2,
        seed=options.seed,
        report_to=[],
    )


def _claim(output: Path, checkpoint: str, options: FinetuneOptions, examples: int) -> None:
    """Record what this run is, or refuse to go on with a different one."""
    wanted = {"checkpoint": checkpoint, "examples": examples, **asdict(options)}
    record = output / RUN_FILE
    if record.exists():
        found = json.loads(record.read_text())
        if found != wanted:
            different = sorted(key for key in wanted if found.get(key) != wanted[key])
            raise ConfigError(
                f"{output} holds a run with other {', '.join(different)}; name another --output, "
                "or delete it"
            )
        return
    output.mkdir(parents=True, exist_ok=True)
    record.write_text(json.dumps(wanted, indent=2) + "\n")


class _LossLog(transformers.TrainerCallback):  # type: ignore[misc]  # transformers is untyped
    """Appends each logged loss to a JSONL file, for plots and for watching from afar."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """Write one line."""
        del args, control
        with self._path.open("a") as file:
            file.write(json.dumps({"step": state.global_step, **(logs or {})}) + "\n")


class _StopOnSignal(transformers.TrainerCallback):  # type: ignore[misc]  # transformers is untyped
    """Turns Ctrl-C and SIGTERM into: finish this step, write a checkpoint, stop."""

    def __init__(self) -> None:
        self.asked = False

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Handle the signals inside the block; afterwards they do what they did."""
        signals = (signal.SIGINT, signal.SIGTERM)
        before = [signal.signal(number, self._on_signal) for number in signals]
        try:
            yield
        finally:
            for number, handler in zip(signals, before, strict=True):
                signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self.asked = True

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        """Ask the trainer to save and stop."""
        del args, state
        if self.asked:
            control.should_save = control.should_training_stop = True
        return control
