"""The bounded queue between the MQTT side and the model process, and the watch over the latter.

Questions wait here, a few are with the model process. One that dies or hangs is replaced, and the
questions it had are asked again; those that it was working on are asked one by one, and a second
death over the same question refuses that question. A model that keeps dying is given up.

Thread: `offer` from any thread; completions are called in the dispatcher's own threads.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import deque
from collections.abc import Callable

from structlog.typing import FilteringBoundLogger

from edgeqa.errors import EdgeqaError
from edgeqa_agent.jobs import Done, Job, Outcome, Ready, refused
from edgeqa_agent.model_process import ModelProcess
from edgeqa_agent.request import Request

# Beyond one question for each core of the model: one tokenised, two in the socket, so that it
# never waits for us.
SPARE = 3
# Deaths over one question before it is refused as poisonous.
MAX_ATTEMPTS = 2
# A model that dies so often within the time is not going to serve.
MAX_DEATHS = 5
DEATHS_WITHIN_S = 120.0
_TICK_S = 0.5
# UTF-8 of this many characters, a few times over, fits into a Unix socket's default buffer.
_SEND_AT_ONCE_CHARS = 10_000

MakeProcess = Callable[
    [Callable[[Done], None], Callable[[ModelProcess], None]],
    ModelProcess,
]


class ModelGivenUpError(EdgeqaError):
    """A model that loads and answers its checks dies again and again; a restart may help."""

    code = "model_given_up"


class Dispatcher:
    """Feeds one model process at a time."""

    def __init__(
        self,
        *,
        make_process: MakeProcess,
        threads: int,
        queue_size: int,
        inference_timeout_s: float,
        start_timeout_s: float,
        log: FilteringBoundLogger,
    ) -> None:
        self._make_process = make_process
        self._model_threads = threads
        self._queue_size = queue_size
        self._inference_timeout_s = inference_timeout_s
        self._start_timeout_s = start_timeout_s
        self._log = log
        self._changed = threading.Condition()
        self._waiting: deque[Request] = deque()
        self._running: dict[int, Request] = {}
        self._oldest_since = 0.0
        self._numbers = itertools.count(1)
        self._deaths: deque[float] = deque()
        self._process: ModelProcess | None = None
        self._stopping = False
        self._gave_up = threading.Event()
        self._threads: list[threading.Thread] = []

    @property
    def gave_up(self) -> bool:
        """Whether the model died too often; the agent cannot serve any more."""
        return self._gave_up.is_set()

    @property
    def depth(self) -> int:
        """Requests waiting and running."""
        with self._changed:
            return len(self._waiting) + len(self._running)

    @property
    def model_pid(self) -> int:
        """Process id of the model process; 0 while there is none."""
        process = self._process
        return process.pid if process else 0

    def start(self) -> Ready:
        """Load the model and begin to serve.

        Raises:
            EdgeqaError: the model cannot be loaded or proven.
        """
        ready = self._launch()
        for name, loop in (("dispatch", self._dispatch), ("watch", self._watch)):
            thread = threading.Thread(target=self._guarded, args=(loop,), name=name, daemon=True)
            thread.start()
            self._threads.append(thread)
        return ready

    def offer(self, request: Request) -> bool:
        """Take a request; False, and nothing kept, where the queue is full.

        A small one for which the model is free is sent at once: a wake-up of the dispatching
        thread would cost more than the sending. A large one might block on a full socket.
        """
        with self._changed:
            if len(self._waiting) >= self._queue_size or self.gave_up:
                return False
            idle = not self._waiting
            self._waiting.append(request)
            if not (idle and request.size <= _SEND_AT_ONCE_CHARS and self._can_send()):
                self._changed.notify_all()
                return True
            started = self._start_next()
        self._send(*started)
        return True

    def drain(self, *, timeout_s: float) -> bool:
        """Wait until nothing waits or runs; False where that took longer."""
        with self._changed:
            return self._changed.wait_for(
                lambda: not self._waiting and not self._running, timeout_s
            )

    def stop(self) -> None:
        """End the threads and the model process; what still waits is forgotten, not refused."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._process:
            self._process.stop()
        for thread in self._threads:
            thread.join(timeout=self._start_timeout_s)

    def _launch(self) -> Ready:
        process = self._make_process(self._on_done, self._on_exit)
        ready = process.start(timeout_s=self._start_timeout_s)
        with self._changed:
            self._process = process
            self._changed.notify_all()
        self._log.info(
            "model_ready",
            model=process.package.manifest.name,
            version=process.package.manifest.version,
            package=str(process.package.path),
            pid=process.pid,
            load_ms=round(ready.load_ms),
            checks_f1=round(ready.checks_f1, 3),
        )
        forced = process.package.manifest.forced
        if forced is not None:
            self._log.warning("model_was_forced", reason=forced.reason, f1_lost=forced.f1_lost)
        return ready

    def _guarded(self, loop: Callable[[], None]) -> None:
        try:
            loop()
        except Exception:  # noqa: BLE001  a thread's edge; logged with its traceback
            self._log.exception("dispatcher_thread_failed", loop=loop.__name__)
            self._gave_up.set()

    def _dispatch(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(self._can_send)
                if self._stopping:
                    return
                started = self._start_next()
            self._send(*started)

    def _start_next(self) -> tuple[Request, int, ModelProcess | None]:
        """Move the first waiting request to the running ones, with the lock held."""
        request, number = self._waiting.popleft(), next(self._numbers)
        if not self._running:
            self._oldest_since = time.monotonic()
        self._running[number] = request
        return request, number, self._process

    def _send(self, request: Request, number: int, process: ModelProcess | None) -> None:
        if request.stop_at is not None and time.monotonic() > request.stop_at:
            with self._changed:
                taken = self._running.pop(number, None)
            if taken is not None:
                self._finish(request, _all(request, "expired", "its deadline passed in the queue"))
        elif process is not None:
            process.submit(Job(number, request.tasks, request.stop_at))

    def _can_send(self) -> bool:
        if self._stopping:
            return True
        if self._process is None or not self._waiting:
            return False
        # What was in the model when it died is asked again one by one, so that a second death
        # tells which question is to blame.
        open_now = [self._waiting[0], *self._running.values()]
        suspect = any(request.attempts for request in open_now)
        return len(self._running) < (1 if suspect else self._model_threads + SPARE)

    def _finish(self, request: Request, outcomes: list[Outcome], begun_at: float = 0.0) -> None:
        try:
            request.complete(outcomes, begun_at or time.monotonic())
        finally:
            with self._changed:
                self._changed.notify_all()

    def _on_done(self, done: Done) -> None:
        with self._changed:
            request = self._running.pop(done.number, None)
            self._oldest_since = time.monotonic()
            self._changed.notify_all()
        if request is not None:
            self._finish(request, done.outcomes, done.begun_at)

    def _on_exit(self, process: ModelProcess) -> None:
        """The model process died: put its questions back, in their order, before all others."""
        with self._changed:
            if process is not self._process or self._stopping:
                return
            self._process = None
            self._deaths.append(time.monotonic())
            requests = [self._running[number] for number in sorted(self._running)]
            self._running.clear()
            poison = None
            for request in requests[: self._model_threads]:
                request.attempts += 1
            if requests and requests[0].attempts >= MAX_ATTEMPTS:
                poison = requests.pop(0)
            self._waiting.extendleft(reversed(requests))
            self._changed.notify_all()
        if poison is not None:
            self._log.error("question_refused", code="model_crashed", attempts=poison.attempts)
            self._finish(
                poison, _all(poison, "model_crashed", "the model died twice over this question")
            )

    def _watch(self) -> None:
        """Replace a process that died; end one that hangs."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stopping or self._process is None, _TICK_S)
                if self._stopping:
                    return
                process = self._process
                since = self._oldest_since if self._running else None
            if process is None:
                self._replace()
            elif process.ended:
                # It died between being proven and becoming ours, when `_on_exit` did not know it.
                self._on_exit(process)
            elif since is not None and time.monotonic() - since > self._inference_timeout_s:
                self._log.error("model_process_hangs", pid=process.pid)
                process.kill()
                with self._changed:  # until `_on_exit` has seen it
                    self._changed.wait_for(lambda: self._process is None, _TICK_S)

    def _replace(self) -> None:
        now = time.monotonic()
        while self._deaths and now - self._deaths[0] > DEATHS_WITHIN_S:
            self._deaths.popleft()
        if len(self._deaths) >= MAX_DEATHS:
            self._log.critical("model_given_up", deaths=len(self._deaths))
            self._gave_up.set()
            with self._changed:
                self._changed.wait_for(lambda: self._stopping)
            return
        try:
            self._launch()
        except EdgeqaError as error:
            self._log.error("model_restart_failed", code=error.code, reason=str(error))
            with self._changed:
                self._deaths.append(time.monotonic())
                self._changed.wait_for(lambda: self._stopping, _TICK_S)


def _all(request: Request, code: str, message: str) -> list[Outcome]:
    return [refused(code, message) for _ in request.tasks]
