"""`edgeqa models …`: the sub-commands of the model workshop.

Each command imports what it needs when it runs: torch and transformers take seconds, `--help`
must not. Commands that make graphs are in `cli_export`, those that measure in
`cli_evaluate`, those that package in `cli_package`.
"""

# ruff: noqa: PLC0415  imports inside commands, see above

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeqa_models import cli_evaluate, cli_export, cli_package

app = typer.Typer(
    help="Make model packages: fine-tune, export, quantise, evaluate, package.",
    no_args_is_help=True,
)


@app.command()
def finetune(
    checkpoint: Annotated[
        str, typer.Argument(help="Folder or hub id of a BERT or DistilBERT checkpoint.")
    ],
    data: Annotated[
        list[str],
        typer.Option(help="SQuAD JSON file, folder of them, or hub id; may be repeated."),
    ],
    output: Annotated[Path, typer.Option(help="Run folder; the model is left in OUTPUT/final.")],
    epochs: Annotated[float, typer.Option(min=0.01, max=100)] = 2.0,
    batch_size: Annotated[int, typer.Option(min=1, max=1024)] = 16,
    learning_rate: Annotated[float, typer.Option(min=1e-7, max=1e-2)] = 1.5e-4,
    dropout: Annotated[float, typer.Option(min=0.0, max=0.9)] = 0.0,
    max_seq_len: Annotated[int, typer.Option(min=64, max=512, help="Tokens a window.")] = 384,
    doc_stride: Annotated[int, typer.Option(min=0, max=256, help="Tokens shared.")] = 128,
    save_steps: Annotated[int, typer.Option(min=1, help="Steps between checkpoints.")] = 250,
    seed: Annotated[int, typer.Option()] = 42,
    max_examples: Annotated[
        int, typer.Option(min=0, help="Use at most so many questions (0: all).")
    ] = 0,
    split: Annotated[str, typer.Option(help="Split of a hub data set.")] = "train",
) -> None:
    """Fine-tune a checkpoint on SQuAD-format questions.

    Repeated questions and those that hold the placeholder <unk> are left out. Ctrl-C writes a
    checkpoint; the same command goes on from it.
    """
    from edgeqa.reader.windows import WindowSizes
    from edgeqa_models.data import distinct, legible, load_examples
    from edgeqa_models.finetune import FinetuneOptions
    from edgeqa_models.finetune import finetune as run

    options = FinetuneOptions(
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        dropout=dropout,
        sizes=WindowSizes(max_seq_len, doc_stride, max_question_tokens=64),
        save_steps=save_steps,
        seed=seed,
        max_examples=max_examples,
    )
    examples = legible(distinct(load_examples(data, split=split)))
    typer.echo(f"{len(examples)} questions from {', '.join(data)}")
    if not run(checkpoint=checkpoint, examples=examples, output=output, options=options):
        typer.echo(f"stopped; the same command goes on from the checkpoint in {output}")
        raise typer.Exit(130)
    typer.echo(f"finished: {output / 'final'}")


for command in (
    cli_export.export,
    cli_export.quantise,
    cli_evaluate.evaluate,
    cli_package.check,
    cli_package.package,
):
    app.command()(command)
