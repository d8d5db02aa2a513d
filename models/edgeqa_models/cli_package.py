"""`edgeqa models check|package|show`: the commands that prove models and package them."""

# ruff: noqa: PLC0415  imports inside commands: onnxruntime takes a second, `--help` must not

from __future__ import annotations

import json
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
    opened = open_measurable(model, threads=1)
    if opened.forced is not None:
        typer.echo(opened.forced.line(), err=True)
    results = run_checks(opened.engine, asked)
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
    variant_report: Annotated[
        list[Path] | None,
        typer.Option(help="Report of a further variant, for its score card; may be repeated."),
    ] = None,
    max_f1_loss: Annotated[
        float, typer.Option(min=0.0, max=100.0, help="Points of F1 that may be lost to fp32.")
    ] = 0.5,
    max_em_loss: Annotated[
        float, typer.Option(min=0.0, max=100.0, help="Points of EM that may be lost to fp32.")
    ] = 1.0,
    force: Annotated[
        str | None,
        typer.Option(
            metavar="REASON",
            help="Package it although it loses more; reason and loss are recorded in the manifest.",
        ),
    ] = None,
) -> None:
    """Assemble a package; the same inputs give the same bytes.

    Exit code 6 if quantisation lost too much or a check question is not answered.
    """
    from edgeqa_models.checks import SHIPPED, read_checks
    from edgeqa_models.evidence import Evidence, Margins
    from edgeqa_models.package import Label, read_training
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
            others=tuple(map(read_report, variant_report or ())),
        ),
        checks=read_checks(checks or SHIPPED),
        margins=Margins(f1=max_f1_loss, exact_match=max_em_loss),
        force=force,
    )
    size = sum(entry.bytes for entry in made.manifest.files.values())
    typer.echo(f"{made.path} ({size:,} bytes) {made.digest}")
    if made.manifest.forced is not None:
        typer.echo(made.manifest.forced.line(), err=True)
    elif force is not None:
        typer.echo("no more was lost than is allowed: --force is not recorded", err=True)
    for card in made.manifest.cards:
        typer.echo(
            f"{card.variant}: EM {card.exact_match:.2f}, F1 {card.f1:.2f} on {card.questions} "
            f"questions of {card.dataset}"
        )


def show(
    folder: Annotated[Path, typer.Argument(metavar="PACKAGE", help="Folder of a package.")],
    as_json: Annotated[
        bool, typer.Option("--json", help="Digest and manifest as JSON, on one line.")
    ] = False,
) -> None:
    """Verify a package and print its manifest, with the score cards of its variants as a table."""
    from edgeqa.manifest import open_package
    from edgeqa.show import clean
    from edgeqa_models.describe import describe

    opened = open_package(folder)
    if as_json:
        manifest = opened.manifest.model_dump(mode="json", by_alias=True)
        typer.echo(json.dumps({"digest": opened.digest, "manifest": manifest}))
        return
    for line in describe(opened):
        typer.echo(clean(line))
