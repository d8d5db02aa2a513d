"""Answers jobs with an engine: threads that listen, tokenise, read windows in turns, and answer."""

from __future__ import annotations

import os
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from queue import SimpleQueue

from edgeqa.errors import DeadlineError, EdgeqaError, ExitCode
from edgeqa.reader.engine import Engine, Part, Prepared, Reading
from edgeqa_agent.idle import Idle, trim
from edgeqa_agent.jobs import Done, Job, Outcome, Task, decode_job, encode, refused
from edgeqa_agent.turns import Line, Turn, Turns

# Source: setpriority(2); a process may always lower its own.
_LOWEST_PRIORITY = 19


@dataclass(slots=True, eq=False)
class _Question:
    """One question of a job, tokenised.

    Attributes:
        parts: of its windows, as far as they are read.
        begun_at: when its first inference began.
        error: why it will have no answer; its other windows are not read then.
    """

    hand: _InHand
    index: int
    prepared: Prepared
    parts: list[Part | None]
    left: int
    begun_at: float = 0.0
    error: EdgeqaError | None = None

    @property
    def task(self) -> Task:
        return self.hand.job.tasks[self.index]


@dataclass(frozen=True, slots=True)
class _Window:
    """A window of a question, by its place."""

    question: _Question
    place: int


@dataclass(slots=True, eq=False)
class _InHand:
    """A job that is being worked on.

    Attributes:
        untouched: the first question that nobody has tokenised.
        begun_at: when its first inference began.
    """

    job: Job
    left: int
    line: Line[_Window] = field(default_factory=Line)
    untouched: int = 0
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    begun_at: float = 0.0


Step = Callable[[], None]


