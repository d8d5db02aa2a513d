"""What one question takes on ARM64, in instructions, and what time that may be on a Raspberry Pi 5.

The reader runs in qemu as a Cortex-A76, with the libraries' ARM64 builds; a plugin counts how often
each block of instructions runs for one question. Nothing is timed. An estimate for a Raspberry Pi 5
follows from the counts and from the assumptions of docs/pi5.md; benchmarks/pi5.py replaces it by a
measurement.

    sudo .venv/bin/python benchmarks/arm64_view.py models/packages/* --tokens 160

As root, as it makes a Debian for ARM64 in --work first (debootstrap).
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer
from arm64view.counts import Spent, by_library, read, whole
from arm64view.estimate import Range, estimate
from arm64view.instructions import Mix
from arm64view.root import REPOSITORY, Emulated
from gemm.products import products, read_architecture, weight_bytes
from rich.console import Console

from edgeqa.errors import EdgeqaError
from edgeqa.manifest import MODEL_FILE, Package, open_package

_FUNCTIONS = 8
_READER = "onnxruntime"


@dataclass(frozen=True, slots=True)
class View:
    """One question to one package, at one length of the window.

    Attributes:
        weight_bytes: what the window reads of the graph's constants.
        product_operations: of its matrix products.
        question: all of it, with tokenising and decoding.
        libraries: its parts; `functions` the costliest of them.
    """

    model: str
    version: str
    tokens: int
    weight_bytes: int
    product_operations: int
    question: Spent
    libraries: list[Spent]
    functions: list[Spent]
    one_thread: Range
    four_threads: Range


def main(
    packages: Annotated[
        list[Path] | None, typer.Argument(help="Package folders; the default packages.")
    ] = None,
    tokens: Annotated[list[int] | None, typer.Option(min=32, help="Repeatable; 160.")] = None,
    work: Annotated[Path, typer.Option(help="The emulated system, made once.")] = Path(
        "build/arm64"
    ),
    qemu: Annotated[str, typer.Option(help="A qemu that takes plugins.")] = "qemu-aarch64",
    report: Annotated[Path | None, typer.Option(help="Write the result as JSON.")] = None,
) -> None:
    """Count the instructions of one question on ARM64 and estimate its time on a Raspberry Pi 5."""
    console = Console(highlight=False, soft_wrap=True)
    notes = Console(stderr=True, highlight=False, soft_wrap=True)
    emulated = Emulated(work, qemu=qemu)
    views = []
    try:
        opened = [
            open_package(path)
            for path in packages or sorted((REPOSITORY / "models/packages").glob("*"))
        ]
        notes.print(f"preparing {work}", style="dim")
        emulated.prepare()
        for package in opened:
            for length in tokens or [160]:
                notes.print(f"counting {package.path.name}, {length} tokens", style="dim")
                views.append(view(emulated, package, length))
    except EdgeqaError as error:
        notes.print(f"arm64_view: {error} [{error.code}]", markup=False)
        raise typer.Exit(error.exit_code) from error
    console.print(text(views), markup=False)
    if report:
        document = {"views": [asdict(one) for one in views]}
        report.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def view(emulated: Emulated, package: Package, tokens: int) -> View:
    """Count the instructions of one question."""
    with tempfile.TemporaryDirectory() as folder:
        counts, maps = Path(folder) / "counts", Path(folder) / "maps"
        said = json.loads(emulated.count(package.path, tokens, counts, maps))
        found = read(counts, maps)
    model = package.path / MODEL_FILE
    needed = products(read_architecture(model), said["tokens"])
    question = whole(found)
    weights = weight_bytes(model)
    return View(
        model=package.manifest.name,
        version=package.manifest.version,
        tokens=said["tokens"],
        weight_bytes=weights,
        product_operations=sum(product.operations for product in needed),
        question=question,
        libraries=by_library(found),
        functions=found[:_FUNCTIONS],
        one_thread=estimate(question.cycles, weights, 1),
        four_threads=estimate(question.cycles, weights, 4),
    )


def text(views: Sequence[View]) -> str:
    """Markdown: the estimate, then what it rests on."""
    return "\n".join([*_estimates(views), "", *_mixes(views), "", *_parts(views)])


def _estimates(views: Sequence[View]) -> list[str]:
    lines = [
        "| model | tokens | 1 thread, estimated | 4 threads, estimated |",
        "|---|---|---|---|",
    ]
    return lines + [
        f"| {v.model} | {v.tokens} | {_range(v.one_thread)} | {_range(v.four_threads)} |"
        for v in views
    ]


def _range(of: Range) -> str:
    return f"{of.likely:.0f} ms ({of.quick:.0f} to {of.slow:.0f})"


def _mixes(views: Sequence[View]) -> list[str]:
    lines = [
        "| model | tokens | instructions | int8 dot | float multiply-add | other vector | "
        "load, store | integer | branch | fewest cycles | outside onnxruntime | "
        "operations in dot products |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for v in views:
        m = v.question.mix
        beside = sum(
            one.mix.instructions for one in v.libraries if not one.library.startswith(_READER)
        )
        # A dot product of four is 32 operations on 16 bytes.
        share = 32 * m.dot / v.product_operations
        lines.append(
            f"| {v.model} | {v.tokens} | {_millions(m.instructions)} | {_kinds(m)} | "
            f"{_millions(v.question.cycles)} | {_millions(beside)} | {100 * share:.0f} % |"
        )
    return lines


def _parts(views: Sequence[View]) -> list[str]:
    lines = [
        "| model | tokens | library, function | instructions | int8 dot | float multiply-add | "
        "other vector | load, store | integer | branch | fewest cycles | share |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for v in views:
        for one in [*v.libraries[:4], *v.functions]:
            place = one.library.partition(".")[0]
            place += f" + {one.function:x}" if one.function is not None else ""
            lines.append(
                f"| {v.model} | {v.tokens} | {place} | {_millions(one.mix.instructions)} | "
                f"{_kinds(one.mix)} | {_millions(one.cycles)} | "
                f"{100 * one.cycles / v.question.cycles:.1f} % |"
            )
    return lines


def _kinds(m: Mix) -> str:
    return " | ".join(
        _millions(count) for count in (m.dot, m.fused, m.vector, m.memory, m.integer, m.branch)
    )


def _millions(count: float) -> str:
    return f"{count / 1e6:.1f} M"


if __name__ == "__main__":
    typer.run(main)
