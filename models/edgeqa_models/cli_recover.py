"""`edgeqa models recover`: a torch checkpoint of a package."""

# ruff: noqa: PLC0415  imports inside commands: torch takes seconds, `--help` must not

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def recover(
    package: Annotated[Path, typer.Argument(help="Package, fp32 or int8.")],
    output: Annotated[Path, typer.Option(help="Folder to make: the checkpoint.")],
) -> None:
    """Make a torch checkpoint of a package whose own checkpoint is gone.

    It can teach (`distil`), be trained further and be exported again. What quantisation rounded
    away stays away. Exit code 6 if the checkpoint computes something else than the package.
    """
    from edgeqa_models.recover import recover as run

    made = run(package=package, output=output)
    typer.echo(
        f"against the package: logits correlate by {made.correlation:.4f}, same best span in "
        f"{made.same_spans} of {made.windows} windows of its check questions"
    )
    typer.echo(f"checkpoint: {output}")
