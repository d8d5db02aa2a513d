"""How to spend the cores on many windows: one after the other with all threads, one thread each, or
in batches by a budget of tokens.

All sides take turns on the same windows, of questions of a data set; the figures are medians of
ratios. Windows are sorted by length within the queue that a batch is taken of, so that little is
padding; a graph without a mask gets batches of equal windows only. Last it says how many answers of
a batch differ from those of the window alone.

    python benchmarks/cores.py --data SQUAD.json --package FOLDER --package FOLDER
"""

from __future__ import annotations

import itertools
import os
import random
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console

from edgeqa.errors import EdgeqaError, ExitCode
from edgeqa.manifest import MODEL_FILE, Package, open_package
from edgeqa.reader.engine import Engine
from edgeqa.reader.loading import OUTPUTS, load_session
from edgeqa.reader.windows import Window
from edgeqa.squad import Example, read_squad

Side = Callable[[Sequence[Window]], None]
# [PAD] in BERT's vocabulary; the mask hides it anyway.
_PAD = 0


def main(
    data: Annotated[Path, typer.Option(help="SQuAD JSON.")],
    package: Annotated[list[Path], typer.Option(help="Repeatable.")],
    threads: Annotated[int, typer.Option(min=0, help="0: all cores.")] = 0,
    tokens: Annotated[list[int] | None, typer.Option(help="Budgets of a batch.")] = None,
    queue: Annotated[int, typer.Option(help="Windows that wait at once.")] = 16,
    rounds: Annotated[int, typer.Option(min=2)] = 10,
    seed: int = 8,
) -> None:
    """Measure, and print a table."""
    count = threads or len(os.sched_getaffinity(0))
    console = Console(highlight=False, width=140)
    try:
        examples = random.Random(seed).sample(read_squad(data), 400)
        opened = [open_package(path) for path in package]
    except (EdgeqaError, ValueError) as error:
        console.print(f"cores: {error}")
        raise typer.Exit(ExitCode.CONFIG) from None
    for one in opened:
        bench = _Bench(one, count)
        windows = bench.windows(examples)
        sides = bench.sides(tokens or [512, 1024, 2048])
        found: dict[str, list[float]] = {name: [] for name in sides}
        for number in range(rounds):
            taken = [next(windows) for _ in range(queue)]
            order = list(sides)
            random.Random(number).shuffle(order)
            for name in order:
                begun = time.perf_counter()
                sides[name](taken)
                found[name].append((time.perf_counter() - begun) / queue)
        base = found["one after the other, all threads"]
        console.print(f"\n{one.path.name}, {count} threads, {queue} windows wait, {rounds} turns\n")
        console.print(
            "| | ms a window | questions/s against the first row | quartiles |\n|---|---|---|---|"
        )
        for name, seconds in found.items():
            ratios = [a / b for a, b in zip(base, seconds, strict=True)]
            low, middle, high = statistics.quantiles(ratios, n=4)
            each = 1000 * statistics.median(seconds)
            console.print(f"| {name} | {each:.1f} | {middle:.2f} | {low:.2f} to {high:.2f} |")
        console.print(bench.differing([next(windows) for _ in range(8 * queue)]))


class _Bench:
    def __init__(self, opened: Package, threads: int) -> None:
        self._threads = threads
        self._engine = Engine.load(opened, threads=threads)
        self._pool = ThreadPoolExecutor(threads)
        model = opened.file(MODEL_FILE)
        self._wide, self._narrow = load_session(model, threads), load_session(model, 1)
        self._names = {node.name for node in self._wide.get_inputs()}

    def windows(self, examples: Sequence[Example]) -> itertools.cycle[Window]:
        """Of the questions, in their order."""
        cut = [self._engine.prepare(e.question, e.context).windows for e in examples]
        return itertools.cycle([window for windows in cut for window in windows])

    def sides(self, budgets: Sequence[int]) -> dict[str, Side]:
        """What takes turns, by name."""
        found: dict[str, Side] = {
            "one after the other, all threads": self._in_turn,
            "one thread each": self._one_thread_each,
        }
        for tokens in budgets:
            found[f"batches of {tokens} tokens, all threads"] = self._batches(tokens, wide=True)
            found[f"batches of {tokens} tokens, one thread each"] = self._batches(
                tokens, wide=False
            )
        return found

    def differing(self, windows: Sequence[Window]) -> str:
        """How many windows give another best start or end in a batch."""
        differ = 0
        largest = 0.0
        for batch in self._batched(windows, 1024):
            together = self._wide.run(OUTPUTS, self._feeds(batch))
            for row, window in enumerate(batch):
                alone = self._wide.run(OUTPUTS, self._feeds([window]))
                pairs = [
                    (t[row, : len(window)], a[0]) for t, a in zip(together, alone, strict=True)
                ]
                differ += any(int(t.argmax()) != int(a.argmax()) for t, a in pairs)
                largest = max(largest, *(float(np.abs(t - a).max()) for t, a in pairs))
        return (
            f"\nIn batches of 1024 tokens {differ} of {len(windows)} windows have another best "
            f"start or end than alone; logits differ by up to {largest:.2g}."
        )

    def _in_turn(self, windows: Sequence[Window]) -> None:
        for window in windows:
            self._wide.run(OUTPUTS, self._feeds([window]))

    def _one_thread_each(self, windows: Sequence[Window]) -> None:
        list(self._pool.map(lambda one: self._narrow.run(OUTPUTS, self._feeds([one])), windows))

    def _batches(self, tokens: int, *, wide: bool) -> Side:
        def run(windows: Sequence[Window]) -> None:
            batches = self._batched(windows, tokens)
            if wide:
                for batch in batches:
                    self._wide.run(OUTPUTS, self._feeds(batch))
            else:
                list(self._pool.map(lambda b: self._narrow.run(OUTPUTS, self._feeds(b)), batches))

        return run

    def _batched(self, windows: Sequence[Window], tokens: int) -> list[list[Window]]:
        """By length; a batch holds what the budget has room for, padding counted, or one."""
        batches: list[list[Window]] = []
        for window in sorted(windows, key=len):
            fits = batches and len(window) * (len(batches[-1]) + 1) <= tokens
            if fits and ("attention_mask" in self._names or len(window) == len(batches[-1][0])):
                batches[-1].append(window)
            else:
                batches.append([window])
        return batches

    def _feeds(self, batch: Sequence[Window]) -> dict[str, NDArray[np.int64]]:
        rows = [self._engine.feeds(window) for window in batch]
        longest = max(map(len, batch))
        return {
            name: np.concatenate(
                [
                    np.pad(
                        row[name], ((0, 0), (0, longest - row[name].shape[1])), constant_values=_PAD
                    )
                    for row in rows
                ]
            )
            for name in self._names
        }


if __name__ == "__main__":
    typer.run(main)
