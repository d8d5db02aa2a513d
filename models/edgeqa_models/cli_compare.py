"""`edgeqa models compare`: several models side by side on the same questions."""

# ruff: noqa: PLC0415  imports inside commands: onnxruntime takes a second, `--help` must not

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeqa_models.cli_evaluate import (
    DATA_HELP,
    INTERRUPTED,
    Limit,
    Name,
    NullThreshold,
    Seed,
    Split,
    Threads,
)

if TYPE_CHECKING:
    from edgeqa_models.comparison import Comparison
    from edgeqa_models.contenders import Contender
    from edgeqa_models.evaluate import Tally
    from edgeqa_models.plot import Format
    from edgeqa_models.sample import Sample


def compare(
    models: Annotated[
        list[Path],
        typer.Argument(help="Two or more packages, drafts or reports; the first is the reference."),
    ],
    data: Annotated[
        str | None, typer.Option(help=f"{DATA_HELP} Not needed to compare reports alone.")
    ] = None,
    name: Name = "",
    limit: Limit = 0,
    threads: Threads = 1,
    plot: Annotated[
        Path | None,
        typer.Option(help="Draw F1 against time: a .png or .svg file, both without suffix."),
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the result as JSON.")
    ] = None,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print Markdown tables, as for a README.")
    ] = False,
    seed: Seed = 0,
    split: Split = "validation",
    null_threshold: NullThreshold = None,
) -> None:
    """Compare models on the same questions: EM, F1, time, size, memory and significance.

    Packages and drafts are asked in turns; a report (of `evaluate`, on the same questions) is
    taken as it is. Ctrl-C prints what is known so far and exits with 130.
    """
    from edgeqa_models.comparison_table import as_markdown, as_text
    from edgeqa_models.contenders import demand_same_questions, find_contenders
    from edgeqa_models.result_file import demand_places, write_result
    from edgeqa_models.sample import take_sample

    plots = _plots(plot)
    demand_places(json_file, *plots)
    contenders = find_contenders(models)
    sample = None
    if data is not None:
        sample = take_sample(data, split=split, name=name, limit=limit, seed=seed)
    threshold = None if sample is None else sample.threshold(null_threshold)
    demand_same_questions(contenders, sample, threshold)
    comparison = _measure(contenders, sample, threads, threshold)
    if comparison.entries[0].report.questions == 0:
        typer.echo("stopped before the first questions were answered by all models")
        raise typer.Exit(INTERRUPTED)
    typer.echo((as_markdown if markdown else as_text)(comparison), nl=False)
    if json_file is not None:
        text = comparison.model_dump_json(by_alias=True, indent=2) + "\n"
        write_result(json_file, text.encode())
    for path, kind in plots.items():
        from edgeqa_models.plot import draw_plot

        write_result(path, draw_plot(comparison, kind))
    if not comparison.complete:
        raise typer.Exit(INTERRUPTED)


def _plots(plot: Path | None) -> dict[Path, Format]:
    if plot is None:
        return {}
    from edgeqa_models.plot import plot_files

    return plot_files(plot)


def _measure(
    contenders: Sequence[Contender],
    sample: Sample | None,
    threads: int,
    threshold: float | None,
) -> Comparison:
    """Ask all that have no report yet, and set everything side by side."""
    from edgeqa.errors import UsageError
    from edgeqa_models.compare import against_first, ask_in_turns
    from edgeqa_models.comparison import Comparison, Entry
    from edgeqa_models.contenders import load
    from edgeqa_models.evaluate import report_on
    from edgeqa_models.interrupt import Interrupt
    from edgeqa_models.progress import progress_bar

    unmeasured = [one for one in contenders if one.report is None]
    found = {one.label: one.report for one in contenders if one.report is not None}
    tallies: dict[str, Tally] = {}
    if unmeasured:
        if sample is None:
            raise UsageError(f"{unmeasured[0].path} is to be measured: name questions with --data")
        loaded = [load(one, sample, threads=threads) for one in unmeasured]
        total = len(sample.examples) * len(loaded)
        with Interrupt() as interrupt, progress_bar(total) as show:
            made = ask_in_turns(
                loaded,
                sample.examples,
                lambda asked, now: show(asked, "F1 " + " ".join(f"{one.f1:.2f}" for one in now)),
                null_threshold=threshold,
                stop=interrupt.asked,
            )
        for one, tally in zip(loaded, made, strict=True):
            tallies[one.label] = tally
            found[one.label] = report_on(
                tally,
                one.model,
                sample,
                threads=threads,
                peak_memory_bytes=one.peak_memory_bytes,
            )
    entries = [Entry(label=one.label, report=found[one.label]) for one in contenders]
    return Comparison(
        schema=1,
        complete=all(entry.report.complete for entry in entries),
        entries=entries,
        pairs=against_first(entries, [tallies.get(one.label) for one in contenders]),
    )
