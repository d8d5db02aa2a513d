"""`edgeqa models finetune|distil`: the commands that train."""

# ruff: noqa: PLC0415  imports inside commands: torch takes seconds, `--help` must not

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

_INTERRUPTED = 130

Data = Annotated[
    list[str],
    typer.Option(help="SQuAD JSON file, folder of them, or hub id; may be repeated."),
]
RunFolder = Annotated[Path, typer.Option(help="Run folder; the model is left in OUTPUT/final.")]
BatchSize = Annotated[int, typer.Option(min=1, max=1024, help="Windows a step.")]
Rate = Annotated[float, typer.Option(min=1e-7, max=1e-2, help="Peak; falls linearly to 0.")]
Dropout = Annotated[float, typer.Option(min=0.0, max=0.9)]
SeqLen = Annotated[int, typer.Option(min=64, max=512, help="Tokens a window.")]
Stride = Annotated[int, typer.Option(min=0, max=256, help="Tokens that windows share.")]
SaveSteps = Annotated[int, typer.Option(min=1, help="Steps between checkpoints.")]
Seed = Annotated[int, typer.Option(help="Of weights, order and dropout.")]
Limit = Annotated[int, typer.Option(min=0, help="Use at most so many questions (0: all).")]
Split = Annotated[str, typer.Option(help="Split of a hub data set.")]
PrecisionName = Annotated[
    Literal["bf16", "fp32"], typer.Option(help="bf16 is autocast; weights stay fp32.")
]
DeviceName = Annotated[
    Literal["auto", "cpu", "cuda"], typer.Option(help="auto takes a GPU where there is one.")
]


def finetune(
    checkpoint: Annotated[
        str, typer.Argument(help="Folder or hub id of a BERT or DistilBERT checkpoint.")
    ],
    data: Data,
    output: RunFolder,
    epochs: Annotated[float, typer.Option(min=0.01, max=100)] = 2.0,
    batch_size: BatchSize = 16,
    learning_rate: Rate = 1.5e-4,
    dropout: Dropout = 0.0,
    max_seq_len: SeqLen = 384,
    doc_stride: Stride = 128,
    save_steps: SaveSteps = 250,
    seed: Seed = 42,
    max_examples: Limit = 0,
    split: Split = "train",
    precision: PrecisionName = "bf16",
    device: DeviceName = "auto",
) -> None:
    """Fine-tune a checkpoint on SQuAD-format questions.

    Repeated questions and those that hold the placeholder <unk> are left out. Ctrl-C writes a
    checkpoint; the same command goes on from it.
    """
    from edgeqa.data.sources import load_examples
    from edgeqa.reader.windows import WindowSizes
    from edgeqa_models.data import distinct, legible
    from edgeqa_models.finetune import FinetuneOptions
    from edgeqa_models.finetune import finetune as run
    from edgeqa_models.training import Schedule

    schedule = Schedule(
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        save_steps=save_steps,
        seed=seed,
        precision=precision,
        device=device,
    )
    options = FinetuneOptions(
        schedule=schedule,
        dropout=dropout,
        sizes=WindowSizes(max_seq_len, doc_stride, max_question_tokens=64),
        max_examples=max_examples,
    )
    examples = legible(distinct(load_examples(data, split=split)))
    typer.echo(f"{len(examples)} questions from {', '.join(data)}")
    finished = run(checkpoint=checkpoint, examples=examples, output=output, options=options)
    _report(output, finished=finished)


