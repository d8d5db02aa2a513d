"""Whole agents evaluate themselves: beside live questions, through crashes, restarts and swaps."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest
import structlog
from support.agents import DEVICE, AgentProcess, RawClient, assert_serves, serving
from support.broker import Broker
from support.swaps import L3, L6, Watcher

from edgeqa import evaluation_set
from edgeqa.data.slices import shuffled, slice_bounds, slice_id
from edgeqa.mqtt import MqttLink
from edgeqa.packets import Delivery, Subscription
from edgeqa.reader.engine import Engine
from edgeqa.squad import Example
from edgeqa.squad_v2 import EVEN
from edgeqa.telemetry_messages import Evaluation
from edgeqa.topics import DeviceTopics
from edgeqa_models.evaluate import Tally
from edgeqa_models.evaluate import evaluate as evaluate_in_workshop

pytestmark = pytest.mark.system

# As quickly as may be, but after live questions.
EAGER = {"evaluation_cpu_share": 1, "evaluation_idle_s": 0}
# So slow that there is a middle to do something in.
SLOW = {"evaluation_cpu_share": 0.1, "evaluation_idle_s": 0}


class Evaluations:
    """The evaluations that a device publishes, without repeats."""

    def __init__(self, broker: Broker) -> None:
        self.seen: set[tuple[str, int]] = set()
        self._arrived: queue.Queue[Evaluation] = queue.Queue()
        self._link = MqttLink(
            broker=broker.address(),
            client_id="evaluations",
            subscriptions=[Subscription(DeviceTopics(DEVICE).record("evaluation"), self._take)],
            log=structlog.get_logger(),
        )

    def __enter__(self) -> Self:
        self._link.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._link.stop()

    def next(self) -> Evaluation:
        return self._arrived.get(timeout=40)

    def _take(self, delivery: Delivery) -> None:
        self._link.acknowledge(delivery)
        record = Evaluation.model_validate_json(delivery.payload)
        if (record.boot_id, record.seq) not in self.seen:
            self.seen.add((record.boot_id, record.seq))
            self._arrived.put(record)


@pytest.fixture
def evaluations(broker: Broker) -> Iterator[Evaluations]:
    with Evaluations(broker) as watching:
        yield watching


def embedded_slice(index: int, of: int) -> list[Example]:
    everything = shuffled(evaluation_set.load())
    return everything[slice(*slice_bounds(len(everything), of, index))]


def in_workshop(examples: list[Example]) -> Tally:
    engine = Engine.load(L3, threads=1)
    return evaluate_in_workshop(engine, examples, lambda _: None, null_threshold=EVEN)


def order(broker: Broker, **fields: Any) -> dict[str, Any]:
    with Watcher(broker) as watcher:
        return watcher.command("evaluate", **fields)


def begun(agent: AgentProcess, *, after: int) -> None:
    agent.wait_for("evaluation_begun", after=after)


def test_device_and_workshop_agree_and_live_questions_are_answered_meanwhile(
    broker: Broker, tmp_path: Path, evaluations: Evaluations
) -> None:
    settings = {"package": L3.path, "evaluation_questions": 12, **EAGER}
    with serving(broker, tmp_path, **settings) as agent, RawClient(broker) as client:
        assert order(broker)["queued"] == 11
        begun(agent, after=0)
        assert order(broker)["error"]["code"] == "evaluation_running"
        for _ in range(20):
            assert_serves(client)
        record = evaluations.next()
    examples = embedded_slice(0, 50)
    tally = in_workshop(examples)
    assert record.questions == len(examples) == 11
    assert record.slice.id == slice_id(examples)
    assert record.model.digest == L3.digest
    assert record.exact_match == pytest.approx(tally.exact_match, abs=1e-3)
    assert record.f1 == pytest.approx(tally.f1, abs=1e-3)
    assert record.dataset.task == "squad_v2"
    assert record.waited_ms > 0  # it gave way
    low, high = record.f1_interval
    assert low < record.f1 < high
    assert record.inference.p50_ms <= record.inference.p95_ms <= record.inference.p99_ms


def test_the_order_of_a_person_is_followed_to_its_result(broker: Broker, tmp_path: Path) -> None:
    def edgeqa(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "edgeqa.cli", *arguments, "--broker", broker.url]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    with serving(broker, tmp_path, package=L3.path, **EAGER):
        shown = edgeqa("evaluate", DEVICE, "--wait", "--questions", "6", "--slice", "3")
        assert shown.returncode == 0, shown.stderr
        assert "slice      3 of 99" in shown.stdout
        assert "EM  " in shown.stdout
        refused = edgeqa("evaluate", DEVICE, "--slice", "12")
        assert refused.returncode == 5
        assert "there are 12 of at most 50 questions [unknown_slice]" in refused.stderr
        lines = edgeqa("evaluate", DEVICE, "--wait", "--json", "--questions", "3").stdout
    reply, record = map(json.loads, lines.splitlines())
    assert reply["queued"] == record["questions"] == 3
    assert record["trigger"] == "command"


def test_it_survives_the_death_of_the_model_and_of_the_agent(
    broker: Broker, tmp_path: Path, evaluations: Evaluations
) -> None:
    agent = AgentProcess(broker, tmp_path, {"package": L3.path, **SLOW}).start()
    try:
        order(broker, questions=8)
        begun(agent, after=0)
        os.kill(agent.model_pid, signal.SIGKILL)
        record = evaluations.next()
        assert record.questions == 7  # all of the slice: 594 questions in 75 slices
        with RawClient(broker) as client:
            assert_serves(client)

        before = len(agent.events)
        order(broker, questions=8)
        begun(agent, after=before)
        agent.signal(signal.SIGKILL)
        agent.wait()
        before = len(agent.events)
        agent.spawn()
        agent.wait_for("agent_online", after=before)
        order(broker, questions=8)
        again = evaluations.next()
    finally:
        assert agent.stop() == 0
    assert again.boot_id != record.boot_id
    assert again.slice.index == record.slice.index + 1  # of the slice that was not done


def test_a_swap_in_the_middle_is_followed_by_the_same_questions(
    broker: Broker, tmp_path: Path, evaluations: Evaluations
) -> None:
    with serving(broker, tmp_path, **SLOW) as agent, Watcher(broker) as watcher:
        watcher.command("evaluate", questions=6)
        first = evaluations.next()
        before = len(agent.events)
        watcher.command("evaluate", questions=20)
        begun(agent, after=before)
        wish = watcher.wish(L3)
        assert watcher.outcome(wish)["state"] == "active"
        ended = agent.wait_for("evaluation_failed", after=before)
        assert ended[0]["code"] == "evaluation_superseded"
        record = evaluations.next()
    assert first.model.digest == L6.digest
    assert record.model.digest == L3.digest
    assert record.trigger == "swap"
    assert record.slice == first.slice
    assert record.paired is not None
    assert record.paired.previous.digest == L6.digest
    assert record.paired.questions == first.questions
    difference = record.exact_match - first.exact_match
    assert record.paired.exact_match_difference == pytest.approx(difference, abs=0.01)


@pytest.mark.slow
def test_the_whole_embedded_set_scores_as_in_the_workshop(
    broker: Broker, tmp_path: Path, evaluations: Evaluations
) -> None:
    with serving(broker, tmp_path, package=L3.path, **EAGER):
        assert order(broker, questions=1000)["queued"] == 594
        record = evaluations.next()
    tally = in_workshop(evaluation_set.load())
    assert record.exact_match == pytest.approx(tally.exact_match, abs=1e-3)
    assert record.f1 == pytest.approx(tally.f1, abs=1e-3)
