"""A real agent in a process of its own, and a client that says exactly what a test wants said."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import structlog

from edgeqa.mqtt import Limits, MqttLink
from edgeqa.packets import Delivery, Outgoing, Subscription
from edgeqa.topics import DeviceTopics, client_answers
from support.broker import Broker

START_TIMEOUT_S = 60.0
ANSWER_TIMEOUT_S = 30.0
DEVICE = "pi-1"

PASSAGE = (
    "The Raspberry Pi 5 was announced in September 2023. It is built around the Broadcom BCM2712, "
    "which has four Arm Cortex-A76 cores at 2.4 GHz. The board is powered over USB-C and draws up "
    "to 25 watts when it is fed by the official power supply from Cambridge."
)
QUESTION = "When was the Raspberry Pi 5 announced?"
ANSWER = "September 2023"


@dataclass
class AgentProcess:
    """`edgeqa agent run` against a broker; settings are fields of `AgentSettings`."""

    broker: Broker
    folder: Path
    settings: dict[str, object] = field(default_factory=dict)
    device: str = DEVICE
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def log_file(self) -> Path:
        return self.folder / f"agent-{self.device}.log"

    @property
    def events(self) -> list[dict[str, Any]]:
        """Its log so far, as objects."""
        lines = self.log_file.read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def model_pid(self) -> int:
        """The newest model process."""
        return int(self.wait_for("model_ready")[-1]["pid"])

    def spawn(self) -> AgentProcess:
        """Start it without waiting."""
        self.folder.mkdir(parents=True, exist_ok=True)
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith("EDGEQA_")
        }
        values = {
            "broker": self.broker.url,
            "device": self.device,
            "log_level": "debug",
            # Most tests ask the same again and again, to have the model at work.
            "answer_cache_entries": 0,
            "state_dir": self.folder / f"state-{self.device}",
        }
        for name, value in {**values, **self.settings}.items():
            environment[f"EDGEQA_AGENT_{name.upper()}"] = str(value)
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "edgeqa.cli", "agent", "run"],
                env=environment,
                stdout=log,
                stderr=log,
            )
        return self

    def start(self) -> AgentProcess:
        """Start it and wait until it serves."""
        before = len(self.events) if self.log_file.exists() else 0
        self.spawn()
        self.wait_for("agent_online", after=before, timeout_s=START_TIMEOUT_S)
        return self

    def wait_for(
        self, event: str, *, after: int = 0, timeout_s: float = 20.0
    ) -> list[dict[str, Any]]:
        """Wait for a log event and return all of that name."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            found = [entry for entry in self.events[after:] if entry["event"] == event]
            if found:
                return found
            if self._process is not None and self._process.poll() is not None:
                break
            time.sleep(0.02)
        raise AssertionError(f"no {event!r} in the log:\n{self.log_file.read_text()}")

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def wait(self, timeout_s: float = 30.0) -> int:
        """Wait for its end; its exit code."""
        assert self._process is not None
        return self._process.wait(timeout_s)

    def stop(self) -> int:
        """SIGTERM and wait."""
        if self._process is None or self._process.poll() is not None:
            return self._process.returncode if self._process else 0
        self._process.terminate()
        try:
            return self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise


class RawClient:
    """Publishes bytes to an agent and takes what comes back, by correlation data."""

    def __init__(self, broker: Broker, *, device: str = DEVICE) -> None:
        self.topics = DeviceTopics(device)
        self.response_topic = client_answers(f"raw-{uuid.uuid4().hex[:8]}")
        self.unsolicited: queue.Queue[dict[str, Any]] = queue.Queue()
        self.everything: list[tuple[bytes, dict[str, Any]]] = []
        self._answers: dict[bytes, queue.Queue[dict[str, Any]]] = {}
        self._link = MqttLink(
            broker=broker.address(),
            client_id=self.response_topic.split("/")[-2],
            subscriptions=[
                Subscription(self.response_topic, self._on_answer),
                Subscription(self.topics.answers, self._on_unsolicited),
            ],
            log=structlog.get_logger(),
            limits=Limits(session_expiry_s=300),  # answers wait while the broker is away
        )

    def __enter__(self) -> Self:
        self._link.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._link.stop()

    def send(
        self,
        payload: bytes | dict[str, Any],
        *,
        topic: str | None = None,
        correlation: bytes | None = None,
        response_topic: str | None = "",
        expiry_s: int | None = None,
    ) -> bytes:
        """Publish a question; the correlation data under which `take` finds its answers."""
        raw = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        correlation = uuid.uuid4().bytes if correlation is None else correlation
        self._answers.setdefault(correlation, queue.Queue())
        self._link.publish(
            Outgoing(
                topic or self.topics.ask,
                raw,
                response_topic=self.response_topic if response_topic == "" else response_topic,
                correlation=correlation,
                expiry_s=expiry_s,
            )
        )
        return correlation

    def publish(self, message: Outgoing) -> None:
        self._link.publish(message)

    def take(self, correlation: bytes, *, timeout_s: float = ANSWER_TIMEOUT_S) -> dict[str, Any]:
        """The next answer; queue.Empty where none comes."""
        return self._answers[correlation].get(timeout=timeout_s)

    def ask(self, payload: bytes | dict[str, Any], **options: Any) -> dict[str, Any]:
        """`send` and `take`."""
        return self.take(self.send(payload, **options))

    def count(self, correlation: bytes) -> int:
        """Answers that came so far."""
        return sum(1 for key, _ in self.everything if key == correlation)

    def _on_answer(self, delivery: Delivery) -> None:
        self._link.acknowledge(delivery)
        answer = json.loads(delivery.payload)
        correlation = delivery.correlation or b""
        self.everything.append((correlation, answer))
        self._answers.setdefault(correlation, queue.Queue()).put(answer)

    def _on_unsolicited(self, delivery: Delivery) -> None:
        self._link.acknowledge(delivery)
        self.unsolicited.put(json.loads(delivery.payload))


@contextmanager
def serving(broker: Broker, folder: Path, **settings: object) -> Iterator[AgentProcess]:
    """An agent that serves inside the block, and ends with 0 behind it."""
    device = str(settings.pop("device", DEVICE))
    agent = AgentProcess(broker, folder, settings, device).start()
    try:
        yield agent
    finally:
        code = agent.stop()
    assert code == 0, agent.log_file.read_text()


def a_question(**fields: Any) -> dict[str, Any]:
    """A question with a known answer, and whatever else a test wants in it."""
    return {"question": QUESTION, "context": PASSAGE, **fields}


def assert_serves(client: RawClient) -> dict[str, Any]:
    """The agent answers a good question rightly: nothing that came before has harmed it."""
    answer = client.ask(a_question())
    assert answer["status"] == "ok", answer
    assert answer["answers"][0]["text"] == ANSWER, answer
    return answer
