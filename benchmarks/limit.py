"""The time that a reader's matrix products alone take on this machine, and our share of it.

Two limits. *At the peak*: all operations of the products at the best rate of any kernel that can be
reached from Python here, over large and over the model's own shapes. *The products alone*: each
product in its own shape, with weights of its own, by the quickest kernel for it. The model runs as
it is served. All three take turns; a share is the median over the turns.

    python benchmarks/limit.py models/packages/* --tokens 160 --threads 1 --profile
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import onnxruntime as ort
import typer
from gemm.kernels import FP32, INT8
from gemm.operators import Operator, feeds, profile
from gemm.products import Product, products, read_architecture
from gemm.search import Best, quickest
from gemm.timing import quartiles, turns
from rich.console import Console

from edgeqa.errors import DataError, EdgeqaError
from edgeqa.manifest import MODEL_FILE, Package, open_package
from edgeqa.reader.loading import load_session
from edgeqa_models.report import machine

PACKAGES = Path(__file__).parent.parent / "models" / "packages"
LENGTHS = (160, 384)
# Large and square enough for any kernel to reach its best, and small enough for one turn.
LARGE = (
    Product("large", 512, 1024, 1024),
    Product("large", 512, 768, 3072),
    Product("large", 1024, 2048, 2048),
)
_TURN_S = 0.05
# Below this share of what was found before, others had the cores.
_STEADY = 0.85
_PEAK, _MODEL = "peak", "model"


@dataclass(frozen=True, slots=True)
class Alone:
    """All calls of one product of a model; `rate` in 10^9 operations a second."""

    product: str
    shape: str
    calls: int
    kernel: str
    milliseconds: float
    rate: float


@dataclass(frozen=True, slots=True)
class Share:
    """One model at one length. Milliseconds are medians; shares have quartiles in `_low`, `_high`.

    Attributes:
        peak: rate of the machine during these turns, 10^9 operations a second.
        peak_found: rate of the same product when the quickest was sought; far above `peak` where
            the machine was disturbed during the turns.
        limit_ms: all operations at that rate.
        products_ms: each product in its own shape.
        model_ms: the whole inference as it is served.
        share: limit_ms / model_ms, and `products_share` products_ms / model_ms.
    """

    model: str
    precision: str
    tokens: int
    threads: int
    giga_operations: float
    peak: float
    peak_found: float
    peak_kernel: str
    peak_shape: str
    limit_ms: float
    products_ms: float
    model_ms: float
    share: float
    share_low: float
    share_high: float
    products_share: float
    products_share_low: float
    products_share_high: float
    products: list[Alone]


def main(
    packages: Annotated[
        list[Path] | None, typer.Argument(help="Package folders; the default packages.")
    ] = None,
    tokens: Annotated[list[int] | None, typer.Option(min=8, help="Repeatable; 160, 384.")] = None,
    threads: Annotated[list[int] | None, typer.Option(min=1, help="Repeatable; 1.")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Turns of each side.")] = 9,
    with_profile: Annotated[
        bool, typer.Option("--profile", help="Also the time by operator.")
    ] = False,
    report: Annotated[Path | None, typer.Option(help="Write the result as JSON.")] = None,
) -> None:
    """Measure the limit of each package, length and number of threads, and print tables."""
    console = Console(highlight=False, soft_wrap=True)
    notes = Console(stderr=True, highlight=False, soft_wrap=True)
    try:
        opened = [open_package(path) for path in packages or sorted(PACKAGES.glob("*"))]
        shares = measure(
            opened,
            lengths=tokens or LENGTHS,
            threads=threads or [1],
            rounds=rounds,
            tell=lambda text: notes.print(text, style="dim"),
        )
    except EdgeqaError as error:
        notes.print(f"limit: {error} [{error.code}]", markup=False)
        raise typer.Exit(error.exit_code) from error
    console.print(f"\n{machine()}\n\n{table(shares)}", markup=False)
    profiles: list[dict[str, Any]] = []
    if with_profile:
        for package in opened:
            for length in tokens or LENGTHS:
                for count in threads or [1]:
                    operators = profile(package.path / MODEL_FILE, length, count)
                    name = f"{_name(package)}, {length} tokens, {count} thread(s)"
                    console.print(f"\n{name}\n\n{profile_table(operators)}", markup=False)
                    profiles.append({"of": name, "operators": [asdict(o) for o in operators]})
    if report:
        document = {
            "machine": machine(),
            "shares": [asdict(share) for share in shares],
            "profiles": profiles,
        }
        report.write_text(json.dumps(document, indent=2) + "\n")


def measure(
    packages: Sequence[Package],
    *,
    lengths: Sequence[int] = LENGTHS,
    threads: Sequence[int] = (1,),
    rounds: int = 9,
    tell: Callable[[str], None] = lambda _: None,
) -> list[Share]:
    """The share of each package at each length and number of threads.

    Raises:
        DataError: a package's graph is not that of a BERT or DistilBERT.
        ModelLoadError: onnxruntime refuses it.
    """
    shares = []
    peaks: dict[tuple[str, int], Best] = {}
    for package in packages:
        precision = INT8 if package.manifest.precision.startswith(INT8) else FP32
        for count in threads:
            if (precision, count) not in peaks:
                found = [quickest(precision, product, count) for product in LARGE]
                peaks[precision, count] = peak = max(found, key=lambda best: best.rate)
                tell(
                    f"peak of {precision}, {count} thread(s): {peak.rate:.0f} "
                    f"x 10^9/s, {peak.kernel}, {peak.product}"
                )
            for length in lengths:
                tell(f"{_name(package)}, {length} tokens, {count} thread(s)")
                shares.append(
                    share(package, length, count, peak=peaks[precision, count], rounds=rounds)
                )
    return shares


def share(package: Package, tokens: int, threads: int, *, peak: Best, rounds: int) -> Share:
    """Peak, products and model in turns; the peak is the given one or that of a shape of ours.

    Raises:
        DataError: the graph is not that of a BERT or DistilBERT, or takes no such window.
        ModelLoadError: onnxruntime refuses it.
    """
    model = package.path / MODEL_FILE
    precision = INT8 if package.manifest.precision.startswith(INT8) else FP32
    needed = products(read_architecture(model), tokens)
    session = load_session(model, threads)
    asked = feeds(session, tokens)
    quiet = ort.RunOptions()
    quiet.log_severity_level = 4  # what it says is said below
    try:
        session.run(None, asked, quiet)
    except Exception as error:
        raise DataError(f"{model}: takes no window of {tokens} tokens; name fewer") from error
    operations = sum(product.operations for product in needed)
    chosen = [quickest(precision, product, threads) for product in needed]
    peak = max([peak, *chosen], key=lambda best: best.rate)
    session = load_session(model, threads)
    asked = feeds(session, tokens)

    sides = {best.product.name: best.run for best in chosen}
    taken = turns(
        {**sides, _PEAK: peak.run, _MODEL: lambda: session.run(None, asked)}, rounds, _TURN_S
    )
    limits = [seconds * operations / peak.product.operations for seconds in taken[_PEAK]]
    alone = [sum(times) for times in zip(*(taken[name] for name in sides), strict=True)]
    ratio = quartiles([a / b for a, b in zip(limits, taken[_MODEL], strict=True)])
    alone_ratio = quartiles([a / b for a, b in zip(alone, taken[_MODEL], strict=True)])
    limit_s = quartiles(limits)[1]
    return Share(
        model=_name(package),
        precision=precision,
        tokens=tokens,
        threads=threads,
        giga_operations=operations / 1e9,
        peak=operations / limit_s / 1e9,
        peak_found=peak.rate,
        peak_kernel=peak.kernel,
        peak_shape=str(peak.product),
        limit_ms=1000 * limit_s,
        products_ms=1000 * quartiles(alone)[1],
        model_ms=1000 * quartiles(taken[_MODEL])[1],
        share=ratio[1],
        share_low=ratio[0],
        share_high=ratio[2],
        products_share=alone_ratio[1],
        products_share_low=alone_ratio[0],
        products_share_high=alone_ratio[2],
        products=[
            Alone(
                product=best.product.name,
                shape=str(best.product),
                calls=best.product.count,
                kernel=best.kernel,
                milliseconds=1000 * (middle := quartiles(taken[best.product.name])[1]),
                rate=best.product.operations / middle / 1e9,
            )
            for best in chosen
        ],
    )


def table(shares: Sequence[Share]) -> str:
    """Markdown, a line for each share; in brackets the quartiles."""
    lines = [
        "| model | tokens | threads | 10^9 operations | peak, 10^9/s | limit at the peak | "
        "products alone | model | share of the limit | share of the products |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {s.model} | {s.tokens} | {s.threads} | {s.giga_operations:.2f} | {s.peak:.0f}"
        f"{'' if s.peak > _STEADY * s.peak_found else f' (found: {s.peak_found:.0f})'}, "
        f"{s.peak_kernel}, {s.peak_shape} | {s.limit_ms:.1f} ms | {s.products_ms:.1f} ms | "
        f"{s.model_ms:.1f} ms | {100 * s.share:.0f} % ({100 * s.share_low:.0f} to "
        f"{100 * s.share_high:.0f}) | {100 * s.products_share:.0f} % "
        f"({100 * s.products_share_low:.0f} to {100 * s.products_share_high:.0f}) |"
        for s in shares
    ]
    return "\n".join(lines)


def profile_table(operators: Sequence[Operator]) -> str:
    """Markdown, a line for each operator."""
    lines = ["| operator | calls | time | share |", "|---|---|---|---|"]
    lines += [
        f"| {o.name} | {o.calls:.0f} | {o.milliseconds:.2f} ms | {100 * o.share:.1f} % |"
        for o in operators
    ]
    return "\n".join(lines)


def _name(package: Package) -> str:
    return f"{package.manifest.name}-{package.manifest.version}"


if __name__ == "__main__":
    typer.run(main)
