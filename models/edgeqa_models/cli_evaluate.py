"""`edgeqa models evaluate`: the command that measures a model."""

# ruff: noqa: PLC0415  imports inside commands: onnxruntime takes a second, `--help` must not

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from edgeqa.reader.engine import Engine
    from edgeqa_models.evaluate import Tally
    from edgeqa_models.report import Report
    from edgeqa_models.sample import Sample

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
    from edgeqa.squad_v2 import EVEN
    from edgeqa_models.draft import open_measurable
    from edgeqa_models.evaluate import report_on
    from edgeqa_models.peak_memory import peak_memory
    from edgeqa_models.sample import take_sample

    sample = take_sample(data, split=split, name=name, limit=limit, seed=seed)
    opened = open_measurable(model, threads=threads)
    memory = peak_memory(model, sample.examples, threads=threads)
    threshold = EVEN if sample.task == "squad_v2" else None
    tally = _with_bar(opened.engine, sample, threshold)
    result = report_on(tally, opened, sample, threads=threads, peak_memory_bytes=memory)
    _print(result, len(sample.examples))
    if report is not None:
        write_atomic(report, (result.model_dump_json(by_alias=True, indent=2) + "\n").encode())
    if not result.complete:
        raise typer.Exit(_INTERRUPTED)


def _with_bar(engine: Engine, sample: Sample, threshold: float | None) -> Tally:
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
        task = bar.add_task("EM -- F1 --", total=len(sample.examples))

        def show(tally: Tally) -> None:
            text = f"EM {tally.exact_match:.2f} F1 {tally.f1:.2f}"
            bar.update(task, completed=tally.questions, description=text)

        return run(engine, sample.examples, show, null_threshold=threshold)


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
