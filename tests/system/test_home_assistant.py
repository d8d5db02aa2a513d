"""Home Assistant's side of a real broker, with a real agent on the other."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.agents import (
    ANSWER,
    DEVICE,
    PASSAGE,
    QUESTION,
    AgentProcess,
    RawClient,
    assert_serves,
    serving,
)
from support.broker import Broker
from support.home_assistant import attributes_of, check_discovery, command_of, state_of
from support.home_watcher import HomeWatcher, watching

pytestmark = pytest.mark.system

SCRIPT = str(Path(__file__).parents[1] / "support" / "real_home_assistant.py")
SETTINGS: dict[str, object] = {
    "home_assistant": "true",
    "home_assistant_context": "manual",
    "home_assistant_interval_s": 1,
    "evaluation_data": "off",
    "threads": 1,
}

QUESTIONS = [
    QUESTION,
    'When was the "Raspberry Pi 5" announced, it\'s said?',
    "When was the\nRaspberry Pi 5\tannounced?",
    "When was the Raspberry Pi 5 announced? 🥧 你好",
    "When was the <b>Raspberry Pi 5</b> announced? <script>alert(1)</script> & more",
    "When was the Raspberry Pi 5 {{ announced }}? {% if %}",
]


@pytest.fixture(scope="module")
def home_agent(
    shared_broker: Broker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[AgentProcess]:
    with serving(shared_broker, tmp_path_factory.mktemp("home"), **SETTINGS) as running:
        yield running


@pytest.fixture
def home(shared_broker: Broker, home_agent: AgentProcess) -> Iterator[HomeWatcher]:
    with watching(shared_broker) as watcher:
        watcher.say(watcher.topics.context("manual"), PASSAGE.encode(), retain=True)
        home_agent.wait_for("context_stored")
        yield watcher


def entities(home: HomeWatcher) -> dict[str, Any]:
    """As announced."""
    announced = home.wait(home.config_topic)
    message = check_discovery(announced.topic, announced.payload, prefix=home.prefix)
    found = message["components"]
    assert isinstance(found, dict)
    return found


def type_in(home: HomeWatcher, field: dict[str, Any], question: str) -> bytes:
    """Set the text; what comes on the answer's topic."""
    before = len(home.came(home.topics.home_answer))
    home.say(field["command_topic"], command_of(field, question))
    while True:
        payload = home.wait(home.topics.home_answer, after=before).payload
        if json.loads(payload)["attributes"]["question"] == question:
            return payload
        before += 1  # the one that is retained of a question before


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_typed_question_comes_back_as_an_answer(home: HomeWatcher, question: str) -> None:
    shown = entities(home)

    payload = type_in(home, shown["question"], question)

    assert state_of(shown["answer"], payload) == ANSWER
    attributes = attributes_of(shown["answer"], payload)
    assert attributes["question"] == question
    assert (attributes["context_id"], attributes["text"]) == ("manual", ANSWER)
    assert 0 < attributes["score"] <= 1
    assert attributes["error"] is None
    assert state_of(shown["question"], payload) == question


def test_it_is_an_ordinary_question_and_answered_once(home: HomeWatcher) -> None:
    shown = entities(home)
    command = command_of(shown["question"], QUESTION)
    home.say(shown["question"]["command_topic"], command)
    home.wait(home.topics.home_answer, after=len(home.came(home.topics.home_answer)))
    type_in(home, shown["question"], "And how is the board powered?")

    own = json.loads(command)["id"]
    answers = [json.loads(one.payload) for one in home.came(home.topics.answers)]
    assert [one["status"] for one in answers if one["id"] == own] == ["ok"]


def test_a_question_that_is_refused_says_why(home: HomeWatcher) -> None:
    shown = entities(home)

    payload = type_in(home, shown["question"], "   ")

    assert state_of(shown["answer"], payload) == "unknown"
    assert attributes_of(shown["answer"], payload)["error"] == "empty_question"


def test_the_same_question_about_another_text_has_another_answer(home: HomeWatcher) -> None:
    shown = entities(home)
    assert state_of(shown["answer"], type_in(home, shown["question"], QUESTION)) == ANSWER

    topic = home.topics.context("manual")
    home.say(topic, PASSAGE.replace(ANSWER, "May 2031").encode(), retain=True)
    payload = type_in(home, shown["question"], QUESTION)
    home.say(topic, PASSAGE.encode(), retain=True)

    assert state_of(shown["answer"], payload) == "May 2031"


def test_all_of_it_is_there_when_home_assistant_comes_later(
    shared_broker: Broker, home: HomeWatcher
) -> None:
    type_in(home, entities(home)["question"], QUESTION)
    with watching(shared_broker) as later:
        for topic in (later.config_topic, later.topics.home_state, later.topics.home_answer):
            assert later.wait(topic).retain


def test_figures_follow_what_happens(shared_broker: Broker, home: HomeWatcher) -> None:
    shown = entities(home)
    first = home.wait(home.topics.home_state)
    before = int(state_of(shown["answered"], first.payload))
    with RawClient(shared_broker) as client:
        assert_serves(client)

    while True:
        seen = len(home.came(home.topics.home_state))
        last = home.came(home.topics.home_state)[-1].payload
        if int(state_of(shown["answered"], last)) > before:
            break
        home.wait(home.topics.home_state, after=seen)
    assert state_of(shown["model"], last).startswith("minilm-l6-squad ")
    assert 50 < int(state_of(shown["memory_mib"], last)) < 2000


