"""A model process: loads one package, answers jobs from its socket, ends when the socket closes.

onnxruntime, numpy and tokenizers are imported in this process only, so that all memory of a model
ends with it. Two threads: one receives and tokenises the next job while the other infers.
"""

from __future__ import annotations

import queue
import signal
import sys
import threading
import time
import traceback
from multiprocessing.connection import Connection
from pathlib import Path

import onnxruntime

from edgeqa.errors import EdgeqaError, ExitCode
from edgeqa.manifest import open_package
from edgeqa.reader.engine import Engine, Prepared, prove
from edgeqa_agent.jobs import (
    Done,
    Failed,
    Job,
    Outcome,
    Ready,
    Task,
    decode_job,
    encode,
    refused,
)

# One job in inference, one tokenised and waiting: more would only make refusals late.
PREPARED_JOBS = 1

_Ready = tuple[Job, list[Prepared | Outcome]]


class _Worker:
    """Answers jobs with an engine."""

    def __init__(self, *, engine: Engine, connection: Connection) -> None:
        self._engine = engine
        self._connection = connection
        self.failed = False
        self._prepared: queue.Queue[_Ready | None] = queue.Queue(PREPARED_JOBS)

    def run(self) -> None:
        """Work until the main process closes the socket."""
        threading.Thread(target=self._receive, name="tokenise", daemon=True).start()
        while (ready := self._prepared.get()) is not None:
            job, prepared = ready
            begun_at = time.monotonic()
            outcomes = [
                self._read(item, task, job.stop_at)
                for item, task in zip(prepared, job.tasks, strict=True)
            ]
            self._connection.send_bytes(encode(Done(job.number, begun_at, outcomes)))

    def _receive(self) -> None:
        try:
            while True:
                job = decode_job(self._connection.recv_bytes())
                self._prepared.put((job, [self._prepare(task) for task in job.tasks]))
        except (EOFError, OSError):
            pass  # the main process has no more jobs for us
        except Exception:  # noqa: BLE001  a thread's edge: the process must end, not fall silent
            traceback.print_exc()
            self.failed = True
        self._prepared.put(None)

    def _prepare(self, task: Task) -> Prepared | Outcome:
        try:
            return self._engine.prepare(task.question, task.context)
        except EdgeqaError as error:
            return refused(error.code, str(error))

    def _read(self, item: Prepared | Outcome, task: Task, stop_at: float | None) -> Outcome:
        if isinstance(item, Outcome):
            return item
        try:
            reading = self._engine.read(item, top_k=task.top_k, stop_at=stop_at)
        except EdgeqaError as error:
            return refused(error.code, str(error))
        return Outcome(
            spans=[(span.text, span.start, span.end, span.score) for span in reading.spans],
            no_answer_score=reading.no_answer_score,
            windows=reading.windows,
            inference_ms=reading.inference_ms,
        )


def main(argv: list[str]) -> int:
    """Serve; arguments are the socket's descriptor, the package's folder and the threads."""
    # The main process decides when this one ends; a Ctrl-C reaches both.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    connection = Connection(int(argv[1]))
    begun = time.monotonic()
    try:
        package = open_package(Path(argv[2]))
        engine = Engine.load(package, threads=int(argv[3]))
        checks_f1 = prove(engine, package)
    except EdgeqaError as error:
        connection.send_bytes(encode(Failed(error.code, str(error), int(error.exit_code))))
        return int(error.exit_code)
    load_ms = 1000 * (time.monotonic() - begun)
    connection.send_bytes(encode(Ready(load_ms, checks_f1, onnxruntime.__version__)))
    worker = _Worker(engine=engine, connection=connection)
    try:
        worker.run()
    except (BrokenPipeError, ConnectionResetError):
        pass  # the main process is gone: nobody is left to answer
    return int(ExitCode.BUG if worker.failed else ExitCode.OK)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
