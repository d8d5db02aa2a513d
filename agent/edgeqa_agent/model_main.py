"""A model process: loads one package, answers jobs from its socket, ends when the socket closes.

onnxruntime, numpy and tokenizers are imported in this process only, so that all memory of a model
ends with it.
"""

from __future__ import annotations

import os
import signal
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue

import onnxruntime

from edgeqa.errors import EdgeqaError, ExitCode
from edgeqa.plain_package import PlainPackage
from edgeqa.reader.engine import Engine, Prepared
from edgeqa.reader.proof import Proof, prove
from edgeqa_agent.cores import Cores
from edgeqa_agent.idle import Idle, trim
from edgeqa_agent.jobs import (
    Done,
    Failed,
    Job,
    Outcome,
    Proven,
    Task,
    decode_job,
    encode,
    refused,
)
from edgeqa_agent.memory import resident_bytes

# Source: setpriority(2); a process may always lower its own.
_LOWEST_PRIORITY = 19


@dataclass(slots=True)
class _Progress:
    """A job of which some questions are still to be read."""

    job: Job
    open: int
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    begun_at: float = 0.0


@dataclass(frozen=True, slots=True)
class _Unit:
    """One question of a job."""

    progress: _Progress
    index: int

    @property
    def task(self) -> Task:
        """The question."""
        return self.progress.job.tasks[self.index]


class _Worker:
    """Answers jobs with an engine.

    Each thread takes a question, tokenises it, waits for its cores, reads, and takes the next; one
    thread more than cores, so that tokenising goes on while all cores read. The thread that waits
    for the socket is the one that answers what comes: handing it to another would cost a wake-up.

    A job in the background has a thread of its own with the lowest priority. It takes no core from
    others, and works in Python only while no other question is in hand: a thread that is seldom let
    run must not hold the interpreter's lock then.
    """

    def __init__(self, *, engine: Engine, connection: Connection, threads: int) -> None:
        self._engine = engine
        self._connection = connection
        self._threads = threads
        self._next_lock = threading.Lock()
        self._send_lock = threading.Lock()
        self._units: deque[_Unit] = deque()
        self._in_hand = 0  # questions that a thread has taken and not finished
        self._cores = Cores(threads)
        self._calm = threading.Event()  # nothing is in hand
        self._calm.set()
        self._background: SimpleQueue[Job] = SimpleQueue()
        self._idle = Idle(then=self._give_memory_back)
        self._ended = threading.Event()

    def run(self) -> None:
        """Work until the main process closes the socket."""
        self._idle.worked()  # the check questions
        for number in range(self._threads + 1):
            self._start(self._read_all, f"read-{number}")
        self._start(self._read_background, "background")
        self._start(self._idle.run, "idle")
        self._ended.wait()

    def _start(self, loop: Callable[[], None], name: str) -> None:
        threading.Thread(target=self._guarded, args=(loop,), name=name, daemon=True).start()

    def _guarded(self, loop: Callable[[], None]) -> None:
        try:
            loop()
        except (EOFError, OSError):
            self._ended.set()  # the main process has closed the socket: it needs no more answers
        except Exception:  # noqa: BLE001  a thread's edge; printed with its traceback
            traceback.print_exc()
            # The other threads may be waiting for this one: end them all, rather than fall silent.
            os._exit(ExitCode.BUG)

    def _read_all(self) -> None:
        while True:
            unit = self._next()
            prepared = self._prepare(unit.task)
            with self._cores.take(wanted_by_others=self._others) as alone:
                begun_at = time.monotonic()
                outcome = self._read(unit, prepared, alone=alone)
            self._finish(unit, outcome, begun_at)

    def _next(self) -> _Unit:
        with self._next_lock:
            while not self._units:
                job = decode_job(self._connection.recv_bytes())
                if job.background:
                    self._background.put(job)
                    continue
                self._units.extend(_units_of(job))
            with self._send_lock:
                self._in_hand += 1
                self._calm.clear()
            return self._units.popleft()

    def _read_background(self) -> None:
        # Per thread on Linux: sched(7), "The nice value".
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOWEST_PRIORITY)
        while True:
            for unit in _units_of(self._background.get()):
                self._calm.wait()
                begun_at, before_s = time.monotonic(), time.thread_time()
                outcome = self._read(unit, self._prepare(unit.task), alone=False)
                cpu_ms = 1000 * (time.thread_time() - before_s)
                self._finish(unit, replace(outcome, cpu_ms=cpu_ms), begun_at)

    def _others(self) -> bool:
        return self._in_hand > 1 or bool(self._units) or self._connection.poll(0)

    def _prepare(self, task: Task) -> Prepared | Outcome:
        try:
            return self._engine.prepare(task.question, task.context)
        except EdgeqaError as error:
            return refused(error.code, str(error))

    def _read(self, unit: _Unit, prepared: Prepared | Outcome, *, alone: bool) -> Outcome:
        if isinstance(prepared, Outcome):
            return prepared
        begun_at, job = time.monotonic(), unit.progress.job
        try:
            reading = self._engine.read(
                prepared,
                top_k=unit.task.top_k,
                stop_at=job.stop_at,
                alone=alone,
                give_way=self._give_way if job.background else _go_on,
            )
        except EdgeqaError as error:
            return refused(error.code, str(error))
        return Outcome(
            spans=[(span.text, span.start, span.end, span.score) for span in reading.spans],
            no_answer_score=reading.no_answer_score,
            windows=reading.windows,
            inference_ms=reading.inference_ms,
            tokenise_ms=prepared.tokenise_ms,
            decode_ms=reading.decode_ms,
            begun_at=begun_at,
        )

    def _give_memory_back(self) -> None:
        self._engine.shrink()
        trim()

    def _give_way(self) -> None:
        self._calm.wait()

    def _finish(self, unit: _Unit, outcome: Outcome, begun_at: float) -> None:
        progress = unit.progress
        with self._send_lock:
            if not progress.job.background:
                self._in_hand -= 1
                if not self._in_hand:
                    self._calm.set()
            progress.outcomes[unit.index] = outcome
            progress.begun_at = progress.begun_at or begun_at
            progress.open -= 1
            if progress.open:
                return
            ordered = [progress.outcomes[index] for index in range(len(progress.job.tasks))]
            done = Done(progress.job.number, progress.begun_at, ordered)
            self._connection.send_bytes(encode(done))
        self._idle.worked()


def _units_of(job: Job) -> list[_Unit]:
    progress = _Progress(job, len(job.tasks))
    return [_Unit(progress, index) for index in range(len(job.tasks))]


def _go_on() -> None:
    pass


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
        proof = prove(engine, package)
    except EdgeqaError as error:
        connection.send_bytes(encode(Failed(error.code, str(error), int(error.exit_code))))
        return int(error.exit_code)
    scores = _scores(proof, begun)
    # What the largest windows left behind; questions take what they need again.
    engine.shrink()
    trim()
    connection.send_bytes(encode(Proven(scores, onnxruntime.__version__)))
    _Worker(engine=engine, connection=connection, threads=threads).run()
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
