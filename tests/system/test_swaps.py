"""Changing the model of an agent that serves: a real broker, real models, real questions."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import Any, Self

import pytest
from support.agents import AgentProcess, RawClient, assert_serves, serving
from support.broker import Broker
from support.repository import Repository, make_repository, serve
from support.swaps import L3, L6, Watcher, variant

from edgeqa.manifest import Package
from edgeqa.reader.engine import Engine

pytestmark = pytest.mark.system

QUESTIONS = [
    ("When was the board announced?", "The Raspberry Pi 5 was announced in September 2023."),
    ("Who may open the cover?", "Only an electrician may open the cover of the pump."),
    ("What is the code of the alarm?", "The alarm is switched off with code 4711, by the door."),
    ("Where is the spare key?", "The spare key hangs in the blue cabinet behind the reception."),
    ("How often is the filter changed?", "The filter of unit 7 is changed every six weeks."),
]  # fmt: skip


def offline(package: Package) -> dict[str, str]:
    """What a package answers, read here."""
    engine = Engine.load(package, threads=1)
    return {question: engine.answer(question, text).spans[0].text for question, text in QUESTIONS}


class Asker:
    """Threads that ask without pause until told to stop; then every question was answered once."""

    def __init__(self, client: RawClient, clients: int) -> None:
        self._client = client
        self._stop = threading.Event()
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.sent: list[bytes] = []
        self._threads = [threading.Thread(target=self._ask, args=(n,)) for n in range(clients)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)
        assert not any(thread.is_alive() for thread in self._threads), "a question was lost"

    def _ask(self, number: int) -> None:
        turn = number
        while not self._stop.is_set():
            question, text = QUESTIONS[turn % len(QUESTIONS)]
            turn += 1
            sent = self._client.send({"question": question, "context": text})
            self.sent.append(sent)
            self.asked.append((question, self._client.take(sent)))


def test_swaps_under_load_lose_double_and_falsify_no_answer(broker: Broker, tmp_path: Path) -> None:
    truth = {package.digest: offline(package) for package in (L3, L6)}
    with (
        serving(broker, tmp_path) as agent,
        RawClient(broker) as client,
        Watcher(broker) as watcher,
    ):
        with Asker(client, clients=4) as asker:
            for package in (L3, L6, L3, L6):
                wish = watcher.wish(package)
                outcome = watcher.outcome(wish)
                assert outcome["state"] == "active", outcome
                assert outcome["active"]["digest"] == package.digest
                assert watcher.states(wish) == ["loading", "testing", "active"]
                enough = len(asker.asked) + 8
                while len(asker.asked) < enough:
                    time.sleep(0.01)
        time.sleep(0.3)
        assert len(asker.asked) == len(asker.sent)
        assert all(client.count(sent) == 1 for sent in asker.sent)
        seen = set()
        for question, answer in asker.asked:
            assert answer["status"] == "ok", answer
            seen.add(answer["model"]["digest"])
            assert answer["answers"][0]["text"] == truth[answer["model"]["digest"]][question]
        assert seen == set(truth)
        running = {event["pid"] for event in agent.events if event["event"] == "model_ready"}
        alive = [pid for pid in running if Path(f"/proc/{pid}").exists()]
        assert alive == [agent.model_pid]


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """A repository with one package that is not on the device."""
    folder = tmp_path_factory.mktemp("published")
    return make_repository(folder, variant(folder, "9.0.0"))


def trusting(repository: Repository, url: str, tmp_path: Path) -> dict[str, object]:
    """Settings of a device with a repository."""
    root = tmp_path / "root.json"
    root.write_bytes(repository.root)
    return {"repository": url, "repository_root": root}


def test_a_package_comes_over_http_and_is_still_there_after_a_restart(
    broker: Broker, published: Repository, tmp_path: Path
) -> None:
    with Watcher(broker) as watcher, RawClient(broker) as client:
        with serve(published.path) as url:
            settings = trusting(published, url, tmp_path)
            with serving(broker, tmp_path, **settings):
                wish = watcher.wish(name=L3.manifest.name, version="9.0.0", rollout="r-1")
                outcome = watcher.outcome(wish)
                assert outcome["state"] == "active", outcome
                assert watcher.states(wish) == [
                    "fetching", "verifying", "loading", "testing", "active",
                ]  # fmt: skip
                assert outcome["rollout"] == "r-1"
                assert outcome["checks"]["f1"] >= 90
                assert outcome["previous"]["name"] == L6.manifest.name
                answer = assert_serves(client)
                assert answer["model"]["version"] == "9.0.0"
        # The repository is gone: what the device has, it keeps.
        with serving(broker, tmp_path, **settings) as agent:
            assert assert_serves(client)["model"]["version"] == "9.0.0"
            report = watcher.until(
                lambda r: (
                    r["boot_id"] == agent.events[-1].get("boot_id", r["boot_id"])
                    and r["state"] == "active"
                )
            )
            assert report["wish"] == wish
            listed = watcher.command("packages")["packages"]
            assert [(one["role"], one["model"]["version"]) for one in listed][:1] == [
                ("active", "9.0.0")
            ]


def test_the_newest_wish_wins_over_one_under_way(
    broker: Broker, published: Repository, tmp_path: Path
) -> None:
    with serve(published.path) as url, Watcher(broker) as watcher, RawClient(broker) as client:
        settings = trusting(published, url, tmp_path) | {"fetch_rate_bytes_s": 200_000}
        with serving(broker, tmp_path, **settings):
            slow = watcher.wish(name=L3.manifest.name, version="9.0.0")
            watcher.until(lambda r: r.get("wish") == slow and (r.get("progress") or 0) > 0)
            quick = watcher.wish(L3)
            assert watcher.outcome(quick)["state"] == "active"
            assert "active" not in watcher.states(slow)
            assert assert_serves(client)["model"]["digest"] == L3.digest


def test_a_wish_that_is_taken_back_ends_its_download(
    broker: Broker, published: Repository, tmp_path: Path
) -> None:
    with serve(published.path) as url, Watcher(broker) as watcher:
        settings = trusting(published, url, tmp_path) | {"fetch_rate_bytes_s": 200_000}
        with serving(broker, tmp_path, **settings):
            slow = watcher.wish(name=L3.manifest.name, version="9.0.0")
            watcher.until(lambda r: r.get("wish") == slow and (r.get("progress") or 0) > 0)
            watcher.publish(b"")
            report = watcher.until(lambda r: r["state"] == "active")
            assert report["active"]["digest"] == L6.digest
            assert watcher.command("prune")["freed_bytes"] > 0  # what was there of it


def test_a_rollback_goes_back_once_and_the_undone_wish_is_not_followed_again(
    broker: Broker, tmp_path: Path
) -> None:
    with Watcher(broker) as watcher, RawClient(broker) as client:
        with serving(broker, tmp_path):
            wish = watcher.wish(L3)
            watcher.outcome(wish)
            reply = watcher.command("rollback")
            assert (reply["status"], reply["active"]["digest"]) == ("ok", L6.digest)
            assert watcher.outcome(wish)["state"] == "rolled_back"
            assert assert_serves(client)["model"]["digest"] == L6.digest
            again = watcher.command("rollback")
            assert again["error"]["code"] == "nothing_to_roll_back"
        with serving(broker, tmp_path):  # the retained wish comes again, and was rolled back
            report = watcher.outcome(wish)
            assert (report["state"], report["reason"]["code"]) == ("rolled_back", "rolled_back")
            assert assert_serves(client)["model"]["digest"] == L6.digest


def test_commands_from_the_past_are_refused_and_said_so(broker: Broker, tmp_path: Path) -> None:
    with serving(broker, tmp_path), Watcher(broker) as watcher, RawClient(broker) as client:
        watcher.outcome(watcher.wish(L3))
        assert watcher.command("ping", number=100)["status"] == "ok"
        for number in (100, 99):
            reply = watcher.command("rollback", number=number)
            assert reply["error"]["code"] == "command_replayed"
        expired = watcher.command("rollback", expires_ms=int(time.time() * 1000) - 1)
        assert expired["error"]["code"] == "command_expired"
        assert watcher.command("explode")["error"]["code"] == "unknown_command"
        assert watcher.command("ping", number="many")["error"]["code"] == "invalid_payload"
        assert assert_serves(client)["model"]["digest"] == L3.digest
    with serving(broker, tmp_path), Watcher(broker) as watcher:
        assert watcher.command("rollback", number=100)["error"]["code"] == "command_replayed"


def test_a_model_that_keeps_dying_is_given_up_for_the_previous_one_also_after_a_reboot(
    broker: Broker, tmp_path: Path
) -> None:
    with Watcher(broker) as watcher, RawClient(broker) as client:
        with serving(broker, tmp_path) as agent:
            wish = watcher.wish(L3)
            watcher.outcome(wish)
            served = len(agent.wait_for("model_ready"))
            for deaths in range(5):
                os.kill(agent.model_pid, signal.SIGSEGV)
                _until_ready(agent, served + deaths + 1)
            outcome = watcher.until(lambda r: r["state"] == "rolled_back")
            assert (outcome["wish"], outcome["reason"]["code"]) == (wish, "model_keeps_dying")
            assert assert_serves(client)["model"]["digest"] == L6.digest
        with serving(broker, tmp_path):
            assert assert_serves(client)["model"]["digest"] == L6.digest
            assert watcher.outcome(wish)["state"] == "rolled_back"


def test_a_model_whose_load_takes_the_device_down_is_not_loaded_for_ever(
    broker: Broker, tmp_path: Path
) -> None:
    with Watcher(broker) as watcher, RawClient(broker) as client:
        agent = AgentProcess(broker, tmp_path, {}).start()
        wish = watcher.wish(L3)
        for attempt in (1, 2, 3):
            _until_loading(tmp_path / "state-pi-1" / "state.json", attempt)
            agent.signal(signal.SIGKILL)
            agent.wait()
            agent.start()
        outcome = watcher.outcome(wish)
        assert (outcome["state"], outcome["reason"]["code"]) == ("failed", "model_keeps_dying")
        assert assert_serves(client)["model"]["digest"] == L6.digest
        again = watcher.wish(L3)  # a person may insist
        assert watcher.outcome(again)["state"] == "active"
        assert agent.stop() == 0


@pytest.mark.slow
def test_power_cuts_during_swaps_leave_an_agent_that_starts_and_follows_the_wish(
    broker: Broker, tmp_path: Path
) -> None:
    with Watcher(broker) as watcher, RawClient(broker) as client:
        target, other = L3, L6
        for after_s in (0.0, 0.4, 0.9, 1.6):
            agent = AgentProcess(broker, tmp_path, {}).start()
            wish = watcher.wish(target)
            time.sleep(after_s)
            agent.signal(signal.SIGKILL)
            agent.wait()
            with serving(broker, tmp_path):
                outcome = watcher.outcome(wish)
                assert outcome["state"] == "active", outcome
                assert assert_serves(client)["model"]["digest"] == target.digest
            target, other = other, target


@pytest.mark.parametrize("fits", [True, False])
def test_the_shadow_decides_whether_the_swap_goes_on(
    broker: Broker, tmp_path: Path, *, fits: bool
) -> None:
    shadow = {"fraction": 1.0, "questions": 5, "min_agreement": 0.9}
    if not fits:
        shadow["max_latency_ratio"] = 0.001
    with (
        serving(broker, tmp_path),
        Watcher(broker) as watcher,
        RawClient(broker) as client,
        Asker(client, clients=1) as asker,
    ):
        wish = watcher.wish(L3, shadow=shadow)
        outcome = watcher.outcome(wish)
        told = [report["shadow"] for report in watcher.reports if report.get("shadow")][-1]
        assert (told["questions"], told["wanted"]) == (5, 5)
        assert told["f1_agreement"] >= 0.9
        assert told["latency_ratio"] > 0
        if fits:
            assert outcome["state"] == "active", outcome
        else:
            assert outcome["reason"]["code"] == "shadow_slow"
    for _, answer in asker.asked:  # nobody saw the candidate's answers before it was active
        assert answer["model"]["digest"] in ({L6.digest, L3.digest} if fits else {L6.digest})


def test_presence_names_the_model_that_answers_now(broker: Broker, tmp_path: Path) -> None:
    with serving(broker, tmp_path), Watcher(broker) as watcher:
        watcher.outcome(watcher.wish(L3))
        deadline = time.monotonic() + 10
        while _status(broker)["model"]["digest"] != L3.digest:
            assert time.monotonic() < deadline


def test_the_report_is_there_again_when_the_broker_has_lost_it(
    broker: Broker, tmp_path: Path
) -> None:
    with serving(broker, tmp_path) as agent:
        with Watcher(broker) as watcher:
            watcher.outcome(watcher.wish(L3))
        before = len(agent.events)
        broker.restart(down_s=0.2, kill=True)
        agent.wait_for("mqtt_connected", after=before)
        with Watcher(broker) as watcher:
            assert watcher.until(lambda r: r["state"] == "active")["active"]["digest"] == L3.digest


def _status(broker: Broker) -> dict[str, Any]:
    output = subprocess.run(
        ["mosquitto_sub", "-p", str(broker.port), "-C", "1", "-W", "10", "-t",
         "edgeqa/v1/devices/pi-1/status"],
        capture_output=True, check=True,
    ).stdout  # fmt: skip
    status: dict[str, Any] = json.loads(output)
    return status


def _until_loading(state: Path, attempt: int) -> None:
    deadline = time.monotonic() + 60
    while json.loads(state.read_bytes())["state"].get("begun", {}).get(L3.digest) != attempt:
        assert time.monotonic() < deadline
        time.sleep(0.005)


def _until_ready(agent: AgentProcess, count: int) -> None:
    deadline = time.monotonic() + 60
    while len(agent.wait_for("model_ready")) < count:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_an_agent_started_twice_on_one_state_folder_is_refused(
    broker: Broker, tmp_path: Path
) -> None:
    with serving(broker, tmp_path):
        second = AgentProcess(broker, tmp_path / "b", {"state_dir": tmp_path / "state-pi-1"})
        second.spawn()
        assert second.wait() == 3
        assert "state_locked" in second.log_file.read_text()
