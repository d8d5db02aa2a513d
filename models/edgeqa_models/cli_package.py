"""`edgeqa models check|package`: the commands that prove models and package them."""

# ruff: noqa: PLC0415  imports inside commands: onnxruntime takes a second, `--help` must not

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ModelFolder = Annotated[Path, typer.Argument(help="Package, or draft of `export` or `quantise`.")]
Checks = Annotated[
    Path | None,
    typer.Option(help="Check questions as JSON; without it, those shipped with edgeqa."),
]


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
    from edgeqa_models.package import Evidence, Label, read_training
    from edgeqa_models.package import package as run
    from edgeqa_models.report import read_report

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
