"""What every training run has in common: options on record, resuming, Ctrl-C, a log of losses.

The loop is `transformers.Trainer`; a run folder belongs to one set of options, and the same
command in it goes on from the newest checkpoint to the same weights as an uninterrupted run.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
import transformers
from transformers.trainer_utils import get_last_checkpoint

from edgeqa.errors import ConfigError
from edgeqa.files import write_atomic

if TYPE_CHECKING:
    from types import FrameType

RUN_FILE = "edgeqa-run.json"
LOSS_FILE = "loss.jsonl"
LOGGING_STEPS = 20

Precision = Literal["bf16", "fp32"]
Device = Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long and how fast a run learns.

    Attributes:
        epochs: passes over the data; may be a fraction.
        batch_size: rows per step.
        learning_rate: peak, reached after `warmup` and then falling linearly to 0.
        warmup: share of all steps.
        save_steps: steps between checkpoints.
        seed: of weights, order and dropout.
        precision: `bf16` is autocast (the weights stay fp32).
        device: `auto` takes a GPU where there is one.
    """

    epochs: float
    batch_size: int = 16
    learning_rate: float = 1.5e-4
    warmup: float = 0.06
    save_steps: int = 250
    seed: int = 42
    precision: Precision = "bf16"
    device: Device = "auto"


def demand_device(schedule: Schedule) -> None:
    """Refuse early what cannot run here.

    Raises:
        ConfigError: a GPU is asked for and there is none (`no_gpu`).
    """
    if schedule.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            "torch sees no GPU here; leave --device out, or install a CUDA build of torch",
            code="no_gpu",
        )


def arguments(output: Path, schedule: Schedule, **more: Any) -> transformers.TrainingArguments:
    """The trainer's arguments of a run whose rows have a column `length`."""
    on_cpu = schedule.device == "cpu" or not torch.cuda.is_available()
    return transformers.TrainingArguments(
        output_dir=str(output),
        num_train_epochs=schedule.epochs,
        per_device_train_batch_size=schedule.batch_size,
        learning_rate=schedule.learning_rate,
        warmup_ratio=schedule.warmup,
        lr_scheduler_type="linear",
        weight_decay=0.01,
        optim="adamw_torch_fused",
        bf16=schedule.precision == "bf16",
        use_cpu=on_cpu,
        group_by_length=True,
        length_column_name="length",
        dataloader_pin_memory=False,
        logging_steps=LOGGING_STEPS,
        save_steps=schedule.save_steps,
        save_total_limit=2,
        seed=schedule.seed,
        report_to=[],
        **more,
    )


def claim(output: Path, wanted: dict[str, Any]) -> None:
    """Record what this run is, or refuse to go on with a different one.

    Raises:
        ConfigError: `output` holds a run with other options (`run_differs`), or cannot be written
            (`output_unwritable`).
    """
    record = output / RUN_FILE
    plain = json.loads(json.dumps(wanted))  # as it will be read back
    try:
        if record.exists():
            found = json.loads(record.read_text(encoding="utf-8"))
            if found == plain:
                return
            keys = sorted(key for key in {*plain, *found} if found.get(key) != plain.get(key))
            raise ConfigError(
                f"{output} holds a run with other {', '.join(keys)}; name another --output, or "
                "delete it",
                code="run_differs",
            )
        output.mkdir(parents=True, exist_ok=True)
        write_atomic(record, (json.dumps(plain, indent=2) + "\n").encode())
    except OSError as error:
        raise ConfigError(
            f"{output}: cannot be written: {error.strerror}", code="output_unwritable"
        ) from error


def train(trainer: transformers.Trainer, output: Path) -> bool:
    """Run a trainer from its newest checkpoint in `output` on.

    Returns:
        True when finished, False when Ctrl-C or SIGTERM stopped it with a checkpoint.
    """
    stop = _StopOnSignal()
    trainer.add_callback(LossLog(output / LOSS_FILE))
    trainer.add_callback(stop)
    with stop.installed():
        trainer.train(resume_from_checkpoint=get_last_checkpoint(str(output)))
    return not stop.asked


class LossLog(transformers.TrainerCallback):  # type: ignore[misc]  # transformers is untyped
    """Appends each logged loss to a JSONL file, for plots and for watching from afar."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """Write one line."""
        del args, control
        with self._path.open("a", encoding="utf-8") as file:
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