class Worker:
    """Answers jobs until the socket closes.

    Each thread does what is to be done next: read a window for which there is a core, tokenise a
    question, or wait for the socket; one thread more than cores, so that the socket is heard while
    all cores read. The thread that waited for the socket goes on with what came: handing it to
    another would cost a wake-up. For the same reason only one thread is woken at a time, and wakes
    the next where there is more to do.

    A job in the background has a thread of its own with the lowest priority. It takes no core from
    others, and works in Python only while no other question is in hand: a thread that is seldom let
    run must not hold the interpreter's lock then.
    """

    def __init__(self, *, engine: Engine, connection: Connection, threads: int) -> None:
        self._engine = engine
        self._connection = connection
        self._threads = threads
        self._changed = threading.Condition()
        self._turns: Turns[_Window] = Turns(threads)
        self._in_hand = 0  # jobs, but those in the background
        self._untouched: deque[_InHand] = deque()  # that have questions to tokenise
        self._tokenising = 0
        self._receiving = False
        self._send_lock = threading.Lock()
        self._calm = threading.Event()  # nothing is in hand
        self._calm.set()
        self._background: SimpleQueue[Job] = SimpleQueue()
        self._idle = Idle(then=self._give_memory_back)
        self._ended = threading.Event()

    def run(self) -> None:
        """Work until the main process closes the socket."""
        self._idle.worked()  # the check questions
        for number in range(self._threads + 1):
            self._start(self._work, f"read-{number}")
        self._start(self._read_background, "background")
        self._start(self._idle.run, "idle")
        self._ended.wait()

    def _start(self, loop: Step, name: str) -> None:
        threading.Thread(target=self._guarded, args=(loop,), name=name, daemon=True).start()

    def _guarded(self, loop: Step) -> None:
        try:
            loop()
        except (EOFError, OSError):
            self._ended.set()  # the main process has closed the socket: it needs no more answers
        except Exception:  # noqa: BLE001  a thread's edge; printed with its traceback
            traceback.print_exc()
            # The other threads may be waiting for this one: end them all, rather than fall silent.
            os._exit(ExitCode.BUG)

    def _work(self) -> None:
        turn: Turn[_Window] | None = None
        while True:
            with self._changed:
                if turn is not None:
                    self._turns.end(turn)
                while True:
                    turn = self._turns.take(expected=self._expects)
                    hand = None if turn else self._to_tokenise()
                    receives = turn is None and hand is None and not self._receiving
                    if turn or hand or receives:
                        break
                    self._changed.wait()
                self._receiving = self._receiving or receives
                if self._anything_left():
                    self._changed.notify()
            if turn is not None:
                self._read(turn)
            elif hand is not None:
                self._tokenise(*hand)
            else:
                self._receive()

    def _expects(self) -> bool:
        """Whether windows of others will be ready in a moment; with the lock held."""
        return bool(self._untouched or self._tokenising or self._connection.poll(0))

    def _anything_left(self) -> bool:
        return (
            not self._receiving
            or self._turns.could_begin
            or any(map(self._hungry, self._untouched))
        )

    def _hungry(self, hand: _InHand) -> bool:
        return len(hand.line.ready) < self._threads

    def _to_tokenise(self) -> tuple[_InHand, int] | None:
        """The next question of a job that has not enough windows ready; with the lock held."""
        hand = next(filter(self._hungry, self._untouched), None)
        if hand is None:
            return None
        self._untouched.remove(hand)
        index = hand.untouched
        hand.untouched += 1
        self._tokenising += 1
        if hand.untouched < len(hand.job.tasks):
            self._untouched.append(hand)
        return hand, index

    def _receive(self) -> None:
        job = decode_job(self._connection.recv_bytes())
        with self._changed:
            self._receiving = False
            if job.background:
                self._background.put(job)
                return
            self._untouched.append(_InHand(job, len(job.tasks)))
            self._in_hand += 1
            self._calm.clear()

    def _tokenise(self, hand: _InHand, index: int) -> None:
        task = hand.job.tasks[index]
        windows: list[_Window] = []
        refusal: Outcome | None = None
        try:
            prepared = self._engine.prepare(task.question, task.context)
            count = len(prepared.windows)
            question = _Question(hand, index, prepared, [None] * count, count)
            windows = [_Window(question, place) for place in range(count)]
        except EdgeqaError as error:
            refusal = refused(error.code, str(error))
        with self._changed:
            self._tokenising -= 1
            self._turns.offer(hand.line, windows)
        if refusal is not None:
            self._finish(hand, index, refusal)

    def _read(self, turn: Turn[_Window]) -> None:
        question, hand = turn.window.question, turn.window.question.hand
        now = time.monotonic()
        question.begun_at = question.begun_at or now
        hand.begun_at = hand.begun_at or now
        try:
            if question.error is None:
                if hand.job.stop_at is not None and now > hand.job.stop_at:
                    raise DeadlineError
                question.parts[turn.window.place] = self._engine.read_window(
                    question.prepared.windows[turn.window.place],
                    top_k=question.task.top_k,
                    alone=turn.alone,
                )
        except EdgeqaError as error:
            question.error = error
        with self._changed:
            question.left -= 1
            ended = not question.left
        if ended:
            self._finish(hand, question.index, self._outcome(question))

    def _outcome(self, question: _Question) -> Outcome:
        if question.error is not None:
            return refused(question.error.code, str(question.error))
        prepared = question.prepared
        parts = [part for part in question.parts if part is not None]
        reading = self._engine.join(prepared, parts, top_k=question.task.top_k)
        return _answered(reading, prepared, question.begun_at)

    def _finish(self, hand: _InHand, index: int, outcome: Outcome) -> None:
        with self._changed:
            hand.outcomes[index] = outcome
            hand.left -= 1
            if hand.left:
                return
            self._in_hand -= 1
            if not self._in_hand:
                self._calm.set()
        self._send(hand.job, hand.begun_at, [hand.outcomes[n] for n in range(len(hand.job.tasks))])

    def _send(self, job: Job, begun_at: float, outcomes: list[Outcome]) -> None:
        done = encode(Done(job.number, begun_at or time.monotonic(), outcomes))
        with self._send_lock:
            self._connection.send_bytes(done)
        self._idle.worked()

    def _read_background(self) -> None:
        # Per thread on Linux: sched(7), "The nice value".
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOWEST_PRIORITY)
        while True:
            job = self._background.get()
            begun_at = time.monotonic()
            outcomes = []
            for task in job.tasks:
                self._calm.wait()
                before_s = time.thread_time()
                outcome = self._read_whole(task, job.stop_at)
                cpu_ms = 1000 * (time.thread_time() - before_s)
                outcomes.append(replace(outcome, cpu_ms=cpu_ms))
            self._send(job, begun_at, outcomes)

    def _read_whole(self, task: Task, stop_at: float | None) -> Outcome:
        """In the background."""
        try:
            prepared = self._engine.prepare(task.question, task.context)
            begun_at = time.monotonic()
            reading = self._engine.read(
                prepared, top_k=task.top_k, stop_at=stop_at, alone=False, give_way=self._give_way
            )
        except EdgeqaError as error:
            return refused(error.code, str(error))
        return _answered(reading, prepared, begun_at)

    def _give_way(self) -> None:
        self._calm.wait()

    def _give_memory_back(self) -> None:
        self._engine.shrink()
        trim()


def _answered(reading: Reading, prepared: Prepared, begun_at: float) -> Outcome:
    return Outcome(
        spans=[(span.text, span.start, span.end, span.score) for span in reading.spans],
        no_answer_score=reading.no_answer_score,
        windows=reading.windows,
        inference_ms=reading.inference_ms,
        tokenise_ms=prepared.tokenise_ms,
        decode_ms=reading.decode_ms,
        begun_at=begun_at,
    )
