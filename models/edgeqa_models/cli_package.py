"""`edgeqa models evaluate|check|package`: the commands that measure models and package them."""

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
Checks = Annotated[
    Path | None,
    typer.Option(help="Check questions as JSON; without it, those shipped with edgeqa."),
]


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


def check(model: ModelFolder, checks: Checks = None) -> None:
    """Ask a model the check questions and list each answer; exit code 6 if one is wrong."""
    from edgeqa.errors import GateError
    from edgeqa_models.checks import SHIPPED, read_checks, run_checks
    from edgeqa_models.draft import open_measurable

    asked = read_checks(checks or SHIPPED)
    results = run_checks(open_measurable(model, threads=1).engine, asked)
    for result in results:
        mark = "right" if result.right else "WRONG"
        typer.echo(f"{mark}  {result.check.question}  ->  {result.answer}")
    wrong = sum(not result.right for result in results)
    typer.echo(f"{len(results) - wrong} of {len(results)} right")
    if wrong:
        raise GateError(f"{wrong} check questions are not answered", code="checks_failed")


def package(
    draft: Annotated[Path, typer.Argument(help="Draft to package, as a rule the int8 one.")],
    name: Annotated[str, typer.Option(help="Of the model, such as minilm-l6-squad.")],
    version: Annotated[str, typer.Option(help="MAJOR.MINOR.PATCH.")],
    report: Annotated[Path, typer.Option(help="Report of `evaluate` on the draft.")],
    fp32_report: Annotated[Path, typer.Option(help="The same of the fp32 draft.")],
    training: Annotated[
        Path,
        typer.Option(help="JSON: base, base_licence, data (name, licence, questions), recipe."),
    ],
    output: Annotated[Path, typer.Option(help="Folder in which NAME-VERSION is made.")] = Path(
        "models/packages"
    ),
    licence: Annotated[str, typer.Option(help="SPDX expression of the weights.")] = "Apache-2.0",
    baseline: Annotated[
        Path | None,
        typer.Option(help="Report that the baseline latency is taken from; without it, --report."),
    ] = None,
    checks: Checks = None,
    max_f1_loss: Annotated[
        float, typer.Option(min=0.0, max=100.0, help="Points of F1 that int8 may lose to fp32.")
    ] = 0.5,
) -> None:
    """Assemble a package; the same inputs give the same bytes.

    Exit code 6 if quantisation lost too much or a check question is not answered.
    """
    from edgeqa_models.checks import SHIPPED, read_checks
    from edgeqa_models.evaluate import read_report
    from edgeqa_models.package import Evidence, Label, read_training
    from edgeqa_models.package import package as run

    own = read_report(report)
    made = run(
        draft=draft,
        output=output,
        label=Label(name, version, licence),
        training=read_training(training),
        evidence=Evidence(
            own=own,
            fp32=read_report(fp32_report),
            baseline=read_report(baseline) if baseline else own,
        ),
        checks=read_checks(checks or SHIPPED),
        max_f1_loss=max_f1_loss,
    )
    size = sum(entry.bytes for entry in made.manifest.files.values())
    typer.echo(f"{made.path} ({size:,} bytes) {made.digest}")
    for score in made.manifest.scores:
        typer.echo(
            f"{score.precision}: EM {score.exact_match:.2f}, F1 {score.f1:.2f} on "
            f"{score.questions} questions of {score.dataset}"
        )


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
