"""Peak memory of a model: what a process needs that only loads it and answers, as on a device.

The process is this module run as a program: it imports the reader and nothing of the workshop's
heavy libraries. It answers the first questions of the data and the one with the longest text, for
whose windows onnxruntime needs the largest buffers.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from edgeqa.errors import ModelLoadError, PayloadError
from edgeqa.squad import Example
from edgeqa_models.draft import open_measurable

FIRST_QUESTIONS = 8
_TIMEOUT_S = 600.0  # a full-size model in fp32 takes a few seconds to load and one per question


def peak_memory(model: Path, examples: Sequence[Example], *, threads: int) -> int:
    """Largest resident memory, in bytes, of a process that loads `model` and answers questions.

    Raises:
        ModelLoadError: the process failed or did not end in time.
    """
    longest = max(examples, key=lambda example: len(example.context))
    asked = [[e.question, e.context] for e in (*examples[:FIRST_QUESTIONS], longest)]
    job = {"model": str(model), "threads": threads, "questions": asked}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "edgeqa_models.peak_memory"],
            input=json.dumps(job),
            capture_output=True,
            text=True,
            check=True,
            timeout=_TIMEOUT_S,
            # BLAS threads of numpy, which the reader does not use, would only add their stacks.
            env={**os.environ, "OMP_NUM_THREADS": str(threads)},
        )
        return int(done.stdout)
    except subprocess.TimeoutExpired as error:
        raise ModelLoadError(
            f"{model}: did not load and answer {len(asked)} questions in {_TIMEOUT_S:.0f} s"
        ) from error
    except subprocess.CalledProcessError as error:
        said = (error.stderr.strip().splitlines() or ["without a word"])[-1]
        raise ModelLoadError(
            f"{model}: the process that measures its memory failed ({error.returncode}): {said}"
        ) from error


def _answer(job: dict[str, object]) -> None:
    engine = open_measurable(Path(str(job["model"])), threads=int(str(job["threads"]))).engine
    questions: list[list[str]] = job["questions"]  # type: ignore[assignment]  # our own job
    for question, context in questions:
        try:
            engine.answer(question, context)
        except PayloadError:
            pass  # a question that the reader does not take is refused on the device as well


def _peak_bytes() -> int:
    try:
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):  # in KiB
                return int(line.split()[1]) * 1024
    except OSError:
        pass  # not Linux
    # On Linux this would begin at what the parent had when it started us, hence VmHWM above.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


if __name__ == "__main__":
    _answer(json.load(sys.stdin))
    sys.stdout.write(str(_peak_bytes()))
