"""The whole system under the access rules: what they let through is enough, end to end.

Nothing here is simulated: agents, cloud and commands are processes of their own, each with the
bundle that it was enrolled with, one agent and one client with passwords.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from paho.mqtt.enums import MQTTProtocolVersion
from support.agents import ANSWER, PASSAGE, QUESTION
from support.cloud import count, wait_until
from support.guarded_system import NEW, GuardedSystem, guarded_system
from support.probe import Probe, eventually
from support.secret_search import (
    contents,
    leaks,
    names_of_connections,
    processes,
    secrets_of,
)
from support.swaps import L3

from edgeqa.client import Client
from edgeqa.errors import AnswerError, BrokerError
from edgeqa.model_messages import ModelState
from edgeqa.operator import Operator
from edgeqa.processes import log_line
from edgeqa.topics import DeviceTopics
from edgeqa_cloud.tables import devices, records

pytestmark = pytest.mark.system

PI = DeviceTopics("pi-1")
_IN_A_URL = "pw-in-a-url-1"


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardedSystem]:
    with guarded_system(tmp_path_factory.mktemp("system")) as running:
        yield running


def _active(operator: Operator) -> str | None:
    reported = operator.reported("pi-1")
    return reported.version if reported and reported.state is ModelState.ACTIVE else None


@pytest.mark.parametrize("who", ["alice", "bob"])
def test_a_client_asks(system: GuardedSystem, who: str) -> None:
    with Client(broker=system.broker(who)) as client:
        for device in ("pi-1", "pi-2"):
            assert client.status(device).status == "online"
            asked = client.ask(QUESTION, device=device, context=PASSAGE)
            assert asked.answers is not None
            assert asked.answers[0].text == ANSWER
            client.store_context(device, "pi5", PASSAGE)
            asked = client.ask(QUESTION, device=device, context_id="pi5")
            assert asked.answers is not None
            assert asked.answers[0].text == ANSWER
        asked = client.ask(QUESTION, group="hall", context=PASSAGE)
        assert asked.device in {"pi-1", "pi-2"}


def test_a_client_asks_by_the_command(system: GuardedSystem) -> None:
    done = system.edgeqa(
        "ask", QUESTION, "--device", "pi-1", "--context-id", "pi5", "--json", who="bob"
    )
    assert done.returncode == 0, done.stderr
    assert ANSWER in done.stdout


def test_a_client_of_mqtt_3_asks_and_reads_the_answer(system: GuardedSystem) -> None:
    question = {"id": "old-1", "question": QUESTION, "context": PASSAGE}
    with Probe(system.broker("alice"), version=MQTTProtocolVersion.MQTTv311) as client:
        client.subscribe(PI.answers)
        client.publish(PI.ask, json.dumps(question).encode())
        eventually(lambda: client.heard, "the answer")
    [(_, payload)] = client.heard
    assert (json.loads(payload)["id"], json.loads(payload)["status"]) == ("old-1", "ok")


def test_a_client_cannot_wish_or_command(system: GuardedSystem) -> None:
    with Operator(broker=system.broker("alice")) as operator:
        with pytest.raises(BrokerError, match="Not authorized"):
            operator.wish("pi-1", L3.manifest.name, NEW)
        with pytest.raises((BrokerError, AnswerError), match="Not authorized"):
            operator.command("pi-1", "ping", timeout_s=10)
        assert operator.desired("pi-1", timeout_s=0.5) is None


def test_the_cloud_collects_presence_and_records(system: GuardedSystem) -> None:
    url = system.site.database
    wait_until(lambda: count(url, devices) == 2, "both devices")
    wait_until(lambda: count(url, records) >= 2, "their records")


def test_an_operator_commands(system: GuardedSystem) -> None:
    with Operator(broker=system.broker("cloud")) as operator:
        for device in ("pi-1", "pi-2"):
            assert operator.command(device, "ping").status == "ok"


def test_home_assistant_finds_the_device(system: GuardedSystem) -> None:
    with Probe(system.broker("alice")) as home:
        home.subscribe("homeassistant/#", PI.home_state)
        wanted = {"homeassistant/device/edgeqa/pi-1/config", PI.home_state}
        eventually(lambda: wanted <= {topic for topic, _ in home.heard}, "what it shows")


def test_a_rollout_reaches_the_device(system: GuardedSystem) -> None:
    package = f"{L3.manifest.name}@{NEW}"
    done = system.roll_out(package)
    assert done.returncode == 0, done.stdout + done.stderr
    with Operator(broker=system.broker("cloud")) as operator:
        wait_until(lambda: _active(operator) == NEW, "the new model")
    # The cloud heard of it: by the device's report.
    rollout = done.stdout.split()[0]
    wait_until(
        lambda: "1 changed" in system.edgeqa("rollout", "show", rollout, who="cloud").stdout,
        "the rollout's member changed",
    )
    with Client(broker=system.broker("bob")) as client:
        answered = client.ask(QUESTION, device="pi-1", context=PASSAGE)
        assert answered.model is not None
        assert answered.model.version == NEW


def test_a_device_renews_its_certificate(system: GuardedSystem) -> None:
    wait_until(
        lambda: bool(log_line(system.folder / "pi-1.log", "certificate_renewed")),
        "a certificate",
        timeout_s=120,
    )
    assert list((system.folder / "state-pi-1" / "identity").glob("*.pem"))


def test_the_broker_refused_nothing_that_the_system_said(system: GuardedSystem) -> None:
    """Of its own processes: what the tests above were refused came from `alice` alone."""
    log = (system.site.broker.folder / "mosquitto.log").read_text(errors="replace")
    denied = [line for line in log.splitlines() if "Denied PUBLISH" in line]
    for line in denied:
        assert "model/desired" in line or "commands/ping" in line, line
    for name in ("pi-1", "pi-2", "cloud"):
        text = (system.folder / f"{name}.log").read_text()
        assert "Not authorized" not in text
        assert "mqtt_subscription_refused" not in text


def test_no_secret_is_logged_or_in_a_process_list(system: GuardedSystem, tmp_path: Path) -> None:
    """After all of the above, at debug level; and after what goes wrong."""
    wrong = tmp_path / "wrong-password"
    wrong.write_text("a wrong one that stands in no log")
    said = [
        system.edgeqa("ask", "?", "--text", "t", "--device", "pi-1",
                      "--broker-password-file", str(wrong), who="bob"),
        system.edgeqa("agent", "run", "--config", str(system.members["pi-2"].file),
                      "--state-dir", str(tmp_path / "state"), "--log-level", "debug",
                      "--broker-password-file", str(wrong), "--broker-connect-timeout-s", "3",
                      who="bob"),
        system.edgeqa("agent", "run", "--config", str(system.members["pi-2"].file),
                      "--check-config", who="bob"),
        system.edgeqa("cloud", "fleet", "--database",
                      f"postgresql://edgeqa:{_IN_A_URL}@127.0.0.1:1/edgeqa", who="cloud"),
        system.edgeqa("cloud", "run", "--check-config", "--database",
                      f"postgresql://edgeqa:{_IN_A_URL}@127.0.0.1:1/edgeqa", who="cloud"),
    ]  # fmt: skip
    assert all(done.stdout or done.stderr for done in said)
    assert said[0].returncode != 0
    secrets = secrets_of(system) | {"wrong": wrong.read_bytes(), "URL": _IN_A_URL.encode()}
    assert len(secrets) > 30
    logs = contents(system.logs)
    places = logs | processes(system.folder) | {
        f"output {number}": text.encode() for number, text in enumerate(system.said)
    }  # fmt: skip
    # It would be found: every place says something, and all levels were logged.
    assert all(logs.values())
    assert all(b'"debug"' in text for name, text in logs.items() if "mosquitto" not in name)
    assert len(leaks({"no secret": bytes(system.folder)}, places)) > len(logs)
    assert leaks(secrets, places) == []
    ours = {name: text for name, text in places.items() if "mosquitto.log" not in name}
    assert leaks(names_of_connections(system), ours) == []
