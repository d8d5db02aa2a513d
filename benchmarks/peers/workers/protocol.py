"""The worker's side of the protocol: JSON lines on standard input and output.

Standard library only, as each peer has an environment of its own. Whatever else prints, from
Python or below it, goes to standard error, so that a line on standard output is always a reply.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol

# The sizes that the default packages and the drafts are served with, so that every peer reads the
# same windows: `edgeqa_models.draft.SERVED`.
MAX_SEQ_LEN = 384
DOC_STRIDE = 128
MAX_QUESTION_TOKENS = 64
MAX_ANSWER_TOKENS = 30


class Reader(Protocol):
    """A loaded model.

    Attributes:
        settings: one line: what its documentation recommends, and what is in use.
        packages: distributions whose versions are reported.
    """

    settings: str
    packages: Sequence[str]

    def answer(self, question: str, context: str) -> tuple[str, int]:
        """The best answer, and how many windows were read for it."""

    def at_once(self, count: int) -> None:
        """From now on so many questions are open at a time."""


Load = Callable[[Path, int, dict[str, str]], Reader]


def serve(name: str, load: Load) -> None:
    """Answer requests until `quit` or the end of standard input."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    reader: Reader | None = None
    for line in sys.stdin:
        request = json.loads(line)
        if request["op"] == "quit":
            break
        try:
            if request["op"] == "load":
                reader = load(
                    Path(request["model"]), request["threads"], request.get("options", {})
                )
                reply = _loaded(name, reader)
            elif reader is None:
                reply = {"ok": False, "error": "no model is loaded"}
            else:
                reply = _ask(reader, request["questions"], request["at_once"])
        except Exception as error:  # noqa: BLE001  # one line for the caller, the rest for the log
            traceback.print_exc()
            reply = {"ok": False, "error": one_line(error)}
        replies.write(json.dumps(reply) + "\n")
        replies.flush()
    close = getattr(reader, "close", None)
    if close is not None:
        close()


def calibration() -> list[tuple[str, str]]:
    """Questions and texts to quantise with: the check questions of the default packages."""
    packages = Path(__file__).parents[3] / "models" / "packages"
    checks = [
        check
        for path in sorted(packages.glob("*/checks.json"))
        for check in json.loads(path.read_text())
    ]
    return sorted({(check["question"], check["context"]) for check in checks})


def one_line(error: BaseException) -> str:
    """What an exception says, shortened."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:400]


def _loaded(name: str, reader: Reader) -> dict[str, Any]:
    versions = {"python": ".".join(map(str, sys.version_info[:3]))}
    versions.update({package: metadata.version(package) for package in reader.packages})
    return {"ok": True, "name": name, "versions": versions, "settings": reader.settings}


def _ask(reader: Reader, questions: list[dict[str, str]], at_once: int) -> dict[str, Any]:
    reader.at_once(at_once)
    begun = time.perf_counter()
    if at_once == 1:
        results = [reader.answer(q["question"], q["context"]) for q in questions]
    else:
        with ThreadPoolExecutor(at_once) as pool:
            results = list(
                pool.map(lambda q: reader.answer(q["question"], q["context"]), questions)
            )
    seconds = time.perf_counter() - begun
    return {
        "ok": True,
        "seconds": seconds,
        "answers": {q["id"]: text for q, (text, _) in zip(questions, results, strict=True)},
        "windows": sum(windows for _, windows in results),
    }
