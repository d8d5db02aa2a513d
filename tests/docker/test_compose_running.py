"""compose.yaml in operation: its services, confined as in containers, with a real Mosquitto."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.agents import ANSWER, PASSAGE, QUESTION
from support.compose import Composition, Mount, Service
from support.images import DOCKER
from support.pod import Pod

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root"),
]
SIGHUP = "files have changed: SIGHUP"
CONSOLE = "http://127.0.0.1:8080/api/v1/healthz"


@dataclass
class Site:
    """A pod, and a client that was enrolled in it."""

    pod: Pod
    client: Path

    def enrol(self, *arguments: str) -> Path:
        """`edgeqa cloud enrol` in the cloud's container; the bundle."""
        output = "/var/lib/edgeqa/bundles"
        done = self.cloud("edgeqa", "cloud", "enrol", *arguments, "--output", output)
        assert done.returncode == 0, done.stderr
        return self.pod.volume("cloud-data") / "bundles" / arguments[0]

    def cloud(self, *command: str) -> subprocess.CompletedProcess[str]:
        return self.pod.execute("cloud", *command)

    def ask(self, device: str, *, timeout_s: int = 20) -> subprocess.CompletedProcess[str]:
        """A question of a client's, who has nothing but its bundle."""
        lines = (self.client / "client.env").read_text().splitlines()
        settings = dict(line.split("=", 1) for line in lines if not line.startswith("#"))
        settings["EDGEQA_CLIENT_BROKER_CONNECT_TIMEOUT_S"] = "2"
        image = "edgeqa/cloud:latest"
        service = Service("client", {"image": image, "environment": settings})
        bundle = Mount(str(self.client), "/etc/edgeqa", read_only=True)
        question = ["edgeqa", "ask", QUESTION, "--device", device, "--text", PASSAGE]
        return self.pod.run(service, [*question, "--timeout-s", str(timeout_s)], [bundle])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Everything started once; the tests below go on from each other, in their order."""
    folder = tmp_path_factory.mktemp("compose")
    shutil.copytree(DOCKER, folder / "docker", ignore=shutil.ignore_patterns("secrets", ".env"))
    subprocess.run(["sh", folder / "docker" / "make-secrets.sh"], check=True, capture_output=True)
    composition = Composition(folder / "docker" / "compose.yaml", {"EDGEQA_GROUPS": "hall,gate"})
    with Pod(composition, folder) as pod:
        # Each waits for what it needs.
        pod.up("agent", "cloud", "broker", "init", "prepare")
        one = Site(pod, folder / "none")
        pod.wait_for(lambda: pod.ask(CONSOLE) == 200, "a console")
        one.client = one.enrol("anna", "--client")
        yield one


def test_everything_becomes_healthy(site: Site) -> None:
    for name in ("broker", "cloud", "agent"):
        site.pod.wait_for(lambda name=name: site.pod.healthy(name), f"a healthy {name}")


def test_a_client_with_its_bundle_is_answered(site: Site) -> None:
    done = site.ask("agent-1")
    assert done.returncode == 0, done.stderr
    assert ANSWER in done.stdout


def test_the_cloud_sees_the_agent_and_takes_commands(site: Site) -> None:
    def seen() -> bool:
        done = site.cloud("edgeqa", "fleet", "--json")
        return '"online"' in done.stdout and "agent-1" in done.stdout

    site.pod.wait_for(seen, "an agent in the fleet")
    listed = site.cloud("edgeqa", "rollout", "list")
    assert listed.returncode == 0, listed.stderr
    pruned = site.cloud("edgeqa", "prune", "agent-1")
    assert pruned.returncode == 0, pruned.stderr


def test_nobody_reads_a_key_but_its_owner(site: Site) -> None:
    keys = [path for path in (site.pod.folder / "volumes").rglob("*.key") if path.is_file()]
    assert len(keys) >= 6
    for key in keys:
        assert key.stat().st_mode & 0o077 == 0, key
        assert key.stat().st_uid == 10001, key


def test_a_container_cannot_write_but_where_it_may(site: Site) -> None:
    for name in ("broker", "cloud", "agent"):
        assert site.pod.execute(name, "touch", "/usr/x").returncode != 0
        assert "CapBnd:\t0000000000000000" in site.pod.execute(name, "cat", "/proc/1/status").stdout
    assert site.pod.execute("agent", "touch", "/etc/edgeqa/x").returncode != 0
    assert site.pod.execute("broker", "touch", "/etc/edgeqa-broker/x").returncode != 0
    assert site.pod.execute("agent", "touch", "/var/lib/edgeqa/x").returncode == 0


def test_a_revoked_agent_is_mute_at_once_and_kept_out_later(site: Site) -> None:
    assert site.cloud("edgeqa", "cloud", "revoke", "agent-1").returncode == 0
    site.pod.wait_for(lambda: SIGHUP in site.pod.log("broker"), "a reload")
    # Its connection is open still, and nothing of it is heard.
    site.pod.wait_for(lambda: site.ask("agent-1", timeout_s=2).returncode != 0, "mute")
    assert site.pod.running["agent"].poll() is None
    # With another one it does not come back.
    assert site.pod.stop("broker") == 0
    site.pod.up("broker")
    site.pod.wait_for(lambda: "certificate_refused" in site.pod.log("agent"), "a refusal")
    site.pod.wait_for(lambda: site.pod.healthy("broker"), "a healthy broker")


def test_a_revoked_client_is_refused(site: Site) -> None:
    done = site.cloud("edgeqa", "cloud", "revoke", "anna", "--client", "--reason", "left")
    assert done.returncode == 0, done.stderr

    def refused() -> bool:
        return "certificate_refused" in site.ask("agent-1", timeout_s=1).stderr

    site.pod.wait_for(refused, "a refusal")


def test_a_stop_is_clean(site: Site) -> None:
    for name in ("agent", "cloud", "broker"):
        assert site.pod.stop(name) == 0, site.pod.log(name)
