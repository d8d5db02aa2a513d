"""Clients that ask without pause, in processes of their own, and write down all that they see.

Each client is an MQTT connection with one question open at a time. Nothing is judged or dropped
here: every question sent and every message that comes is a line of a file.

Thread: messages come in the network thread of each client, the rest happens in the main thread of
its process; a lock for each client guards what they share.
"""

from __future__ import annotations

import json
import multiprocessing
import random
import signal
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from multiprocessing.sharedctypes import Synchronized
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import IO, Any, Self

import structlog

from edgeqa.broker import BrokerSettings, resolve_broker
from edgeqa.errors import DataError
from edgeqa.logs import configure_logs
from edgeqa.mqtt import MqttLink
from edgeqa.packets import Delivery, Outgoing, Subscription
from edgeqa.topics import DeviceTopics, client_answers
from soak.judge import LOST_AFTER_S, Came, Sent
from soak.truth import Question

_TICK_S = 0.01
_START_TIMEOUT_S = 300.0
# After the last answer, a second one may still be on its way.
_LINGER_S = 2.0
_PAUSED = -1.0


@dataclass(frozen=True)
class _Shared:
    """What the processes share: `pause_s` between an answer and the next question, or `_PAUSED`."""

    pause_s: Synchronized[float]
    ready: Event
    stop: Event
    answered: Synchronized[int]
    open: Synchronized[int]


class Load:
    """The clients, from outside. Use it in a `with` block; they begin paused.

    Args:
        url: of the broker.
        device: who is asked.
        questions: each client asks them in an order of its own.
        clients: connections.
        processes: that the clients are divided among.
        folder: for what they write down.
    """

    def __init__(
        self,
        url: str,
        device: str,
        questions: Sequence[Question],
        *,
        clients: int,
        folder: Path,
        processes: int = 2,
    ) -> None:
        context = multiprocessing.get_context("spawn")
        pause_s = context.Value("d", _PAUSED, lock=False)
        stop = context.Event()
        self._shared: list[_Shared] = []
        self._processes: list[BaseProcess] = []
        self._files: list[Path] = []
        for number in range(min(processes, clients)):
            shared = _Shared(
                pause_s, context.Event(), stop, context.Value("Q", 0), context.Value("q", 0)
            )
            self._shared.append(shared)
            self._files.append(folder / f"clients-{number + 1}.jsonl")
            self._files[-1].unlink(missing_ok=True)
            own = [*range(number, clients, processes)]
            self._processes.append(
                context.Process(
                    target=_run,
                    args=(url, device, list(questions), own, self._files[-1], shared),
                    daemon=True,
                )
            )

    def __enter__(self) -> Self:
        for process in self._processes:
            process.start()
        deadline = time.monotonic() + _START_TIMEOUT_S
        for process, shared in zip(self._processes, self._shared, strict=True):
            while not shared.ready.wait(0.05):
                if not process.is_alive() or time.monotonic() > deadline:
                    self.stop()
                    raise DataError("a client cannot connect to the broker")
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def answered(self) -> int:
        """Messages that came so far."""
        return sum(shared.answered.value for shared in self._shared)

    @property
    def alive(self) -> bool:
        """Whether all clients run."""
        return all(process.is_alive() for process in self._processes)

    def ask(self, *, pause_s: float = 0.0) -> None:
        """Ask from now on, each client so long after each answer."""
        self._shared[0].pause_s.value = pause_s

    def pause(self) -> None:
        """Ask nothing more, and wait until nothing is open."""
        self._shared[0].pause_s.value = _PAUSED
        time.sleep(5 * _TICK_S)
        while self.alive and any(shared.open.value for shared in self._shared):
            time.sleep(_TICK_S)

    def stop(self) -> None:
        """Wait for what is open, and a little for what must not come, and end."""
        self._shared[0].stop.set()
        for process in self._processes:
            if process.pid is not None:
                process.join(LOST_AFTER_S + 30)
                process.kill()
                process.join()

    def seen(self) -> tuple[list[Sent], list[Came]]:
        """All questions and all messages, after `stop`."""
        sent: list[Sent] = []
        came: list[Came] = []
        for path in self._files:
            for row in _rows(path):
                if row[0] == "sent":
                    sent.append(Sent(*row[1:]))
                else:
                    span = None if row[4] is None else tuple(row[4])
                    came.append(Came(row[1], row[2], row[3], span, row[5]))
        return sent, came


