"""What it costs a question to be measured: the agent's path with its meter and without, in turns.

The same router, ledger and replies, and an MQTT link that does nothing. First with a model that
answers at once, so that only the agent's own work is timed; then with a real model process, to see
the difference against an inference. What the model process measures by itself, three readings of a
clock, is in both sides.

    python benchmarks/metering.py
"""

from __future__ import annotations

import json
import statistics
import threading
import time
from collections.abc import Callable
from itertools import count
from typing import Annotated

import structlog
import typer
from rich.console import Console

from edgeqa.acks import Receipt
from edgeqa.manifest import open_package
from edgeqa.packets import Delivered, Delivery, Outgoing
from edgeqa.topics import DeviceTopics
from edgeqa_agent.contexts import Contexts
from edgeqa_agent.dispatcher import Dispatcher
from edgeqa_agent.intake import Intake, QuestionLimits
from edgeqa_agent.jobs import Outcome
from edgeqa_agent.ledger import Ledger
from edgeqa_agent.loader import Loader
from edgeqa_agent.meter import Meter
from edgeqa_agent.model_process import ModelProcess
from edgeqa_agent.replies import Replies
from edgeqa_agent.request import Request
from edgeqa_agent.router import Measures, Router
from edgeqa_agent.settings import default_package

_TOPICS = DeviceTopics("bench")
_numbers = count(1)


class _NullMeter:
    """Measures nothing."""

    def refused(self, code: str, questions: int) -> None:
        """Nothing."""

    def completed(self, outcomes: list[Outcome], *, received_at: float, done_at: float) -> None:
        """Nothing."""

    def published(self, questions: int, *, seconds: float) -> None:
        """Nothing."""


class _Link:
    """Has every message at once; counts the answers that have been acknowledged."""

    def __init__(self) -> None:
        self.answered = threading.Semaphore(0)

    def publish(self, message: Outgoing, delivered: Delivered | None = None) -> None:
        del message
        if delivered is not None:
            delivered(None)

    def acknowledge(self, delivery: Delivery) -> None:
        del delivery
        self.answered.release()


class _Side:
    """A router over a model; `run` asks one question after the other."""

    def __init__(self, offer: Callable[[Request], bool], *, measured: bool) -> None:
        self._link = _Link()
        meter = Meter()
        measures: Measures = meter if measured else _NullMeter()
        contexts = Contexts(max_texts=1, max_bytes=1000, max_chars=1000)
        limits = QuestionLimits(max_batch=64, max_payload_bytes=1 << 20, max_context_chars=100_000)
        self._router = Router(
            link=self._link,
            topics=_TOPICS,
            intake=Intake(limits=limits, stored_text=contexts.get),
            contexts=contexts,
            ledger=Ledger(capacity=1024, keep_s=600),
            replies=Replies(device="bench"),
            offer=meter.through(offer) if measured else offer,
            meter=measures,
            log=structlog.make_filtering_bound_logger(50)(structlog.PrintLogger(), [], {}),
        )

    def run(self, payloads: list[bytes]) -> float:
        """Milliseconds a question."""
        begun = time.perf_counter()
        for payload in payloads:
            self._router.on_ask(_delivery(payload))
            self._link.answered.acquire()
        return 1000 * (time.perf_counter() - begun) / len(payloads)


def main(
    rounds: Annotated[int, typer.Option(min=3, help="Turns of each side.")] = 40,
    questions: Annotated[int, typer.Option(min=10, help="In a turn with the model.")] = 40,
) -> None:
    """Measure and print."""
    package = open_package(default_package())
    texts = [{"question": row.question, "context": row.context} for row in package.checks()]
    payloads = [json.dumps(texts[number % len(texts)]).encode() for number in range(questions)]
    console = Console(highlight=False)
    _compare(console, "a model that answers at once", _at_once, payloads * 25, rounds)

    log = structlog.make_filtering_bound_logger(40)(structlog.PrintLogger(), [], {})
    dispatcher = Dispatcher(threads=1, queue_size=8, log=log)
    loader = Loader(
        dispatcher=dispatcher,
        make_process=lambda package, *, on_done, on_exit: ModelProcess(
            package=package, threads=1, on_done=on_done, on_exit=on_exit, log=log
        ),
        start_timeout_s=60.0,
        log=log,
    )
    lane = loader.prepare(package)
    loader.load(lane)
    dispatcher.exchange(lane)
    dispatcher.start()
    try:
        _compare(console, package.manifest.name, dispatcher.offer, payloads, rounds)
    finally:
        dispatcher.stop()


def _compare(
    console: Console,
    name: str,
    offer: Callable[[Request], bool],
    payloads: list[bytes],
    rounds: int,
) -> None:
    sides = {measured: _Side(offer, measured=measured) for measured in (False, True)}
    for side in sides.values():
        side.run(payloads)
    times: dict[bool, list[float]] = {False: [], True: []}
    for turn in range(rounds):
        for measured in (True, False) if turn % 2 else (False, True):
            times[measured].append(sides[measured].run(payloads))
    without, measured_ms = statistics.median(times[False]), statistics.median(times[True])
    differences = [a - b for a, b in zip(times[True], times[False], strict=True)]
    quartiles = statistics.quantiles(differences, n=4)
    console.print(
        f"{name}: {without:.4f} ms a question without the meter, {measured_ms:.4f} ms with it; "
        f"difference in a turn {1000 * statistics.median(differences):+.1f} us (quartiles "
        f"{1000 * quartiles[0]:+.1f} to {1000 * quartiles[2]:+.1f} us), "
        f"{100 * statistics.median(differences) / without:+.2f} %; {rounds} turns of "
        f"{len(payloads)} questions"
    )


def _at_once(request: Request) -> bool:
    now = time.monotonic()
    outcome = Outcome([("x", 0, 1, 0.9)], 0.1, 1, 8.0, None, 0.2, 0.3, now)
    request.complete([outcome for _ in request.tasks], now, None)
    return True


def _delivery(payload: bytes) -> Delivery:
    number = next(_numbers)
    return Delivery(
        topic=_TOPICS.ask,
        payload=payload,
        retain=False,
        redelivered=False,
        response_topic="bench/answers",
        correlation=number.to_bytes(8, "big"),
        expiry_s=None,
        received_at=time.monotonic(),
        receipt=Receipt(1, number),
    )


if __name__ == "__main__":
    typer.run(main)