def distil(
    teacher: Annotated[str, typer.Argument(help="Folder or hub id of a fine-tuned reader.")],
    data: Data,
    output: RunFolder,
    layers: Annotated[
        int, typer.Option(min=0, max=48, help="Of the student (0: half of the teacher's).")
    ] = 0,
    start: Annotated[
        str, typer.Option(help="Go on from this student of the same teacher, distilled before.")
    ] = "",
    epochs: Annotated[float, typer.Option(min=0.01, max=100, help="Of reading.")] = 2.0,
    temperature: Annotated[
        float, typer.Option(min=0.1, max=20, help="T of reading; 1 leaves the teacher as it is.")
    ] = 2.0,
    alpha: Annotated[float, typer.Option(help="Share of the teacher's softened answers.")] = 0.6,
    beta: Annotated[float, typer.Option(help="Share of the true answers.")] = 0.2,
    gamma: Annotated[
        float,
        typer.Option(
            help="Share of the cosine of hidden states. Its gradient is small: "
            "the last run of the default student has 0.96."
        ),
    ] = 0.2,
    language_epochs: Annotated[
        float, typer.Option(min=0, max=100, help="Of masked words before (0: none).")
    ] = 1.0,
    language_temperature: Annotated[float, typer.Option(min=0.1, max=20)] = 2.0,
    language_alpha: Annotated[float, typer.Option(help="Share of the teacher's words.")] = 0.625,
    language_beta: Annotated[float, typer.Option(help="Share of the true words (MLM).")] = 0.25,
    language_gamma: Annotated[float, typer.Option(help="Share of the cosine.")] = 0.125,
    text: Annotated[
        list[Path] | None,
        typer.Option(
            help="Text file for the masked words, a paragraph a line; may be repeated. Without "
            "it, the contexts of --data."
        ),
    ] = None,
    batch_size: BatchSize = 16,
    learning_rate: Rate = 3e-4,
    dropout: Dropout = 0.0,
    max_seq_len: SeqLen = 384,
    doc_stride: Stride = 128,
    save_steps: SaveSteps = 250,
    seed: Seed = 42,
    max_examples: Limit = 0,
    max_texts: Annotated[int, typer.Option(min=0, help="Pieces of text at most (0: all).")] = 0,
    split: Split = "train",
    precision: PrecisionName = "bf16",
    device: DeviceName = "auto",
) -> None:
    """Distil a reader into a DistilBERT with fewer layers.

    The loss of both stages is alpha * teacher + beta * truth + gamma * cosine, weights summing
    to 1, each logged apart in OUTPUT/*/loss.jsonl. Ctrl-C writes a checkpoint; the same command
    goes on from it.
    """
    from edgeqa.data.sources import load_examples
    from edgeqa.reader.windows import WindowSizes
    from edgeqa_models.data import distinct, legible
    from edgeqa_models.distil import DistilOptions, Stage
    from edgeqa_models.distil import distil as run
    from edgeqa_models.losses import Weights
    from edgeqa_models.texts import read_paragraphs
    from edgeqa_models.training import Schedule

    def schedule(of: float) -> Schedule:
        return Schedule(
            epochs=of,
            batch_size=batch_size,
            learning_rate=learning_rate,
            save_steps=save_steps,
            seed=seed,
            precision=precision,
            device=device,
        )

    options = DistilOptions(
        layers=layers,
        start=start,
        dropout=dropout,
        language=Stage(
            schedule(language_epochs),
            Weights(language_alpha, language_beta, language_gamma),
            language_temperature,
        ),
        reading=Stage(schedule(epochs), Weights(alpha, beta, gamma), temperature),
        sizes=WindowSizes(max_seq_len, doc_stride, max_question_tokens=64),
        max_texts=max_texts,
        max_examples=max_examples,
    )
    examples = legible(distinct(load_examples(data, split=split)))
    texts = read_paragraphs(text) if text else [example.context for example in examples]
    typer.echo(f"{len(examples)} questions from {', '.join(data)}")
    finished = run(
        teacher=teacher,
        examples=examples,
        texts=texts,
        output=output,
        options=options,
        say=typer.echo,
    )
    _report(output, finished=finished)


def _report(output: Path, *, finished: bool) -> None:
    if not finished:
        typer.echo(f"stopped; the same command goes on from the checkpoint in {output}")
        raise typer.Exit(_INTERRUPTED)
    typer.echo(f"finished: {output / 'final'}")
