"""Two models on one device: which of them answers, and that neither is lost by the other."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, Self

import pytest
import structlog
from support.agents import DEVICE, PASSAGE, QUESTION, AgentProcess, RawClient, a_question, serving
from support.broker import Broker
from support.swaps import L3, L6, Watcher

from edgeqa.mqtt import MqttLink
from edgeqa.packets import Delivery, Subscription

pytestmark = pytest.mark.system

# Few enough, and a hold short enough, that a test sees both directions in a moment.
QUICK = {
    "companion_queue_high": 6,
    "companion_queue_low": 2,
    "companion_hold_s": 0.5,
    "companion_hot_celsius": 199,
    "companion_cool_celsius": 198,
    "telemetry_interval_s": 1,
}


@contextmanager
def paired(broker: Broker, folder: Path, **settings: object) -> Iterator[AgentProcess]:
    """An agent with the default model and a quicker one, both of them loaded."""
    with serving(broker, folder, companion=L3.manifest.name, **{**QUICK, **settings}) as agent:
        agent.wait_for("companion_serves")
        yield agent


def until(reached: Callable[[], bool], *, seconds: float = 30.0) -> None:
    """Wait for something that needs a few questions or a moment."""
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.02)


_numbers = count()


def question(**fields: Any) -> dict[str, Any]:
    """One that was not asked before, so that no answer is remembered."""
    return a_question(context=f"{PASSAGE} Page {next(_numbers)}.", **fields)


def chosen(answer: dict[str, Any]) -> tuple[str, str]:
    """Which model answered, and why."""
    assert answer["status"] == "ok", answer
    return answer["model"]["digest"], answer["choice"]


class Asking:
    """Two threads that ask for the better and the quicker model until told to stop."""

    def __init__(self, client: RawClient) -> None:
        self._client = client
        self._stop = threading.Event()
        self._seen: set[tuple[str, str]] = set()
        self._sent: list[bytes] = []
        self._threads = [
            threading.Thread(target=self._ask, args=(quality,)) for quality in ("best", "fast")
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)
        assert not any(thread.is_alive() for thread in self._threads), "a question was lost"
        assert all(self._client.count(sent) == 1 for sent in self._sent)

    def saw(self, digest: str, reason: str) -> bool:
        """Whether such an answer came since the start, or since what came was forgotten."""
        return (digest, reason) in self._seen

    def forget(self) -> None:
        """Begin anew."""
        self._seen.clear()

    def _ask(self, quality: str) -> None:
        while not self._stop.is_set():
            sent = self._client.send(question(quality=quality))
            self._sent.append(sent)
            self._seen.add(chosen(self._client.take(sent)))


@contextmanager
def following(broker: Broker, topic: str, take: Callable[[dict[str, Any]], None]) -> Iterator[None]:
    """What comes on a topic, as objects."""

    def on_message(delivery: Delivery) -> None:
        link.acknowledge(delivery)
        take(json.loads(delivery.payload))

    link = MqttLink(
        broker=broker.address(),
        client_id=f"follow-{uuid.uuid4().hex[:8]}",
        subscriptions=[Subscription(topic, on_message)],
        log=structlog.get_logger(),
    )
    link.start()
    try:
        yield
    finally:
        link.stop()


def test_a_device_with_one_model_names_no_choice(client: RawClient) -> None:
    for quality in ("fast", "balanced", "best"):
        answer = client.ask(question(quality=quality))
        assert answer["model"]["digest"] == L6.digest
        assert "choice" not in answer


def test_load_brings_the_quicker_model_and_its_end_brings_the_better_one_back(
    broker: Broker, tmp_path: Path
) -> None:
    records: list[dict[str, Any]] = []
    with (
        paired(broker, tmp_path),
        RawClient(broker) as client,
        following(broker, client.topics.record("telemetry"), records.append),
    ):
        assert chosen(client.ask(question())) == (L6.digest, "calm")
        assert chosen(client.ask(question(quality="fast"))) == (L3.digest, "asked")
        shown = subprocess.run(
            [
                *(sys.executable, "-m", "edgeqa.cli", "ask", "--broker", broker.url),
                *("--device", DEVICE, "--quality", "fast", "--deadline-ms", "60000"),
                *("--text", PASSAGE, QUESTION),
            ],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        ).stdout
        model = L3.manifest
        assert f"{model.name} {model.version} · chosen: asked · device {DEVICE}" in shown

        burst = [client.send(question()) for _ in range(60)]
        answers = [chosen(client.take(sent)) for sent in burst]
        # No flapping: the better model until six were there, then the quicker one for all others.
        calm = answers.count((L6.digest, "calm"))
        assert answers == [(L6.digest, "calm")] * calm + [(L3.digest, "load")] * (60 - calm)
        assert calm < 30
        assert chosen(client.ask(question(quality="best"))) == (L6.digest, "asked")

        asked = 63
        quick = 60 - calm
        while chosen(client.ask(question())) != (L6.digest, "calm"):
            asked, quick = asked + 1, quick + 1
            assert asked < 1000
        assert all(client.count(sent) == 1 for sent in burst)

        def counted(digest: str, reason: str) -> int:
            return sum(
                choice["questions"]
                for record in records
                for choice in record.get("choices", [])
                if (choice["model"]["digest"], choice["reason"]) == (digest, reason)
            )

        until(lambda: counted(L6.digest, "calm") == calm + 2)
        assert counted(L3.digest, "load") == quick
        assert (counted(L3.digest, "asked"), counted(L6.digest, "asked")) == (2, 1)
        assert records[-1]["companion"]["digest"] == L3.digest


@pytest.mark.slow
def test_either_model_may_die_or_be_changed_and_the_other_goes_on(
    broker: Broker, tmp_path: Path
) -> None:
    with (
        paired(broker, tmp_path) as agent,
        RawClient(broker) as client,
        Watcher(broker) as watcher,
    ):
        better, quicker = (int(event["pid"]) for event in agent.wait_for("model_ready"))

        with Asking(client) as asking:
            os.kill(quicker, signal.SIGKILL)  # the better one answers alone, then it is there again
            until(lambda: asking.saw(L6.digest, "alone"))
            until(lambda: len(agent.wait_for("companion_serves")) == 2)
            os.kill(better, signal.SIGKILL)  # the quicker one steps in
            until(lambda: asking.saw(L3.digest, "alone"))
            agent.wait_for("model_replaced")
            asking.forget()
            until(lambda: asking.saw(L6.digest, "asked") and asking.saw(L3.digest, "asked"))
            companion = agent.wait_for("model_ready")[2]["pid"]

            wish = watcher.wish(L3)
            assert watcher.outcome(wish)["state"] == "active"
            until(lambda: asking.saw(L3.digest, "alone"))  # one model twice is no choice
            assert watcher.outcome(watcher.wish(L6))["state"] == "active"
            asking.forget()
            until(lambda: asking.saw(L6.digest, "asked") and asking.saw(L3.digest, "asked"))
        assert Path(f"/proc/{companion}").exists()


def test_a_companion_that_does_not_fit_is_left_out_and_the_first_model_serves(
    broker: Broker, tmp_path: Path
) -> None:
    with (
        serving(broker, tmp_path, companion=L3.path, memory_reserve_mb=1 << 19) as agent,
        RawClient(broker) as client,
    ):
        (failed,) = agent.wait_for("companion_not_loaded")
        assert failed["code"] == "not_enough_memory"
        assert chosen(client.ask(question(quality="fast"))) == (L6.digest, "alone")
