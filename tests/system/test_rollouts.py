"""A rollout from the shell to the devices and back: a real broker, cloud and signed repository.

A simulated fleet follows; what it measures of each model is what nature says of it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from support.broker import Broker
from support.cloud import wait_until
from support.repository import make_package, make_repository

from edgeqa.errors import EdgeqaError
from edgeqa.processes import edgeqa_process, free_port
from edgeqa_cloud.api_settings import ApiSettings
from edgeqa_cloud.rollout.spec import RolloutSpec
from edgeqa_cloud.rollout_client import ApiClient

DEVICES = 8
GOOD, BAD = "better@1.0.0", "shuffled@1.0.0"
SPEC: dict[str, Any] = {
    "target": {"all": True},
    "stages": [{"count": 2, "soak_s": 0.5}, {"percent": 100, "soak_s": 0.5}],
    # A simulated device asks itself 200 questions when its model changed.
    "gates": {
        "exact_match": {"max_drop": 10, "min_questions": 100},
        "f1": {"max_drop": 10, "min_questions": 100},
    },
}


@dataclass
class Site:
    """A broker, a cloud and a fleet."""

    folder: Path
    api: str

    def edgeqa(self, *arguments: str, timeout_s: float = 150) -> subprocess.CompletedProcess[str]:
        """`edgeqa rollout …` as a person runs it."""
        clean = {name: value for name, value in os.environ.items() if "EDGEQA" not in name}
        return subprocess.run(
            [sys.executable, "-m", "edgeqa.cli", "rollout", *arguments],
            env={**clean, "EDGEQA_API_URL": self.api,
                 "EDGEQA_API_TOKEN_FILE": str(self.folder / "operator-token")},
            capture_output=True, text=True, check=False, timeout=timeout_s,
        )  # fmt: skip

    def client(self) -> ApiClient:
        """The same without a process."""
        return ApiClient(
            settings=ApiSettings(url=self.api, token_file=self.folder / "operator-token")
        )

    def view(self, rollout: str) -> dict[str, Any]:
        with self.client() as client:
            return client.show(rollout).model_dump(mode="json")

    def evaluated(self) -> int:
        """Devices that told how good their model is."""
        query = {"query": 'f1!="" presence=online'}
        name, _, version = GOOD.partition("@")
        wanted = {"package": {"name": name, "version": version}, "target": query}
        try:
            with self.client() as client:
                return client.plan(RolloutSpec.model_validate(wanted)).devices
        except EdgeqaError:
            return 0


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    packages = [make_package(folder, *one.split("@")) for one in (GOOD, BAD)]
    repository = make_repository(folder, *packages)
    root = folder / "root.json"
    root.write_bytes(repository.root)
    port = free_port()
    broker = Broker(folder=folder / "broker").start()
    cloud = {
        "EDGEQA_CLOUD_BROKER": broker.url,
        "EDGEQA_CLOUD_DATABASE": f"sqlite:///{folder / 'cloud.db'}",
        "EDGEQA_CLOUD_LISTEN": f"127.0.0.1:{port}",
        "EDGEQA_CLOUD_METRICS_LISTEN": "off",
        "EDGEQA_CLOUD_TOKEN_FILE": str(folder / "operator-token"),
        "EDGEQA_CLOUD_REPOSITORY": str(repository.path),
        "EDGEQA_CLOUD_REPOSITORY_ROOT": str(root),
        "EDGEQA_CLOUD_REPOSITORY_FOLDER": str(folder / "repository"),
        "EDGEQA_CLOUD_ROLLOUTS_EVERY_S": "0.1",
        "EDGEQA_CLOUD_BATCH_WAIT_MS": "10",
        "EDGEQA_CLOUD_LOG_FORMAT": "json",
        "EDGEQA_CLOUD_NAME": "cloud",
    }
    fleet = {
        "EDGEQA_SIMULATE_BROKER": broker.url,
        "EDGEQA_SIMULATE_DEVICES": str(DEVICES),
        "EDGEQA_SIMULATE_PREFIX": "sim-",
        "EDGEQA_SIMULATE_MODELS": ",".join(
            ["minilm-l6-squad@0.1.1:em=70:f1=80:p50=20", f"{GOOD}:em=71:f1=81:p50=15",
             f"{BAD}:em=2:f1=9:p50=15"]
        ),
        "EDGEQA_SIMULATE_TELEMETRY_INTERVAL_S": "1",
        "EDGEQA_SIMULATE_HEARTBEAT_INTERVAL_S": "2",
        "EDGEQA_SIMULATE_EVALUATION_INTERVAL_S": "2",
        "EDGEQA_SIMULATE_EVALUATION_QUESTIONS": "200",
        "EDGEQA_SIMULATE_QUESTIONS_PER_MINUTE": "60",
        "EDGEQA_SIMULATE_FETCH_S": "0.1",
        "EDGEQA_SIMULATE_LOAD_S": "0.1",
        "EDGEQA_SIMULATE_CONNECT_RATE": "1000",
        "EDGEQA_SIMULATE_REPORT_EVERY_S": "1",
    }  # fmt: skip
    with ExitStack() as stack:
        stack.callback(broker.stop)
        stack.enter_context(
            edgeqa_process(["cloud", "run"], folder / "cloud.log", cloud, ready="console_served")
        )
        stack.enter_context(
            edgeqa_process(["cloud", "simulate"], folder / "fleet.log", fleet, ready="simulation")
        )
        made = Site(folder, f"http://127.0.0.1:{port}")
        wait_until(lambda: made.evaluated() == DEVICES, "all devices evaluated")
        yield made


def spec(site: Site, package: str) -> list[str]:
    file = site.folder / "spec.json"
    file.write_text(json.dumps(SPEC))
    return [package, "--spec", str(file), "--yes"]


@pytest.mark.system
def test_a_good_model_is_rolled_out_and_a_bad_one_is_undone(site: Site) -> None:
    done = site.edgeqa("create", *spec(site, GOOD), "--note", "quicker", "--watch")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    last = done.stdout.splitlines()[-1]
    good = last.split()[0]
    assert "completed" in last
    assert f"{DEVICES} changed" in last
    view = site.view(good)
    assert [one["state"] for one in view["stage_list"]] == ["passed", "passed"]
    gates = {gate["gate"]: gate["status"] for gate in view["gates"]}
    assert (gates["f1"], gates["exact_match"]) == ("passed", "passed")

    done = site.edgeqa("create", *spec(site, BAD), "--watch")
    assert done.returncode == 6, done.stdout
    assert "gate_breached" in done.stdout
    last = done.stdout.splitlines()[-1]
    bad = last.split()[0]
    view = site.view(bad)
    assert (view["state"], view["code"], view["stage"]) == ("undone", "gate_breached", 0)
    assert view["states"] == {"reverted": 2, "untouched": DEVICES - 2}
    gates = {gate["gate"]: gate["status"] for gate in view["gates"]}
    assert gates["f1"] == "breached"

    members = json.loads(site.edgeqa("devices", bad, "--state", "reverted", "--json").stdout)
    assert {one["before"]["name"] for one in members["members"]} == {"better"}
    told = site.edgeqa("audit", bad).stdout
    for action in ("rollout_created", "stage_begun", "gate_breached", "undo_begun", "undone"):
        assert action in told
    listed = site.edgeqa("list", "--state", "undone", "--json").stdout
    assert [one["rollout"] for one in json.loads(listed)["rollouts"]] == [bad]


@pytest.mark.system
def test_a_person_pauses_and_undoes(site: Site) -> None:
    # Nobody begins meanwhile: the window is two days away.
    day = (datetime.now(UTC) + timedelta(days=2)).strftime("%a").lower()
    window = f"{day} 12:00-12:01"
    done = site.edgeqa("create", *spec(site, BAD), "--window", window, "--json")
    made = json.loads(done.stdout)
    assert "a time window, which opens" in made["waiting_for"]
    rollout = made["rollout"]
    assert site.edgeqa("pause", rollout, "--note", "lunch").returncode == 0
    assert site.view(rollout)["state"] == "paused"
    refused = site.edgeqa("pause", rollout)
    assert refused.returncode == 5
    assert "[order_refused]" in refused.stderr
    stale = site.edgeqa("resume", rollout, "--if-revision", "1")
    assert stale.returncode == 5
    assert "[changed_meanwhile]" in stale.stderr
    assert site.edgeqa("undo", rollout, "--yes").returncode == 0
    wait_until(lambda: site.view(rollout)["state"] == "undone", "undone")


@pytest.mark.system
def test_what_is_refused(site: Site) -> None:
    for arguments, exit_code, code in (
        (["create", "unheard-of@1.0.0", "--all"], 5, "unknown_package"),
        (["create", GOOD, "--group", "nobody"], 2, "empty_target"),
        (["show", "r-20200101-000000"], 2, "unknown_rollout"),
    ):
        done = site.edgeqa(*arguments)
        assert (done.returncode, done.stdout) == (exit_code, "")
        assert len(done.stderr.splitlines()) == 1
        assert f"[{code}]" in done.stderr
