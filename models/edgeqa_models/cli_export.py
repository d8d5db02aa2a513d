"""`edgeqa models export|quantise`: the commands that make graphs of checkpoints."""

# ruff: noqa: PLC0415  imports inside commands: torch takes seconds, `--help` must not

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


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
    limit: Annotated[int, typer.Option(min=1, help="Questions taken of --data.")] = 100,
    tolerance: Annotated[
        float, typer.Option(min=0.0, help="Largest difference of a logit from torch.")
    ] = 1e-3,
    split: Annotated[str, typer.Option(help="Split of a hub data set.")] = "validation",
) -> None:
    """Export a reader to ONNX, fused for inference and checked against torch.

    Exit code 6 if the graph does not give torch's logits and spans.
    """
    from edgeqa_models.checks import SHIPPED, read_checks
    from edgeqa_models.data import load_examples
    from edgeqa_models.export import export as run
    from edgeqa_models.sample import draw

    questions = [(check.question, check.context) for check in read_checks(SHIPPED)]
    if data:
        examples = draw(load_examples(data, split=split), limit, seed=0)
        questions += [(example.question, example.context) for example in examples]
    made = run(checkpoint=checkpoint, output=output, questions=questions, tolerance=tolerance)
    parity, shape = made.parity, made.architecture
    typer.echo(
        f"{shape.type}, {shape.layers} layers of {shape.hidden}, {shape.parameters:,} parameters, "
        f"{made.bytes:,} bytes"
    )
    typer.echo("operators: " + ", ".join(f"{n} {name}" for name, n in made.operators.items()))
    typer.echo(
        f"parity with torch: largest logit difference {parity.max_difference:.2g} (allowed "
        f"{tolerance:.2g}), same best span in {parity.same_spans} of {parity.windows} windows"
    )
    typer.echo(f"fp32 draft: {output}")


def quantise(
    draft: Annotated[Path, typer.Argument(help="fp32 draft that `export` made.")],
    output: Annotated[Path, typer.Option(help="Folder to make: the int8 draft.")],
) -> None:
    """Quantise an fp32 draft to int8: a quarter of the size, about twice as fast."""
    from edgeqa_models.quantise import calibration_texts
    from edgeqa_models.quantise import quantise as run

    size = run(draft=draft, output=output, texts=calibration_texts())
    typer.echo(f"int8 draft: {output} ({size:,} bytes)")
