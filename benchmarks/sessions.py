"""Settings of an onnxruntime session that the reader could use and does not, beside what it does.

Each side is a process of its own, so that memory is its own; they take turns of some inferences on
the same window. Ratios are medians over the turns.

    python benchmarks/sessions.py models/packages/* --tokens 160 --threads 1
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import onnxruntime as ort
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from edgeqa.errors import EdgeqaError
from edgeqa.manifest import MODEL_FILE, open_package
from edgeqa.reader.loading import OUTPUTS, load_session
from edgeqa.reader.weights import Weights

OURS = "as served"
SIDES = {
    OURS: "large weights given from the mapped file, arrays in and out",
    "copied": "each session reads its own copy of the weights",
    "unpacked": "session.disable_prepacking",
    "bound": "I/O binding: inputs bound once, outputs written to kept buffers",
    "ort": "saved in onnxruntime's own format, already optimised",
}
_PER_TURN = 5

Run = Callable[[], object]


def main(
    packages: Annotated[list[Path], typer.Argument(help="Packages to measure.")],
    tokens: Annotated[int, typer.Option(min=4, max=512, help="Of the window.")] = 160,
    threads: Annotated[int, typer.Option(min=1, help="Of an inference.")] = 1,
    turns: Annotated[int, typer.Option(min=3, help="Of each side.")] = 15,
) -> None:
    """Measure and print a table for each package."""
    for package in packages:
        model = open_package(package).file(MODEL_FILE)
        table = Table("side", "load", "an inference", "times ours", "resident, MiB")
        for row in _measure(model, tokens, threads, turns, package.name):
            table.add_row(*row)
        Console(highlight=False).print(f"{package.name}, {tokens} tokens, {threads} threads", table)
    for side, what in SIDES.items():
        print(f"{side}: {what}")


def _measure(
    model: Path, tokens: int, threads: int, turns: int, name: str
) -> list[tuple[str, ...]]:
    with tempfile.TemporaryDirectory() as work:
        sides = {side: _Side(side, model, tokens, threads, Path(work)) for side in SIDES}
        try:
            times: dict[str, list[float]] = {side: [] for side in SIDES}
            order = list(SIDES)
            for _ in track(range(turns), f"{name}: turns"):
                for side in order:
                    times[side].append(sides[side].turn())
                order.append(order.pop(0))  # each turn another begins
            memory = {side: each.resident_mib() for side, each in sides.items()}
        finally:
            for each in sides.values():
                each.end()
    rows = []
    for side in SIDES:
        ratios = [a / b for a, b in zip(times[side], times[OURS], strict=True)]
        rows.append(
            (
                side,
                f"{sides[side].load_ms:.0f} ms",
                f"{statistics.median(times[side]):.2f} ms",
                f"{statistics.median(ratios):.3f}",
                f"{memory[side]:.0f}",
            )
        )
    return rows


class _Side:
    """A process with one session."""

    def __init__(self, side: str, model: Path, tokens: int, threads: int, work: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--side", side, model, str(tokens), str(threads), work],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.load_ms = float(self._hear())

    def turn(self) -> float:
        """Milliseconds of an inference, the least of some."""
        return float(self._say("turn"))

    def resident_mib(self) -> float:
        """Of the process."""
        return float(self._say("memory"))

    def end(self) -> None:
        """Close it."""
        self._process.communicate()

    def _say(self, word: str) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()
        return self._hear()

    def _hear(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise EdgeqaError("a side ended without a word; see above")
        return json.loads(line)


def side(name: str, model: Path, tokens: int, threads: int, work: Path) -> None:
    """Load as `name` says, then answer what is asked on standard input."""
    if name == "ort":  # made beforehand, as it would be on a device
        saved = work / f"{os.getpid()}.ort"
        options = _options(threads)
        options.optimized_model_filepath = str(saved)
        options.add_session_config_entry("session.save_model_format", "ORT")
        ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        model = saved
    begun = time.perf_counter()
    session, _weights = _session(name, model, threads)  # a session reads them as long as it lives
    _tell(1000 * (time.perf_counter() - begun))
    run = _run(name, session, tokens)
    for _ in range(3):
        run()
    for line in sys.stdin:
        _tell(_least(run) if line.strip() == "turn" else _resident_mib())


def _session(name: str, model: Path, threads: int) -> tuple[ort.InferenceSession, Weights | None]:
    if name == OURS:
        weights = Weights.of(model)
        return load_session(model, threads, weights=weights), weights
    if name in {"copied", "bound"}:
        return load_session(model, threads), None
    options = _options(threads)
    if name == "unpacked":
        options.add_session_config_entry("session.disable_prepacking", "1")
    return ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"]), None


def _options(threads: int) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.enable_mem_pattern = False
    options.log_severity_level = 3
    return options


def _run(name: str, session: ort.InferenceSession, tokens: int) -> Run:
    values = {"input_ids": 2000, "attention_mask": 1, "token_type_ids": 0}
    feeds = {
        node.name: np.full((1, tokens), values[node.name], np.int64)
        for node in session.get_inputs()
    }
    if name != "bound":
        return lambda: session.run(OUTPUTS, feeds)
    binding = session.io_binding()
    for node, value in feeds.items():
        binding.bind_cpu_input(node, value)
    kept = [np.empty((1, tokens), np.float32) for _ in OUTPUTS]
    for node, buffer in zip(OUTPUTS, kept, strict=True):
        binding.bind_output(node, "cpu", 0, np.float32, buffer.shape, buffer.ctypes.data)
    return lambda: (session.run_with_iobinding(binding), kept)


def _least(run: Run) -> float:
    times = []
    for _ in range(_PER_TURN):
        begun = time.perf_counter()
        run()
        times.append(1000 * (time.perf_counter() - begun))
    return min(times)


def _resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def _tell(value: float) -> None:
    print(json.dumps(value), flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--side"]:
        name, model, tokens, threads, work = sys.argv[2:]
        side(name, Path(model), int(tokens), int(threads), Path(work))
        sys.exit(0)
    try:
        typer.run(main)
    except EdgeqaError as error:
        print(f"sessions: {error}", file=sys.stderr)
        sys.exit(int(error.exit_code))
