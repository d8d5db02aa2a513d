"""A real agent that keeps answers, over a real broker: what is inferred, and what is told of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.agents import (
    PASSAGE,
    QUESTION,
    AgentProcess,
    RawClient,
    a_question,
    assert_serves,
    serving,
)
from support.broker import Broker
from support.records import TIMEOUT_S, Records
from support.swaps import L3, L6, Watcher

from edgeqa.packets import Outgoing

pytestmark = pytest.mark.system

ENTRIES = 100
BARE = {"id", "inference_ms", "queue_ms", "total_ms", "cached"}


def told(answer: dict[str, Any]) -> dict[str, Any]:
    """Of an answer, what must be the same again."""
    return {name: value for name, value in answer.items() if name not in BARE}


def test_the_same_again_is_answered_alike_without_the_model_and_counted(
    broker: Broker, tmp_path: Path
) -> None:
    settings = {"telemetry_interval_s": 1, "answer_cache_entries": ENTRIES}
    with Records(broker) as records, RawClient(broker) as client:
        with serving(broker, tmp_path, **settings) as agent:
            first = client.ask(a_question(id="1", top_k=3))
            os.kill(agent.model_pid, signal.SIGSTOP)  # from here on the model says nothing
            again = client.ask(a_question(id="2", top_k=3))
            assert told(again) == told(first)
            assert again["cached"] is True
            assert "cached" not in first
            assert again["inference_ms"] == 0 < first["inference_ms"]

            fresh = client.send(a_question(id="3"))  # other answers are wanted: the model is asked
            same = [client.send(a_question(id=str(n))) for n in range(4, 8)]
            os.kill(agent.model_pid, signal.SIGCONT)
            assert "cached" not in client.take(fresh)
            assert all(client.take(one)["cached"] for one in same)

            batch = [{"question": QUESTION}, {"question": "When?"}, {"question": QUESTION}]
            results = client.ask({"context": PASSAGE, "questions": batch})["results"]
            assert [result.get("cached") for result in results] == [True, None, True]
        deadline = time.monotonic() + TIMEOUT_S
        while records.outcomes["answered"] < 10 and time.monotonic() < deadline:
            time.sleep(0.05)
    assert records.outcomes == {"answered": 10}
    assert sum(record.cached for record in records.all) == 7
    for part in ("queue", "tokenise", "inference", "decode", "total"):
        assert records.count(part) == 3, part
    assert records.count("publish") == 10


@pytest.fixture(scope="module")
def keeping(
    shared_broker: Broker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[AgentProcess]:
    folder = tmp_path_factory.mktemp("agent")
    with serving(shared_broker, folder, threads=1, answer_cache_entries=ENTRIES) as running:
        yield running


def test_a_stored_text_that_was_replaced_is_another_text(keeping: AgentProcess) -> None:
    with RawClient(keeping.broker) as client:
        asked = {"question": "Who keeps the key?", "context_id": "rules"}
        answers = []
        for keeper in ("The porter", "The porter", "The gardener"):
            text = f"{keeper} keeps the key of the gate.".encode()
            client.publish(Outgoing(client.topics.context("rules"), text, retain=True))
            answers.append(client.ask(asked))
        texts = [answer["answers"][0]["text"] for answer in answers]
        assert texts == ["The porter", "The porter", "The gardener"]
        assert [answer.get("cached") for answer in answers] == [None, True, None]


def test_each_model_answers_for_itself_and_a_trial_sees_every_question(
    broker: Broker, tmp_path: Path
) -> None:
    with (
        serving(broker, tmp_path, answer_cache_entries=ENTRIES),
        Watcher(broker) as watcher,
        RawClient(broker) as client,
    ):
        assert "cached" not in assert_serves(client)
        assert assert_serves(client)["cached"] is True
        wish = watcher.wish(L3, shadow={"fraction": 1.0, "questions": 3, "min_agreement": 0.0})
        inferred = 0
        while (answer := assert_serves(client))["model"]["digest"] == L6.digest:
            inferred += "cached" not in answer
        assert watcher.outcome(wish)["state"] == "active"
        assert inferred >= 3, "the trial had its questions though they were known"
        again = assert_serves(client)
        assert (again["model"]["digest"], again["cached"]) == (L3.digest, True)
        assert watcher.outcome(watcher.wish(L6))["state"] == "active"
        back = assert_serves(client)
        assert (back["model"]["digest"], back["cached"]) == (L6.digest, True)


def test_equal_questions_outlive_the_model_that_had_them(keeping: AgentProcess) -> None:
    with RawClient(keeping.broker) as client:
        dying = keeping.model_pid
        os.kill(dying, signal.SIGSTOP)
        sent = [client.send(a_question(id=str(n))) for n in range(20)]
        time.sleep(0.3)  # they are with the agent; where not, the test is only weaker
        os.kill(dying, signal.SIGKILL)
        answers = [client.take(one) for one in sent]
        assert [answer["status"] for answer in answers] == ["ok"] * 20
        assert sum("cached" not in answer for answer in answers) == 1


def test_a_person_sees_that_an_answer_was_kept(keeping: AgentProcess) -> None:
    command = [sys.executable, "-m", "edgeqa.cli", "ask", "Who keeps the shed?", "--text"]
    asked = [*command, "The gardener keeps the shed.", "--device", keeping.device]
    asked += ["--broker", keeping.broker.url]
    first, again = (
        subprocess.run(asked, capture_output=True, text=True, timeout=30, check=True).stdout
        for _ in range(2)
    )
    assert "inference" in first
    assert "kept from before" not in first
    assert "kept from before" in again
