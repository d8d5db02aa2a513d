"""Distil: a fine-tuned reader teaches a DistilBERT with fewer layers, in two stages.

First the language (masked words of plain text, `distil_language`), then reading (answers to
questions, `distil_reading`). Each stage is a run in a folder of its own that can be interrupted and
resumed; a finished stage is not run again. The loss of both is that of `losses`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import transformers

from edgeqa.reader.windows import WindowSizes
from edgeqa.squad import Example
from edgeqa_models.checkpoint import ReaderCheckpoint, load_reader
from edgeqa_models.distil_language import (
    head_trainer,
    language_trainer,
    load_filler,
    make_filler,
)
from edgeqa_models.distil_reading import copy_reader, make_reader, reading_trainer
from edgeqa_models.features import FeatureOptions, make_rows, sampled
from edgeqa_models.losses import Weights
from edgeqa_models.student import copy_weights, encoder, freeze, make_student
from edgeqa_models.texts import make_texts
from edgeqa_models.training import Schedule, claim, demand_device, train

FINAL = "final"
_LAYERS_EACH = 2  # the student has half the layers of its teacher


@dataclass(frozen=True, slots=True)
class Stage:
    """One of the two stages.

    Attributes:
        schedule: how long and how fast; 0 epochs leave the stage out.
        weights: of its three losses.
        temperature: T of its first loss.
    """

    schedule: Schedule
    weights: Weights
    temperature: float = 2.0


@dataclass(frozen=True, slots=True)
class DistilOptions:
    """What defines a run; checkpoints are only resumed under equal options.

    Attributes:
        layers: of the student; 0 is half of the teacher's.
        start: folder or hub id of a reader that was distilled before, to go on from; empty: the
            student is made of its teacher.
        dropout: of the student's hidden states.
        language: the first stage. The default weights are those of DistilBERT's published
            training (5, 2 and 1) as shares of 1.
        reading: the second stage.
        head_epochs: passes over the text to fit the teacher's masked-language-model head, where
            the teacher has none.
        sizes: window sizes of both.
        features: how rows are made of questions.
        max_texts: use at most so many pieces of text (0: all).
        max_examples: use at most so many questions (0: all).
    """

    layers: int = 0
    start: str = ""
    dropout: float = 0.0
    language: Stage = Stage(Schedule(epochs=1.0), Weights(0.625, 0.25, 0.125))
    reading: Stage = Stage(Schedule(epochs=2.0), Weights(0.6, 0.2, 0.2))
    head_epochs: float = 0.25
    sizes: WindowSizes = WindowSizes(max_seq_len=384, doc_stride=128, max_question_tokens=64)
    features: FeatureOptions = FeatureOptions()
    max_texts: int = 0
    max_examples: int = 0


@dataclass(frozen=True, slots=True)
class _Run:
    teacher: ReaderCheckpoint
    checkpoint: str
    output: Path
    options: DistilOptions
    callbacks: Sequence[transformers.TrainerCallback]
    say: Callable[[str], None]


def distil(
    *,
    teacher: str,
    examples: Sequence[Example],
    texts: Sequence[str],
    output: Path,
    options: DistilOptions,
    callbacks: Sequence[transformers.TrainerCallback] = (),
    say: Callable[[str], None] = lambda _: None,
) -> bool:
    """Distil, going on where an earlier run in `output` stopped.

    Args:
        teacher: folder or hub id of a fine-tuned BERT or DistilBERT reader.
        examples: questions of the reading stage.
        texts: of the language stage.
        output: run folder; the finished student lies in `output/final`, with its tokenizer.
        options: what defines the run.
        callbacks: that watch the training, beside our own.
        say: called with a line for people when a stage begins.

    Returns:
        True when finished, False when stopped by Ctrl-C with a checkpoint to go on from.

    Raises:
        ModelLoadError: the teacher is not a reader.
        ConfigError: the student has no or more layers than its teacher, `options.start` is of
            another shape, or `output` holds a run with other options.
        DataError: a stage has nothing to learn from.
    """
    if (output / FINAL).exists():
        say("finished before; nothing to do")
        return True
    demand_device(options.reading.schedule)
    read = load_reader(teacher, attention="sdpa")
    freeze(read.model)
    transformers.set_seed(options.reading.schedule.seed)
    layers = options.layers or max(1, read.architecture.layers // _LAYERS_EACH)
    reader = make_reader(
        make_student(encoder(read.model), layers=layers, dropout=options.dropout), read.model
    )
    if options.start:
        copy_reader(options.start, reader)
    wanted = {
        "teacher": teacher,
        "teacher_layers": read.architecture.layers,
        "examples": len(examples),
        "texts": len(texts),
        **asdict(options),
    }
    claim(output, wanted)
    run = _Run(read, teacher, output, options, callbacks, say)
    if options.language.schedule.epochs and not _learn_language(run, reader.distilbert, texts):
        return False
    return _learn_to_read(run, reader, examples)


def _learn_language(run: _Run, student: Any, texts: Sequence[str]) -> bool:
    stage, folder = run.options.language, run.output / "language"
    done = folder / FINAL
    if done.exists():
        finished = transformers.DistilBertForMaskedLM.from_pretrained(done)
        copy_weights(finished.distilbert, student)
        return True
    rows = make_texts(
        texts,
        run.teacher.tokenizer,
        max_seq_len=run.options.sizes.max_seq_len,
        limit=run.options.max_texts,
        seed=stage.schedule.seed,
    )
    teacher_filler = _filler(run, rows)
    if teacher_filler is None:
        return False
    run.say(f"language: {len(rows)} pieces of text, {stage.schedule.epochs:g} epochs")
    trainer = language_trainer(
        filler=make_filler(student, teacher_filler),
        teacher_filler=teacher_filler,
        teacher=run.teacher,
        rows=rows,
        output=folder,
        schedule=stage.schedule,
        weights=stage.weights,
        temperature=stage.temperature,
    )
    return _finish(run, trainer, folder)


def _filler(run: _Run, rows: Any) -> Any:
    """The teacher as a masked language model; None where Ctrl-C stopped the fit of its head."""
    folder = run.output / "head"
    if (folder / FINAL).exists():
        return load_filler(str(folder / FINAL))[0]
    model, has_head = load_filler(run.checkpoint)
    if has_head:
        return model
    schedule = Schedule(
        epochs=run.options.head_epochs,
        batch_size=run.options.language.schedule.batch_size,
        learning_rate=1e-3,  # a head alone on a frozen encoder bears more than the whole
        save_steps=run.options.language.schedule.save_steps,
        seed=run.options.language.schedule.seed,
        precision=run.options.language.schedule.precision,
        device=run.options.language.schedule.device,
    )
    run.say("the teacher has no masked-language-model head: fitting one on the frozen teacher")
    trainer = head_trainer(
        model=model, teacher=run.teacher, rows=rows, output=folder, schedule=schedule
    )
    return model if _finish(run, trainer, folder) else None


def _learn_to_read(run: _Run, reader: Any, examples: Sequence[Example]) -> bool:
    stage, folder = run.options.reading, run.output / "reading"
    chosen = sampled(examples, run.options.max_examples, stage.schedule.seed)
    rows = make_rows(chosen, run.teacher.tokenizer, run.options.sizes, run.options.features)
    run.say(
        f"reading: {len(chosen)} questions in {len(rows)} windows, {stage.schedule.epochs:g} epochs"
    )
    trainer = reading_trainer(
        reader=reader,
        teacher=run.teacher,
        rows=rows,
        output=folder,
        schedule=stage.schedule,
        weights=stage.weights,
        temperature=stage.temperature,
    )
    if not _finish(run, trainer, folder):
        return False
    _save_tokenizer(run.teacher.tokenizer, folder / FINAL)
    (folder / FINAL).rename(run.output / FINAL)
    return True


def _finish(run: _Run, trainer: Any, folder: Path) -> bool:
    for callback in run.callbacks:
        trainer.add_callback(callback)
    folder.mkdir(parents=True, exist_ok=True)
    if not train(trainer, folder):
        return False
    partial = folder / f"{FINAL}.part"
    trainer.save_model(str(partial))
    partial.rename(folder / FINAL)  # a stage counts as finished only when all of it is written
    return True


def _save_tokenizer(tokenizer: Any, folder: Path) -> None:
    """The teacher's tokenizer, but for the token types, which the student does not take."""
    own = copy.deepcopy(tokenizer)
    # Saved only where it was an argument once, and then with the attribute's value.
    own.model_input_names = own.init_kwargs["model_input_names"] = ["input_ids", "attention_mask"]
    own.save_pretrained(str(folder))
