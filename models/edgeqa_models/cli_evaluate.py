"""`edgeqa models evaluate`: the command that measures a model."""

# ruff: noqa: PLC0415  imports inside commands: onnxruntime takes a second, `--help` must not

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from edgeqa.reader.engine import Engine
    from edgeqa.squad import Example
    from edgeqa_models.evaluate import Report, Tally

_INTERRUPTED = 130

ModelFolder = Annotated[Path, typer.Argument(help="Package, or draft of `export` or `quantise`.")]


def evaluate(
    model: ModelFolder,
    data: Annotated[str, typer.Option(help="SQuAD JSON file, folder of them, or hub id.")],
    name: Annotated[
        str, typer.Option(help="What reports call the data; without it, the file's name.")
    ] = "",
    limit: Annotated[
        int, typer.Option(min=0, help="A random sample of so many questions (0: all).")
    ] = 0,
    threads: Annotated[int, typer.Option(min=1, max=64, help="For one inference.")] = 1,
    report: Annotated[Path | None, typer.Option(help="Write the result as JSON.")] = None,
    seed: Annotated[int, typer.Option(help="Of the sample.")] = 0,
    split: Annotated[str, typer.Option(help="Split of a hub data set.")] = "validation",
) -> None:
    """Measure EM, F1 and latency with the reader that answers on the device.

    Ctrl-C prints what is known so far and exits with 130.
    """
    from edgeqa.files import write_atomic
    from edgeqa_models.data import load_examples
    from edgeqa_models.draft import open_measurable
    from edgeqa_models.evaluate import Report, draw, fingerprint, machine

    everything = load_examples([data], split=split)
    examples = draw(everything, limit, seed)
    opened = open_measurable(model, threads=threads)
    tally = _with_bar(opened.engine, examples)
    title = name or Path(data).name.removesuffix(".json")
    if len(examples) < len(everything):
        title = f"{title} ({len(examples)} of {len(everything)} questions, seed {seed})"
    result = Report(
        schema=1,
        dataset=title,
        fingerprint=fingerprint(data, everything),
        precision=opened.precision,
        model_sha256=opened.model_sha256,
        complete=tally.questions == len(examples),
        questions=tally.questions,
        refused=tally.refused,
        exact_match=tally.exact_match,
        f1=tally.f1,
        seconds=sum(tally.times_ms) / 1000,
        p50_ms=tally.percentile_ms(0.5),
        p95_ms=tally.percentile_ms(0.95),
        machine=machine(),
        threads=threads,
    )
    _print(result, len(examples))
    if report is not None:
        write_atomic(report, (result.model_dump_json(by_alias=True, indent=2) + "\n").encode())
    if not result.complete:
        raise typer.Exit(_INTERRUPTED)


def _with_bar(engine: Engine, examples: list[Example]) -> Tally:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    from edgeqa_models.evaluate import evaluate as run

    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
    with bar:
        task = bar.add_task("EM -- F1 --", total=len(examples))

        def show(tally: Tally) -> None:
            text = f"EM {tally.exact_match:.2f} F1 {tally.f1:.2f}"
            bar.update(task, completed=tally.questions, description=text)

        return run(engine, examples, show)


def _print(result: Report, wanted: int) -> None:
    if not result.complete:
        typer.echo(f"stopped after {result.questions} of {wanted} questions")
    typer.echo(f"data       {result.dataset}")
    typer.echo(f"questions  {result.questions} ({result.refused} refused)")
    typer.echo(f"EM         {result.exact_match:.2f}")
    typer.echo(f"F1         {result.f1:.2f}")
    typer.echo(
        f"time       p50 {result.p50_ms:.1f} ms, p95 {result.p95_ms:.1f} ms a question, "
        f"{result.seconds:.1f} s in all"
    )
    typer.echo(f"machine    {result.machine}, {result.threads} thread(s)")