def test_it_announces_itself_again_when_home_assistant_starts(home: HomeWatcher) -> None:
    entities(home)
    seen = len(home.came(home.config_topic))
    home.say("homeassistant/status", b"offline")
    home.say("homeassistant/status", b"online")

    again = home.wait(home.config_topic, after=seen)
    check_discovery(again.topic, again.payload)
    home.wait(home.topics.home_state, after=1)


def test_switched_off_it_takes_back_all_that_it_left(broker: Broker, tmp_path: Path) -> None:
    with watching(broker) as home:
        with serving(broker, tmp_path, **SETTINGS):
            home.wait(home.topics.home_state)
            home.say(home.topics.context("manual"), PASSAGE.encode(), retain=True)
            type_in(home, entities(home)["question"], QUESTION)
        with serving(broker, tmp_path, **(SETTINGS | {"home_assistant": "false"})) as off:
            for topic in (home.config_topic, home.topics.home_state, home.topics.home_answer):
                home.wait(topic, after=1, payload=b"")
            off.wait_for("home_assistant_removed")
        before = len(off.events)
        assert not (tmp_path / f"state-{DEVICE}" / "home_assistant.json").exists()
        with serving(broker, tmp_path, **(SETTINGS | {"home_assistant": "false"})) as again:
            with RawClient(broker) as client:
                assert_serves(client)
            later_events = [one["event"] for one in again.events[before:]]
            assert not [event for event in later_events if event.startswith("home")]
    with watching(broker) as later, RawClient(broker):
        assert not later.came(later.config_topic)
        assert not later.came(later.topics.home_state)


def test_another_prefix_takes_the_place_of_the_one_before(broker: Broker, tmp_path: Path) -> None:
    with watching(broker) as home, watching(broker, prefix="ha/site") as moved:
        with serving(broker, tmp_path, **SETTINGS):
            entities(home)
        with serving(broker, tmp_path, **(SETTINGS | {"home_assistant_prefix": "ha/site"})):
            home.wait(home.config_topic, after=1, payload=b"")
            announced = moved.wait(moved.config_topic)
            check_discovery(announced.topic, announced.payload, prefix="ha/site")


def test_it_announces_itself_again_to_a_broker_that_has_forgotten(
    broker: Broker, tmp_path: Path
) -> None:
    with serving(broker, tmp_path, **SETTINGS) as agent:
        agent.wait_for("home_assistant_announced")
        seen = len(agent.events)
        broker.restart()
        agent.wait_for("home_assistant_announced", after=seen)
        with watching(broker) as home:
            assert "question" in entities(home)
            home.wait(home.topics.home_state)


def test_by_default_nothing_of_it_is_there(agent: AgentProcess, client: RawClient) -> None:
    assert_serves(client)
    assert not [one for one in agent.events if one["event"].startswith("home_assistant")]
    assert not (agent.folder / f"state-{DEVICE}" / "home_assistant.json").exists()


def test_a_broker_that_forbids_it_is_said_and_costs_no_question(
    start_broker: Any, tmp_path: Path
) -> None:
    rules = tmp_path / "rules.acl"
    rules.write_text(
        "topic readwrite edgeqa/#\ntopic deny edgeqa/v1/devices/pi-1/home-assistant/state\n"
    )
    broker = start_broker(extra=(f"acl_file {rules}",))
    with serving(broker, tmp_path, **SETTINGS) as agent, RawClient(broker) as client:
        refused = {one["topic"] for one in agent.wait_for("home_assistant_refused")}
        assert refused <= {f"homeassistant/device/edgeqa/{DEVICE}/config", client.topics.home_state}
        assert_serves(client)


def test_a_device_with_dots_is_told_in_one_line() -> None:
    command = [sys.executable, "-m", "edgeqa.cli", "agent", "run", "--home-assistant"]
    ended = subprocess.run(
        [*command, "--device", "pi.5", "--check-config"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 3
    assert len(ended.stderr.strip().splitlines()) == 1
    assert "Home Assistant takes no device called 'pi.5'" in ended.stderr


@pytest.mark.slow
@pytest.mark.skipif(
    "EDGEQA_HOME_ASSISTANT_PYTHON" not in os.environ,
    reason="name a Python that has homeassistant; docs/home-assistant.md says how to make one",
)
def test_home_assistant_itself_makes_a_device_of_it(broker: Broker, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    with watching(broker) as home, serving(broker, tmp_path, **SETTINGS) as agent:
        home.say(home.topics.context("manual"), PASSAGE.encode(), retain=True)
        agent.wait_for("context_stored")
        ended = subprocess.run(
            [
                os.environ["EDGEQA_HOME_ASSISTANT_PYTHON"],
                SCRIPT,
                str(broker.port),
                str(tmp_path / "home"),
                DEVICE,
            ],
            input=json.dumps(QUESTIONS),
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert found["warnings"] == []
    assert [one["state"] for one in found["answers"]] == [ANSWER] * len(QUESTIONS)
    assert [one["field"] for one in found["answers"]] == QUESTIONS
    assert found["entities"]["model"]["state"].startswith("minilm-l6-squad ")
