"""Starting, stopping, and everything that may die under an agent."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.agents import ANSWER, AgentProcess, RawClient, a_question, assert_serves, serving
from support.broker import Broker

from edgeqa_agent.settings import default_package

pytestmark = pytest.mark.system


def retained_status(broker: Broker, device: str = "pi-1") -> dict[str, object]:
    output = subprocess.run(
        ["mosquitto_sub", "-p", str(broker.port), "-C", "1", "-W", "10", "-t",
         f"edgeqa/v1/devices/{device}/status"],
        capture_output=True, check=True,
    ).stdout  # fmt: skip
    status: dict[str, object] = json.loads(output)
    return status


def wait_until(condition: Callable[[], bool], *, timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.05)


def test_birth_says_what_the_device_is_and_a_stop_says_offline(
    broker: Broker, tmp_path: Path
) -> None:
    with serving(broker, tmp_path, groups="hall,yard"):
        birth = retained_status(broker)
        assert birth["status"] == "online"
        assert birth["groups"] == ["hall", "yard"]
        assert birth["hardware"]["machine"] == os.uname().machine  # type: ignore[index]  # JSON
        assert birth["model"]["name"] == "minilm-l6-squad"  # type: ignore[index]  # JSON

    offline = retained_status(broker)
    assert (offline["status"], offline["reason"]) == ("offline", "stopped")
    assert offline["boot_id"] == birth["boot_id"]


def test_will_says_offline_when_the_agent_is_killed(broker: Broker, tmp_path: Path) -> None:
    agent = AgentProcess(broker, tmp_path).start()
    model_pid = agent.model_pid

    agent.signal(signal.SIGKILL)
    agent.wait()

    wait_until(lambda: retained_status(broker)["status"] == "offline")
    assert retained_status(broker)["reason"] == "lost"
    wait_until(lambda: not Path(f"/proc/{model_pid}").exists())  # no orphan


def test_stop_answers_what_was_taken_and_exits_with_0(broker: Broker, tmp_path: Path) -> None:
    agent = AgentProcess(broker, tmp_path).start()
    with RawClient(broker) as client:
        sent = [client.send(a_question(id=str(n))) for n in range(30)]
        client.take(sent[0])
        agent.signal(signal.SIGTERM)

        assert agent.wait() == 0
        answers = [client.take(correlation) for correlation in sent[1:]]
        assert all(answer["answers"][0]["text"] == ANSWER for answer in answers)


def test_questions_of_a_killed_agent_are_answered_by_its_next_start(
    broker: Broker, tmp_path: Path
) -> None:
    agent = AgentProcess(broker, tmp_path).start()
    filler = "The boats lay still in the grey harbour all day long. " * 700
    with RawClient(broker) as client:
        slow = client.send({"question": "Where?", "context": filler})
        sent = [client.send(a_question(id=str(n))) for n in range(20)]
        time.sleep(0.2)
        model_pid = agent.model_pid
        agent.signal(signal.SIGKILL)
        agent.wait()
        wait_until(lambda: not Path(f"/proc/{model_pid}").exists())  # busy, and yet no orphan
        assert client.count(slow) == 0
        answered_before = {one for one in sent if client.count(one)}

        agent.start()
        answers = {one: client.take(one) for one in sent}
        assert client.take(slow)["status"] == "ok"
        assert all(answer["answers"][0]["text"] == ANSWER for answer in answers.values())
        time.sleep(0.5)
        # What was answered behind the slow question could not be acknowledged before it (MQTT 5,
        # section 4.6), so the broker gave it to the next start as well: QoS 1, the same answer.
        again = {one for one in sent if client.count(one) != 1}
        assert again <= answered_before
        spans = [answer["answers"] for key, answer in client.everything if key in sent]
        assert all(span == spans[0] for span in spans)
        assert agent.stop() == 0


def test_broker_gone_and_back_loses_no_question_and_answers_each_once(
    start_broker: Callable[..., Broker], tmp_path: Path
) -> None:
    broker = start_broker(persistence=True)
    with serving(broker, tmp_path) as agent, RawClient(broker) as client:
        sent = [client.send(a_question(id=f"before {n}")) for n in range(40)]
        client.take(sent[0])
        broker.restart(down_s=2.0)
        agent.wait_for("mqtt_disconnected")
        sent += [client.send(a_question(id=f"after {n}")) for n in range(5)]

        answers = [sent[0], *[client.take(correlation) for correlation in sent[1:]]]
        assert len(answers) == 45
        inferred = [event for event in agent.events if event["event"] == "model_ready"]
        assert len(inferred) == 1
        assert_serves(client)
        assert retained_status(broker)["status"] == "online"


def test_broker_killed_without_memory_is_found_again(broker: Broker, tmp_path: Path) -> None:
    with serving(broker, tmp_path) as agent, RawClient(broker) as client:
        for _ in range(2):
            before = len(agent.events)
            broker.restart(down_s=0.5, kill=True)
            agent.wait_for("mqtt_connected", after=before)
        wait_until(lambda: client._link.connected)
        assert_serves(client)


def test_model_process_that_dies_is_replaced_and_its_questions_are_asked_again(
    broker: Broker, tmp_path: Path
) -> None:
    with serving(broker, tmp_path) as agent, RawClient(broker) as client:
        first_pid = agent.model_pid
        sent = [client.send(a_question(id=str(n))) for n in range(40)]
        client.take(sent[0])
        os.kill(first_pid, signal.SIGSEGV)

        answers = [client.take(correlation) for correlation in sent[1:]]
        assert all(answer["answers"][0]["text"] == ANSWER for answer in answers)
        assert agent.model_pid != first_pid
        time.sleep(0.3)
        assert all(client.count(correlation) == 1 for correlation in sent)


def test_model_process_that_hangs_is_replaced(broker: Broker, tmp_path: Path) -> None:
    with (
        serving(broker, tmp_path, inference_timeout_s=2) as agent,
        RawClient(broker) as client,
    ):
        os.kill(agent.model_pid, signal.SIGSTOP)
        correlation = client.send(a_question())

        assert client.take(correlation)["answers"][0]["text"] == ANSWER
        assert agent.wait_for("model_process_hangs")


def test_question_over_which_the_model_dies_twice_is_refused_and_the_rest_served(
    broker: Broker, tmp_path: Path
) -> None:
    filler = "The boats lay still in the grey harbour all day long. " * 3500
    with serving(broker, tmp_path, threads=1) as agent, RawClient(broker) as client:
        poison = client.send({"question": "Where?", "context": filler})
        good = client.send(a_question())
        for deaths in (1, 2):
            pid = agent.model_pid
            time.sleep(0.5)
            os.kill(pid, signal.SIGKILL)
            wait_until(
                lambda deaths=deaths: (
                    sum(  # type: ignore[misc]  # a default, not an argument
                        event["event"] == "model_ready" for event in agent.events
                    )
                    == deaths + 1
                )
            )

        assert client.take(poison)["error"]["code"] == "model_crashed"
        assert client.take(good)["answers"][0]["text"] == ANSWER


def test_model_that_keeps_dying_ends_the_agent_so_that_a_supervisor_sees_it(
    broker: Broker, tmp_path: Path
) -> None:
    agent = AgentProcess(broker, tmp_path).start()
    for deaths in range(1, 6):
        os.kill(agent.model_pid, signal.SIGKILL)
        wait_until(
            lambda deaths=deaths: (  # type: ignore[misc]  # a default, not an argument
                sum(event["event"] == "model_ready" for event in agent.events) > deaths
                or "model_given_up" in agent.log_file.read_text()
            )
        )
    assert agent.wait() == 1
    assert "model_given_up" in agent.log_file.read_text()
    assert retained_status(broker)["reason"] == "failed"


def test_serving_processes_import_no_training_library(broker: Broker, tmp_path: Path) -> None:
    with serving(broker, tmp_path) as agent, RawClient(broker) as client:
        assert_serves(client)
        for pid in (agent.pid, agent.model_pid):
            maps = Path(f"/proc/{pid}/maps").read_text()
            assert "/torch/" not in maps
            assert "/pyarrow/" not in maps
        main_maps = Path(f"/proc/{agent.pid}/maps").read_text()
        assert "onnxruntime" not in main_maps
        assert "tokenizers" not in main_maps
        assert "numpy" not in main_maps


def test_health_tells_a_serving_agent_from_a_stopped_one(broker: Broker, tmp_path: Path) -> None:
    file = tmp_path / "health.json"
    command = [sys.executable, "-m", "edgeqa.cli", "agent", "health", str(file)]
    assert subprocess.run(command, check=False, capture_output=True).returncode == 1
    with serving(broker, tmp_path, health_file=file):
        wait_until(file.exists)
        healthy = subprocess.run([*command, "--require-broker"], check=False, capture_output=True)
        assert (healthy.returncode, healthy.stderr) == (0, b"")


def test_systemd_is_told_ready_watchdog_and_stopping(broker: Broker, tmp_path: Path) -> None:
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(path))
        listener.settimeout(20)
        os.environ["NOTIFY_SOCKET"] = str(path)
        try:
            with serving(broker, tmp_path):
                assert listener.recv(100) == b"READY=1"
                assert listener.recv(100) == b"WATCHDOG=1"
        finally:
            del os.environ["NOTIFY_SOCKET"]
        assert listener.recv(100) == b"STOPPING=1"


def run_agent(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    with tempfile.TemporaryDirectory() as state:
        own = {"EDGEQA_AGENT_STATE_DIR": state}
        return subprocess.run(
            [sys.executable, "-m", "edgeqa.cli", "agent", "run", *arguments],
            env={**os.environ, **own, **environment}, capture_output=True, text=True, timeout=60,
            check=False,
        )  # fmt: skip


def assert_one_line(result: subprocess.CompletedProcess[str], *words: str) -> None:
    assert "Traceback" not in result.stderr
    lines = [line for line in result.stderr.splitlines() if line.startswith("edgeqa:")]
    assert len(lines) == 1, result.stderr
    assert all(word in lines[0] for word in words), lines[0]


@pytest.mark.parametrize(
    ("name", "value", "word"),
    [
        ("QUEUE_SIZE", "0", "queue_size"),
        ("QUEUE_SIZE", "many", "queue_size"),
        ("DEVICE", "a/b", "device"),
        ("DEVICE", "#", "device"),
        ("GROUPS", "ok,not ok", "groups"),
        ("BROKER", "http://x", "broker"),
        ("BROKER", "mqtt://user:secret@x", "broker"),
        ("BROKER_PASSWORD_FILE", "/nowhere", "broker_password_file"),
        ("BROKER_CA_FILE", "/nowhere", "mqtts"),
        ("LOG_LEVEL", "loud", "log_level"),
        ("QEUE_SIZE", "7", "QUEUE_SIZE"),
    ],
)
def test_bad_setting_ends_with_3_and_the_name_of_the_field(
    name: str, value: str, word: str
) -> None:
    result = run_agent(**{f"EDGEQA_AGENT_{name}": value})

    assert result.returncode == 3, result.stderr
    assert_one_line(result, word)
    assert "secret" not in result.stderr


def test_no_broker_at_start_ends_with_4(tmp_path: Path) -> None:
    result = run_agent("--broker", "mqtt://127.0.0.1:1", "--broker-connect-timeout-s", "1")

    assert result.returncode == 4
    assert_one_line(result, "127.0.0.1:1")


def test_refused_credentials_end_with_4_and_the_reason(
    start_broker: Callable[..., Broker], tmp_path: Path
) -> None:
    guarded = start_broker(users={"pi": "right"})
    password = tmp_path / "password"
    password.write_text("wrong\n")
    result = run_agent(
        *("--broker", guarded.url, "--broker-username", "pi"),
        *("--broker-password-file", str(password)),
    )

    assert result.returncode == 4
    assert_one_line(result, "Not authorized")


def _truncate(package: Path) -> None:
    model = package / "model.onnx"
    model.write_bytes(model.read_bytes()[:-1000])


def _flip_a_bit(package: Path) -> None:
    model = package / "model.onnx"
    raw = bytearray(model.read_bytes())
    raw[len(raw) // 2] ^= 1
    model.write_bytes(raw)


def _no_manifest(package: Path) -> None:
    (package / "manifest.json").unlink()


def _manifest_not_json(package: Path) -> None:
    (package / "manifest.json").write_text("{")


def _newer_schema(package: Path) -> None:
    manifest = json.loads((package / "manifest.json").read_text())
    (package / "manifest.json").write_text(json.dumps({**manifest, "schema": 2}))


def _link_out(package: Path) -> None:
    target = package.parent / "elsewhere"
    (package / "tokenizer.json").rename(target)
    (package / "tokenizer.json").symlink_to(target)


def _path_out(package: Path) -> None:
    manifest = json.loads((package / "manifest.json").read_text())
    manifest["files"]["../evil"] = manifest["files"]["model.onnx"]
    (package / "manifest.json").write_text(json.dumps(manifest))


def _sign_garbage(name: str) -> Callable[[Path], None]:
    """A file that is what the manifest says, and yet nothing a model process can load."""

    def damage(package: Path) -> None:
        import hashlib

        garbage = b"not what it should be" * 100
        (package / name).write_bytes(garbage)
        manifest = json.loads((package / "manifest.json").read_text())
        manifest["cards"] = []  # they name the model.onnx that was measured
        manifest["files"][name] = {
            "sha256": hashlib.sha256(garbage).hexdigest(), "bytes": len(garbage),
        }  # fmt: skip
        (package / "manifest.json").write_text(json.dumps(manifest))

    return damage


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        pytest.param(shutil.rmtree, "package_malformed", id="no such folder"),
        pytest.param(_truncate, "digest_mismatch", id="truncated"),
        pytest.param(_flip_a_bit, "digest_mismatch", id="bit flipped"),
        pytest.param(_no_manifest, "package_malformed", id="no manifest"),
        pytest.param(_manifest_not_json, "package_malformed", id="manifest not JSON"),
        pytest.param(_newer_schema, "package_malformed", id="newer schema"),
        pytest.param(_link_out, "digest_mismatch", id="a link"),
        pytest.param(_path_out, "package_malformed", id="a path out"),
        pytest.param(_sign_garbage("model.onnx"), "model_load_failed", id="garbage model"),
        pytest.param(_sign_garbage("tokenizer.json"), "model_load_failed", id="garbage tokenizer"),
        pytest.param(_sign_garbage("checks.json"), "model_load_failed", id="garbage checks"),
    ],
)
def test_damaged_package_is_refused_at_start_with_5_and_the_reason(
    tmp_path: Path, damage: Callable[[Path], None], code: str
) -> None:
    package = tmp_path / "package"
    shutil.copytree(default_package(), package)
    damage(package)

    result = run_agent("--package", str(package), "--broker", "mqtt://127.0.0.1:1")

    assert result.returncode == 5, result.stderr
    assert_one_line(result, code)
