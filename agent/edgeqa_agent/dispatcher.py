"""The bounded queue between the MQTT side and the model processes.

Questions wait here, a few are with the active model. Another model may be loaded beside it
(`loader`) and take its place (`exchange`): from then on questions go to the new process,
and the old one ends when it has answered what it had. A quicker model may stay beside it
(`accompany`): which of the two a question goes to is chosen when one is free for it (`pair`).
Questions of a process that died are asked again; those that it was working on are asked one by one,
and a second death over the same question refuses that question. `supervisor` sees to it that there
is an active process, `companion` to the other one.

Thread: any thread may call; completions are called in the threads of this module and of the model
processes.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from structlog.typing import FilteringBoundLogger

from edgeqa.errors import DeadlineError, ModelLoadError
from edgeqa.messages import ModelRef
from edgeqa_agent.choice import Limits
from edgeqa_agent.jobs import Done, Outcome, Task
from edgeqa_agent.lane import Lane
from edgeqa_agent.lanes import Lanes
from edgeqa_agent.order import next_request
from edgeqa_agent.request import Request

# Deaths over one question before it is refused as poisonous.
MAX_ATTEMPTS = 2
_DIED = "the model died after it was proven"

Observer = Callable[[list[Task], list[Outcome]], None]


class Dispatcher(Lanes):
    """Feeds the active model's process, and its companion's."""

    def __init__(
        self,
        *,
        threads: int,
        queue_size: int,
        log: FilteringBoundLogger,
        limits: Limits | None = None,
    ) -> None:
        super().__init__(threads=threads, limits=limits)
        self.observer: Observer | None = None
        self._model_threads = threads
        self._queue_size = queue_size
        self._log = log
        self._waiting: deque[Request] = deque()
        self._numbers = itertools.count(1)
        self._closed = False
        self._thread = threading.Thread(target=self._dispatch, name="dispatch", daemon=True)

    @property
    def depth(self) -> int:
        """Requests waiting and running."""
        with self._changed:
            return self._depth()

    def start(self) -> None:
        """Begin to feed whatever is active."""
        self._thread.start()

    def offer(self, request: Request) -> bool:
        """Take a request; False, and nothing kept, where the queue is full.

        A small one for which the model is free is sent at once: a wake-up of the dispatching
        thread would cost more than the sending. A large one might block on a full socket.
        """
        with self._changed:
            if len(self._waiting) >= self._queue_size or self._closed:
                return False
            idle = not self._waiting
            self._waiting.append(request)
            if not (idle and request.small and self._next() is request):
                self._due.notify()
                return True
            started = self._start(request)
        self._send(*started)
        return True

    def expect(self, request: Request) -> ModelRef | None:
        """The model that a request would go to now; it learns why.

        None where there is no model, and while a candidate is in the shadow: it must see what is
        asked, the same question again and again too.
        """
        with self._changed:
            if self.observer is not None or not self._pair.lanes:
                return None
            return self._pair.pick(request, time.monotonic(), depth=self._depth()).model

    def close(self) -> None:
        """Take no more requests: no model will ever answer them."""
        self._closed = True

    def drain(self, *, timeout_s: float) -> bool:
        """Wait until nothing waits or runs; False where that took longer."""
        with self._changed:
            return self._changed.wait_for(
                lambda: not self._waiting and not any(lane.running for lane in self._lanes),
                timeout_s,
            )

    def stop(self) -> None:
        """End the thread and all model processes; what still waits is forgotten, not refused."""
        with self._changed:
            self._stopping = True
            self._tell()
            lanes = list(self._lanes)
        for lane in lanes:
            lane.process.stop()
        if self._thread.is_alive():
            self._thread.join()

    def exchange(self, lane: Lane, *, only_if_none: bool = False) -> bool:
        """Make a loaded lane the active one, then wait for the old one's answers and end it.

        Args:
            lane: a proven one.
            only_if_none: discard `lane` where another has become active meanwhile.

        Returns:
            Whether `lane` is the active one.

        Raises:
            ModelLoadError: `model_crashed`, its process died after it was proven.
        """
        with self._changed:
            wanted = not (only_if_none and self._pair.active is not None)
            died = lane.dead
            if wanted and not died:
                old, self._pair.active = self._pair.active, lane
                self._tell()
        if died or not wanted:
            self.discard(lane)
            if wanted:
                raise ModelLoadError(_DIED, code="model_crashed")
            return False
        if old is not None:
            with self._changed:  # one that hangs is ended by the supervisor
                self._changed.wait_for(lambda: old.dead or not old.running or self._stopping)
            self.discard(old)
        return True

    def accompany(self, lane: Lane) -> None:
        """Let a loaded lane answer beside the active one, as long as it lives.

        Raises:
            ModelLoadError: `model_crashed`, its process died after it was proven.
        """
        with self._changed:
            if not lane.dead:
                self._pair.companion = lane
                self._tell()
                return
        self.discard(lane)
        raise ModelLoadError(_DIED, code="model_crashed")

    def discard(self, lane: Lane) -> None:
        """End a lane that is not active."""
        lane.process.stop()
        with self._changed:
            lane.dead = True
            left = lane.abandon(background_only=True)
            with suppress(ValueError):
                self._lanes.remove(lane)
            self._tell()
        self._refuse(left, lane)

    def ask(self, lane: Lane, request: Request) -> None:
        """Ask one lane, past the queue. A dead one, or one that dies, refuses `model_crashed`."""
        request.of_one_lane = True
        number = next(self._numbers)
        with self._changed:
            dead = lane.dead
            if not dead:
                lane.begin(number, request)
        if dead:
            self._refuse([request], lane)
        else:
            lane.send(number, request)

    def on_done(self, lane: Lane, done: Done) -> None:
        """A lane's process has finished a job."""
        with self._changed:
            request = lane.end(done.number)
            if request is not None:
                lane.learn(request, done)
            beside = lane is self._pair.companion
            self._changed.notify_all()
            started = self._start_small()
        if started is not None:
            self._send(*started)
        if request is None:
            return
        request.complete(done.outcomes, done.begun_at or time.monotonic(), lane.model)
        if not (request.of_one_lane or beside) and self.observer is not None:
            self.observer(request.tasks, done.outcomes)

    def on_exit(self, lane: Lane) -> None:
        """A proven process died: put its questions back, in their order, before all others."""
        with self._changed:
            lane.dead = True
            running = lane.abandon()
            requests = [request for request in running if not request.of_one_lane]
            poison = None
            for request in requests:  # they take turns: any of them may have been read
                request.attempts += 1
            if requests and requests[0].attempts >= MAX_ATTEMPTS:
                poison = requests.pop(0)
            self._waiting.extendleft(reversed(requests))
            if self._pair.lost(lane):
                self._lanes.remove(lane)
            self._tell()
        self._refuse([request for request in running if request.of_one_lane], lane)
        if poison is not None:
            self._log.error("question_refused", code="model_crashed", attempts=poison.attempts)
            poison.refuse("model_crashed", "the model died twice over this question", lane.model)

    def _dispatch(self) -> None:
        try:
            while True:
                with self._changed:
                    self._due.wait_for(lambda: self._stopping or self._next() is not None)
                    request = self._next()
                    if self._stopping or request is None:
                        return
                    started = self._start(request)
                self._send(*started)
        except Exception:  # noqa: BLE001  a thread's edge; logged with its traceback
            self._log.exception("dispatcher_thread_failed")
            self.close()

    def _tell(self) -> None:
        """Something has changed, and may let a request be sent; with the lock held."""
        self._changed.notify_all()
        self._due.notify()

    def _depth(self) -> int:
        return len(self._waiting) + sum(len(lane.running) for lane in self._lanes)

    def _next(self) -> Request | None:
        """The request to send now, if there is one and room for it; with the lock held."""
        if not self._pair.lanes:
            return None
        running = list(self._pair.running())
        return next_request(self._waiting, running, threads=self._model_threads)

    def _start(self, request: Request) -> tuple[Lane, int, Request]:
        """Move a waiting request to the running ones, with the lock held."""
        depth, number = self._depth(), next(self._numbers)
        self._waiting.remove(request)
        lane = self._pair.pick(request, time.monotonic(), depth=depth)
        lane.begin(number, request)
        return lane, number, request

    def _start_small(self) -> tuple[Lane, int, Request] | None:
        """The same in the thread that hears of answers, which must not wait for the process.

        It would wait for ever if the process waited for it: so only while all that runs is single
        questions, whose answers fit into the socket's buffer. Else the dispatching thread is told.
        """
        request = self._next()
        if request is None:
            return None
        if request.small and all(len(one.tasks) == 1 for one in self._pair.running()):
            return self._start(request)
        self._due.notify()
        return None

    def _send(self, lane: Lane, number: int, request: Request) -> None:
        if request.stop_at is None or time.monotonic() <= request.stop_at:
            lane.send(number, request)
            return
        with self._changed:
            taken = lane.end(number)
            self._tell()
        if taken is not None:
            error = DeadlineError("in the queue")
            request.refuse(error.code, str(error), lane.model)

    def _refuse(self, requests: list[Request], lane: Lane) -> None:
        for request in requests:
            request.refuse("model_crashed", "its process ended", lane.model)
