"""A worker of `peers`: onnxruntime alone, on inputs that were tokenised beforehand.

Default session options but for the threads: one session with all of them for one question at a
time, one session with one thread for several. It decodes nothing, so its answers are empty.
"""

from __future__ import annotations

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import onnxruntime as ort

from edgeqa.manifest import MODEL_FILE, open_package
from edgeqa.reader.engine import Engine
from edgeqa.reader.loading import OUTPUTS


class Bare:
    """The sessions, and the inputs of each question that was seen."""

    def __init__(self, folder: Path, threads: int) -> None:
        package = open_package(folder)
        self._engine = Engine.load(package, threads=1)
        self._wide = _session(package.file(MODEL_FILE), threads)
        self._narrow = _session(package.file(MODEL_FILE), 1)

    def ask(self, questions: list[dict[str, str]], at_once: int) -> dict[str, Any]:
        """Time the sessions alone."""
        session = self._wide if at_once == 1 else self._narrow
        feeds = [self._feeds(question) for question in questions]

        def run(windows: list[dict[str, Any]]) -> None:
            for window in windows:
                session.run(OUTPUTS, window)

        with ThreadPoolExecutor(at_once) as pool:
            begun = time.perf_counter()
            if at_once == 1:
                for windows in feeds:
                    run(windows)
            else:
                list(pool.map(run, feeds))
            seconds = time.perf_counter() - begun
        answers = {question["id"]: "" for question in questions}
        return {
            "ok": True, "seconds": seconds, "answers": answers, "windows": sum(map(len, feeds)),
        }  # fmt: skip

    def _feeds(self, question: dict[str, str]) -> list[dict[str, Any]]:
        prepared = self._engine.prepare(question["question"], question["context"])
        return [dict(self._engine.feeds(window)) for window in prepared.windows]


def _session(path: Path, threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def main() -> None:
    out, sys.stdout = sys.stdout, sys.stderr
    bare: Bare | None = None
    for line in sys.stdin:
        request = json.loads(line)
        if request["op"] == "quit":
            return
        if request["op"] == "load":
            bare = Bare(Path(request["model"]), request["threads"])
            reply: dict[str, Any] = {
                "ok": True,
                "name": "bare onnxruntime",
                "versions": {"onnxruntime": ort.__version__},
                "settings": "default session options; inputs tokenised beforehand, not decoded",
            }
        elif bare is None:
            reply = {"ok": False, "error": "nothing is loaded"}
        else:
            reply = bare.ask(request["questions"], request["at_once"])
        print(json.dumps(reply), file=out, flush=True)


if __name__ == "__main__":
    main()
