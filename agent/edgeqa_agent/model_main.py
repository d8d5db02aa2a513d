"""A model process: loads one package, answers jobs from its socket, ends when the socket closes.

onnxruntime, numpy and tokenizers are imported in this process only, so that all memory of a model
ends with it.
"""

from __future__ import annotations

import os
import signal
import time
from multiprocessing.connection import Connection
from pathlib import Path

import onnxruntime

from edgeqa.errors import EdgeqaError, ExitCode
from edgeqa.plain_package import PlainPackage
from edgeqa.reader.engine import Engine
from edgeqa.reader.proof import Proof, prove
from edgeqa_agent.idle import trim
from edgeqa_agent.jobs import Failed, Proven, encode
from edgeqa_agent.memory import resident_bytes
from edgeqa_agent.worker import Worker


def main(argv: list[str]) -> int:
    """Serve.

    Args:
        argv: behind the program, the socket's descriptor, the package as plain data, the threads,
            and the bytes for texts that are kept as tokens.
    """
    # The main process decides when this one ends; a Ctrl-C reaches both.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    connection = Connection(int(argv[1]))
    begun = time.monotonic()
    try:
        package = PlainPackage.decode(argv[2])
        package.verify()
        threads = int(argv[3])
        engine = Engine.load(package, threads=threads, context_bytes=int(argv[4]))
        trim()  # what the files were read into
        proof = prove(engine, package)
    except EdgeqaError as error:
        connection.send_bytes(encode(Failed(error.code, str(error), int(error.exit_code))))
        return int(error.exit_code)
    scores = _scores(proof, begun)
    # What the largest windows left behind; questions take what they need again.
    engine.shrink()
    trim()
    connection.send_bytes(encode(Proven(scores, onnxruntime.__version__)))
    Worker(engine=engine, connection=connection, threads=threads).run()
    return int(ExitCode.OK)


def _scores(proof: Proof, begun: float) -> dict[str, float]:
    return {
        "questions": proof.questions,
        "exact_match": round(proof.exact_match, 2),
        "f1": round(proof.f1, 2),
        "p50_ms": round(proof.p50_ms, 3),
        "p95_ms": round(proof.p95_ms, 3),
        "memory_bytes": resident_bytes(os.getpid()),
        "load_ms": round(1000 * max(time.monotonic() - begun, _age_s()), 1),
    }


def _age_s() -> float:
    """How long this process has been running, its imports included; 0 where that is not known.

    Source: proc_pid_stat(5), field 22, `starttime` in clock ticks after boot.
    """
    try:
        # The second field, the name, may hold spaces and parentheses.
        fields = Path("/proc/self/stat").read_text(errors="replace").rpartition(")")[2].split()
        started = int(fields[19]) / os.sysconf("SC_CLK_TCK")
        return time.clock_gettime(time.CLOCK_BOOTTIME) - started
    except (OSError, ValueError, IndexError, AttributeError):
        return 0.0
