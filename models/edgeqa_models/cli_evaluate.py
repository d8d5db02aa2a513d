"""`edgeqa models evaluate`: the command that measures a model."""

# ruff: noqa: PLC0415  imports inside commands: onnxruntime takes a second, `--help` must not

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from edgeqa_models.evaluate import Tally
    from edgeqa_models.report import Report, Slice

INTERRUPTED = 130

ModelFolder = Annotated[Path, typer.Argument(help="Package, or draft of `export` or `quantise`.")]
DATA_HELP = (
    "SQuAD JSON, JSONL, Parquet or Arrow file, a folder of one kind or of "
    "`datasets.save_to_disk`, `edgeqa-devices` (ships with EdgeQA), or a hub id such as "
    "rajpurkar/squad_v2."
)
Data = Annotated[str, typer.Option(help=DATA_HELP)]
Name = Annotated[str, typer.Option(help="What reports call the data; without it, the file's name.")]
Limit = Annotated[int, typer.Option(min=0, help="A random sample of so many questions (0: all).")]
Threads = Annotated[int, typer.Option(min=1, max=64, help="For one inference.")]
Seed = Annotated[int, typer.Option(help="Of the sample.")]
Split = Annotated[str, typer.Option(help="Split, where the data have several.")]
NullThreshold = Annotated[
    float | None,
    typer.Option(
        min=0.0,
        max=1.0,
        help="Answer with nothing where the null score is above this; without it, 0.5 for data "
        "with unanswerable questions (SQuAD v2.0), and never for others.",
    ),
]


def evaluate(
    model: ModelFolder,
    data: Data,
    name: Name = "",
    limit: Limit = 0,
    threads: Threads = 1,
    report: Annotated[Path | None, typer.Option(help="Write the result as JSON.")] = None,
    output: Annotated[
        Path | None, typer.Option(help="Write every question with its answer, one JSON a line.")
    ] = None,
    seed: Seed = 0,
    split: Split = "validation",
    null_threshold: NullThreshold = None,
    best_threshold: Annotated[
        bool, typer.Option("--best-threshold", help="Search the best null threshold.")
    ] = False,
) -> None:
    """Measure EM, F1, latency and memory with the reader that answers on the device.

    Ctrl-C prints what is known so far and exits with 130.
    """
    from edgeqa.errors import UsageError
    from edgeqa_models.answers import answer_lines
    from edgeqa_models.draft import open_measurable
    from edgeqa_models.evaluate import evaluate as run
    from edgeqa_models.evaluate import report_on
    from edgeqa_models.interrupt import Interrupt
    from edgeqa_models.peak_memory import peak_memory
    from edgeqa_models.progress import progress_bar
    from edgeqa_models.result_file import demand_places, write_result
    from edgeqa_models.sample import take_sample

    demand_places(report, output)
    sample = take_sample(data, split=split, name=name, limit=limit, seed=seed)
    threshold = sample.threshold(null_threshold)
    if best_threshold and sample.task == "squad_v1":
        raise UsageError(f"{data}: no unanswerable questions to search a null threshold with")
    opened = open_measurable(model, threads=threads)
    if opened.forced is not None:
        typer.echo(opened.forced.line(), err=True)
    memory = peak_memory(model, sample.examples, threads=threads)
    with Interrupt() as interrupt, progress_bar(len(sample.examples)) as show:
        tally = run(
            opened.engine,
            sample.examples,
            lambda now: show(now.questions, f"EM {now.exact_match:.2f} F1 {now.f1:.2f}"),
            null_threshold=threshold,
            stop=interrupt.asked,
        )
    result = report_on(tally, opened, sample, threads=threads, peak_memory_bytes=memory)
    _print(result, len(sample.examples))
    if best_threshold:
        _print_best(tally)
    if report is not None:
        write_result(report, (result.model_dump_json(by_alias=True, indent=2) + "\n").encode())
    if output is not None:
        write_result(output, answer_lines(tally))
    if not result.complete:
        raise typer.Exit(INTERRUPTED)


def _print(result: Report, wanted: int) -> None:
    if not result.complete:
        typer.echo(f"stopped after {result.questions} of {wanted} questions")
    typer.echo(f"data       {result.dataset}")
    typer.echo(f"questions  {result.questions} ({result.refused} refused)")
    for name, score, (low, high) in (
        ("EM", result.exact_match, result.exact_match_interval),
        ("F1", result.f1, result.f1_interval),
    ):
        typer.echo(f"{name:<10} {score:.2f} (95 % interval {low:.2f} to {high:.2f})")
    if result.null_threshold is not None:
        typer.echo(f"no answer  where the null score is above {result.null_threshold:.4g}")
        _print_slice("answerable", result.has_answer)
        _print_slice("impossible", result.no_answer)
    typer.echo(
        f"time       {result.seconds:.1f} s in all, {result.questions_per_s:.1f} questions/s; "
        f"p50 {result.p50_ms:.1f} ms, p95 {result.p95_ms:.1f} ms, p99 {result.p99_ms:.1f} ms"
    )
    typer.echo(
        f"size       {result.model_bytes:,} bytes ({result.precision}), "
        f"{result.peak_memory_bytes / (1 << 20):.0f} MiB of memory at the peak"
    )
    typer.echo(f"machine    {result.machine}, {result.threads} thread(s)")


def _print_slice(which: str, part: Slice | None) -> None:
    if part is not None:
        typer.echo(
            f"{which} {part.questions} questions, EM {part.exact_match:.2f}, F1 {part.f1:.2f}"
        )


def _print_best(tally: Tally) -> None:
    for label, (score, threshold) in (
        ("EM", tally.best_threshold("exact_match")),
        ("F1", tally.best_threshold("f1")),
    ):
        typer.echo(f"best {label}    {score:.2f} with --null-threshold {threshold!r}")
