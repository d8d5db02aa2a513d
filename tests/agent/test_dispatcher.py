"""The dispatcher's watch over a model process."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import structlog
from structlog.testing import capture_logs

from edgeqa.scores import Forced
from edgeqa_agent.dispatcher import Dispatcher
from edgeqa_agent.jobs import Done, Ready
from edgeqa_agent.model_process import ModelProcess


class Process:
    """A model process that is proven and then, if told so, dead before anybody noted it."""

    forced: Forced | None = None

    def __init__(self, *, ended: bool) -> None:
        self.ended = ended
        self.pid = 1
        manifest = SimpleNamespace(name="m", version="1.0.0", forced=self.forced)
        self.package = SimpleNamespace(manifest=manifest, path="p")

    def start(self, *, timeout_s: float) -> Ready:
        return Ready(1.0, 1.0, "1")

    def stop(self) -> None:
        pass


def test_process_that_dies_before_it_is_noted_is_replaced() -> None:
    made: list[Process] = []

    def make(
        on_done: Callable[[Done], None], on_exit: Callable[[ModelProcess], None]
    ) -> ModelProcess:
        made.append(Process(ended=not made))
        return cast("ModelProcess", cast("Any", made[-1]))

    dispatcher = Dispatcher(
        make_process=make, threads=1, queue_size=1, inference_timeout_s=60, start_timeout_s=1,
        log=structlog.get_logger(),
    )  # fmt: skip
    with capture_logs():
        dispatcher.start()
        deadline = time.monotonic() + 5
        while len(made) == 1 and time.monotonic() < deadline:
            time.sleep(0.02)
        dispatcher.stop()
    assert len(made) == 2


def test_a_forced_model_is_named_in_the_log() -> None:
    process = Process(ended=False)
    process.package.manifest.forced = Forced(
        reason="a drill", exact_match_lost=3, f1_lost=2, max_exact_match_loss=1, max_f1_loss=0.5
    )
    dispatcher = Dispatcher(
        make_process=lambda *_: cast("ModelProcess", cast("Any", process)),
        threads=1,
        queue_size=1,
        inference_timeout_s=60,
        start_timeout_s=1,
        log=structlog.get_logger(),
    )
    with capture_logs() as logs:
        dispatcher.start()
        dispatcher.stop()
    [warning] = [entry for entry in logs if entry["event"] == "model_was_forced"]
    assert (warning["log_level"], warning["reason"]) == ("warning", "a drill")
