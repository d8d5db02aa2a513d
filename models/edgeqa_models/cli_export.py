"""`edgeqa models export|quantise`: the commands that make graphs of checkpoints."""

# ruff: noqa: PLC0415  imports inside commands: torch takes seconds, `--help` must not

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeqa_models.variants import Variant, listed

if TYPE_CHECKING:
    from edgeqa.manifest import Check
    from edgeqa_models.parity import Progress

# Questions of --data that the parity check compares: what the project promises to have compared.
_PARITY_QUESTIONS = 500
# A reader misses few of our check questions, one with an untrained head nearly all of them.
_SUSPICIOUS = 0.5


def export(
    checkpoint: Annotated[
        str, typer.Argument(help="Folder or hub id of a fine-tuned BERT or DistilBERT reader.")
    ],
    output: Annotated[Path, typer.Option(help="Folder to make: the fp32 draft.")],
    data: Annotated[
        list[str] | None,
        typer.Option(
            help="SQuAD JSON file, folder or hub id whose questions the parity check compares "
            "too, beside our check questions."
        ),
    ] = None,
    limit: Annotated[
        int, typer.Option(min=1, help="Questions taken of --data.")
    ] = _PARITY_QUESTIONS,
    tolerance: Annotated[
        float, typer.Option(min=0.0, help="Largest difference of a logit from torch.")
    ] = 1e-3,
    split: Annotated[str, typer.Option(help="Split of a hub data set.")] = "validation",
) -> None:
    """Export a reader to ONNX, fused for inference and checked against torch.

    Exit code 6 if the graph does not give torch's logits and spans.
    """
    from edgeqa.data.sources import load_examples
    from edgeqa_models.checks import SHIPPED, read_checks
    from edgeqa_models.export import export as run
    from edgeqa_models.sample import draw

    checks = read_checks(SHIPPED)
    questions = [(check.question, check.context) for check in checks]
    if data:
        examples = draw(load_examples(data, split=split), limit, seed=0)
        questions += [(example.question, example.context) for example in examples]
    with _bar("comparing with torch") as show:
        made = run(
            checkpoint=checkpoint,
            output=output,
            questions=questions,
            tolerance=tolerance,
            on_progress=show,
        )
    parity, shape = made.parity, made.architecture
    typer.echo(
        f"{shape.type}, {shape.layers} layers of {shape.hidden}, {shape.parameters:,} parameters, "
        f"{made.bytes:,} bytes"
    )
    fused = made.operators["Attention"]
    typer.echo(f"attention fused in {fused} of {shape.layers} layers")
    typer.echo("operators: " + ", ".join(f"{n} {name}" for name, n in made.operators.items()))
    typer.echo(
        f"parity with torch: largest logit difference {parity.max_difference:.2g} (allowed "
        f"{tolerance:.2g}), same best span in {parity.same_spans} of {parity.windows} windows of "
        f"{parity.questions} questions"
    )
    _ask(output, checks)
    typer.echo(f"fp32 draft: {output}")


def _show_variants(wanted: bool) -> None:
    if wanted:
        typer.echo(listed())
        raise typer.Exit


def quantise(
    draft: Annotated[Path, typer.Argument(help="fp32 draft that `export` made.")],
    output: Annotated[Path, typer.Option(help="Folder to make: the variant's draft.")],
    variant: Annotated[
        Variant, typer.Option(help="What to make; --list explains each.")
    ] = Variant.INT8,
    show: Annotated[
        bool,
        typer.Option(
            "--list", callback=_show_variants, is_eager=True, help="Explain the variants."
        ),
    ] = False,
) -> None:
    """Quantise an fp32 draft; as int8 a quarter of the size and about twice as fast.

    Exit code 6 if the result computes something else than the draft.
    """
    del show
    from edgeqa_models.quantise import calibration_texts
    from edgeqa_models.quantise import quantise as run

    made = run(draft=draft, output=output, texts=calibration_texts(), variant=variant)
    drift = made.drift
    typer.echo(
        f"against fp32: rms difference of a logit {drift.rms:.2g}, same best span in "
        f"{drift.same_spans} of {drift.windows} windows"
    )
    typer.echo(f"{variant} draft: {output} ({made.bytes:,} bytes)")


def _ask(draft: Path, checks: list[Check]) -> None:
    """Say how many check questions the reader answers: parity cannot know a bad reader."""
    from edgeqa_models.checks import run_checks
    from edgeqa_models.draft import open_measurable

    results = run_checks(open_measurable(draft, threads=1).engine, checks)
    right = sum(result.right for result in results)
    typer.echo(f"check questions: {right} of {len(results)} right")
    if right < _SUSPICIOUS * len(results):
        typer.echo(
            "WARNING: the reader misses most check questions. If it reads English, its head is "
            "untrained or its tokenizer is another model's.",
            err=True,
        )


@contextmanager
def _bar(text: str) -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
    with bar:
        task = bar.add_task(text, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