def _rows(path: Path) -> Iterator[list[Any]]:
    if path.exists():
        for line in path.read_text().splitlines():
            try:
                yield json.loads(line)
            except ValueError:  # cut off: the process was killed
                return


class _Client:
    def __init__(
        self, url: str, device: str, questions: list[Question], seed: int, notes: _Notes
    ) -> None:
        topic = client_answers(uuid.uuid4().hex[:12])
        self._ask_topic = DeviceTopics(device).ask
        self._answer_topic = topic
        self._notes = notes
        self._payloads = [
            json.dumps({"question": q.question, "context": q.context}).encode() for q in questions
        ]
        self._order = [*range(len(questions))]
        random.Random(seed).shuffle(self._order)
        self._turn = 0
        self._lock = threading.Lock()
        self._open: str | None = None
        self._sent_at = 0.0
        self._free_since = 0.0
        self.link = MqttLink(
            broker=resolve_broker(BrokerSettings(broker=url, broker_connect_timeout_s=60)),
            client_id=topic.split("/")[-2],
            subscriptions=[Subscription(topic, self._on_answer)],
            log=structlog.get_logger(),
        )

    def tick(self) -> None:
        """Ask if it is time to; give up a question that waited too long."""
        with self._lock:
            now = time.monotonic()
            if self._open is not None and now - self._sent_at > LOST_AFTER_S:
                self._close()
            pause_s = self._notes.shared.pause_s.value
            if self._open is None and pause_s >= 0 and now - self._free_since >= pause_s:
                self._ask()

    def _on_answer(self, delivery: Delivery) -> None:
        self.link.acknowledge(delivery)
        name = (delivery.correlation or b"").hex()
        self._notes.came(name, delivery)
        with self._lock:
            if name != self._open:
                return
            self._close()
            if self._notes.shared.pause_s.value == 0 and not self._notes.shared.stop.is_set():
                self._ask()

    def _close(self) -> None:
        self._open = None
        self._free_since = time.monotonic()
        self._notes.opened(-1)

    def _ask(self) -> None:
        number = self._order[self._turn % len(self._order)]
        self._turn += 1
        correlation = uuid.uuid4().bytes
        self._open, self._sent_at = correlation.hex(), time.monotonic()
        self._notes.opened(1)
        self._notes.sent(self._open, number, self._sent_at)
        self.link.publish(
            Outgoing(
                self._ask_topic,
                self._payloads[number],
                response_topic=self._answer_topic,
                correlation=correlation,
            )
        )


class _Notes:
    """What the clients of one process saw."""

    def __init__(self, file: IO[str], shared: _Shared) -> None:
        self.shared = shared
        self._file = file
        self._lock = threading.Lock()

    def sent(self, name: str, question: int, at: float) -> None:
        self._write(["sent", name, question, at])

    def came(self, name: str, delivery: Delivery) -> None:
        answer = json.loads(delivery.payload)
        error = None if answer["status"] == "ok" else answer["error"]["code"]
        best = next(iter(answer.get("answers") or []), None)
        span = best and [best["text"], best["start"], best["end"], best["score"]]
        digest = (answer.get("model") or {}).get("digest")
        self._write(["came", name, delivery.received_at, digest, span, error])
        with self.shared.answered.get_lock():
            self.shared.answered.value += 1

    def opened(self, change: int) -> None:
        with self.shared.open.get_lock():
            self.shared.open.value += change

    def _write(self, row: list[Any]) -> None:
        with self._lock:
            self._file.write(json.dumps(row) + "\n")


def _run(
    url: str,
    device: str,
    questions: list[Question],
    clients: list[int],
    path: Path,
    shared: _Shared,
) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is for the parent, which stops us
    configure_logs(level="error", fmt="console")
    with path.open("w", encoding="utf-8") as file:
        notes = _Notes(file, shared)
        ours = [_Client(url, device, questions, seed, notes) for seed in clients]
        for client in ours:
            client.link.start()
        shared.ready.set()
        while not shared.stop.wait(_TICK_S):
            for client in ours:
                client.tick()
        give_up = time.monotonic() + LOST_AFTER_S
        while shared.open.value and time.monotonic() < give_up:
            time.sleep(_TICK_S)
        time.sleep(_LINGER_S)
        for client in ours:
            client.link.stop()
