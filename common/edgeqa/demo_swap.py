"""The part of the demo that changes an agent's model while questions flow."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console

from edgeqa.client import Client
from edgeqa.demo_packages import SMALL
from edgeqa.errors import AnswerError, EdgeqaError
from edgeqa.manifest import Check, Package
from edgeqa.model_messages import ModelState, Verb
from edgeqa.operator import Operator, new_wish_id

NAME, VERSION = SMALL
_CLIENTS = 4
_AFTER = 20  # questions that must be answered by the new model
_TIMEOUT_S = 60.0


@dataclass
class _Flow:
    """Clients that ask without pause, and what they were answered."""

    client: Client
    device: str
    checks: list[Check]
    by_model: dict[str, int] = field(default_factory=dict)
    asked: int = 0
    lost: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stop: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def running(self) -> Iterator[None]:
        threads = [threading.Thread(target=self._ask) for _ in range(_CLIENTS)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()

    def count(self, model: str) -> int:
        with self._lock:
            return self.by_model.get(model, 0)

    def _ask(self) -> None:
        while not self._stop.is_set():
            with self._lock:
                check = self.checks[self.asked % len(self.checks)]
                self.asked += 1
            try:
                answer = self.client.ask(
                    check.question, context=check.context, device=self.device, timeout_s=30.0
                )
            except AnswerError as error:
                self.lost.append(error.code)
                continue
            name = answer.model.name if answer.model else "unnamed"
            with self._lock:
                self.by_model[name] = self.by_model.get(name, 0) + 1


def swap(
    client: Client, url: str, device: str, before: Package, console: Console
) -> Iterator[tuple[str, bool]]:
    """Swap and roll back while questions flow; what was seen, and whether it was right."""
    flow = _Flow(client, device, before.checks())
    with Operator(broker=url) as operator, flow.running():
        _until(lambda: flow.count(before.manifest.name) >= _AFTER)
        wish = new_wish_id()
        begun = time.monotonic()
        with operator.follow(device, wish, _TIMEOUT_S) as following:
            operator.wish(device, NAME, VERSION, wish_id=wish)
            told = None
            for report in following:
                if report.state != told:
                    console.print(f"         {report.state:<10} {time.monotonic() - begun:4.1f} s")
                told = report.state
        took_s = time.monotonic() - begun
        _until(lambda: flow.count(NAME) >= _AFTER)
        before_count = flow.count(before.manifest.name)
        seen = (
            f"swapped to {NAME} {VERSION}, fetched from a signed repository, in {took_s:.1f} s "
            f"while {_CLIENTS} clients asked: {before_count} answers by the old model, then "
            f"{flow.count(NAME)} by the new"
        )
        yield seen, told == ModelState.ACTIVE
        reply = operator.command(device, Verb.ROLLBACK, timeout_s=_TIMEOUT_S)
        back = reply.active is not None and reply.active.digest == before.digest
        _until(lambda: flow.count(before.manifest.name) >= before_count + _AFTER)
    answered = sum(flow.by_model.values())
    yield "rolled back by a command", back
    seen = f"{flow.asked} questions asked meanwhile, {answered} answered, {len(flow.lost)} lost"
    yield seen, answered == flow.asked and not flow.lost


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _TIMEOUT_S
    while not condition():
        if time.monotonic() > deadline:
            raise EdgeqaError("the questions do not flow", code="demo_failed")
        time.sleep(0.01)
