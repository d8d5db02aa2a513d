"""From starting the agent to its first answer, and its memory after some seconds of work."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.agents import memory_mib, running_agent
from bench.clients import Clients, FirstAnswer
from bench.questions import Questions
from bench.tasks import Turn

_START_TIMEOUT_S = 300.0


@dataclass(frozen=True)
class Start:
    """What is measured.

    Attributes:
        work_s: of questions before the memory is looked at.
    """

    package: Path
    threads: int
    questions: Questions
    url: str
    log: Path
    clients: int
    work_s: float = 3.0

    @contextmanager
    def open(self, _: dict[str, Any]) -> Iterator[Turn]:
        """The clients; each turn starts an agent of its own."""
        with FirstAnswer(self.url) as first, Clients(self.url, self.clients) as clients:

            def turn(_: list[dict[str, Any]]) -> dict[str, Any]:
                begun = time.perf_counter()
                with running_agent(self.url, self.package, self.threads, self.log) as process:
                    first.wait(self.questions.warm_up[0], _START_TIMEOUT_S)
                    first_s = time.perf_counter() - begun
                    idle = memory_mib(process.pid)
                    until = time.perf_counter() + self.work_s
                    asked = 0
                    while time.perf_counter() < until:
                        asked += len(clients.ask(self.questions.block(asked, 2 * self.clients)))
                    return {
                        "first_answer_s": round(first_s, 3),
                        "idle": idle,
                        "worked": memory_mib(process.pid),
                    }

            yield turn
