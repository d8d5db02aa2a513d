"""compose.yaml under podman-compose: real containers, networks, names and health checks."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.agents import ANSWER, PASSAGE, QUESTION
from support.images import DOCKER, image_environment
from support.podman import Podman, host_override, programs

NAMES = ["prepare", "init", "broker", "cloud", "agent"]
pytestmark = [
    pytest.mark.system,
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="containers that find each other need root"),
    pytest.mark.skipif(not shutil.which("podman"), reason="Podman is not installed"),
]


@dataclass
class Project:
    """The folder `docker` of somebody who uses Podman."""

    podman: Podman
    folder: Path

    def compose(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.podman.run("podman-compose", *arguments, folder=self.folder)

    def cloud(self, *command: str) -> str:
        done = self.compose("exec", "-T", "cloud", *command)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def healthy(self, name: str) -> bool:
        return self.podman.run("podman", "healthcheck", "run", f"edgeqa_{name}_1").returncode == 0


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    folder = tmp_path_factory.mktemp("podman") / "docker"
    shutil.copytree(DOCKER, folder, ignore=shutil.ignore_patterns("secrets", ".env"))
    subprocess.run(["sh", folder / "make-secrets.sh"], check=True, capture_output=True)
    (folder / ".env").write_text("EDGEQA_BROKER_OPEN_FILES=1024\n")
    (folder / "compose.override.yaml").write_text(host_override(NAMES))
    with Podman(folder.parent) as podman:
        for role in ("agent", "cloud"):
            podman.image(f"localhost/edgeqa/{role}:latest", image_environment(role))
        one = Project(podman, folder)
        done = one.compose("up", "-d")
        assert done.returncode == 0, done.stderr
        yield one
        one.compose("down", "-v")


def test_everything_becomes_healthy(project: Project) -> None:
    for name in ("broker", "cloud", "agent"):
        project.podman.wait_for(lambda name=name: project.healthy(name), f"a healthy {name}")
    project.podman.wait_for(lambda: "1 online" in project.cloud("edgeqa", "fleet"), "an agent")


def test_the_console_is_published_on_this_machine(project: Project) -> None:
    done = project.podman.run("curl", "--silent", "http://127.0.0.1:8080/api/v1/healthz")
    assert done.stdout == '{"status":"ok"}'


def test_a_client_in_the_network_is_answered(project: Project) -> None:
    project.cloud("edgeqa", "cloud", "enrol", "anna", "--client", "--output", "/var/lib/edgeqa/out")
    settings = {"BROKER": "mqtts://broker:8884", "BROKER_USERNAME": "anna"}
    for name, file in (("CA", "ca.crt"), ("CERT", "identity.crt"), ("KEY", "identity.key")):
        settings[f"BROKER_{name}_FILE"] = f"/data/out/anna/{file}"
    flags = [f"--env=EDGEQA_CLIENT_{name}={value}" for name, value in settings.items()]
    flags += [f"--volume={one}" for one in [*programs(), "edgeqa_cloud-data:/data:ro"]]
    done = project.podman.run(
        "podman", "run", "--rm", "--network=edgeqa_fleet", *flags, "localhost/edgeqa/cloud",
        f"{sys.prefix}/bin/edgeqa", "ask", QUESTION, "--device", "agent-1", "--text", PASSAGE,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert ANSWER in done.stdout


def test_a_stop_is_clean(project: Project) -> None:
    assert project.compose("stop").returncode == 0
    ended = project.podman.run(
        "podman", "ps", "--all", "--format", "{{.Names}} {{.ExitCode}}"
    ).stdout.splitlines()
    assert sorted(ended) == sorted(f"edgeqa_{name}_1 0" for name in NAMES)
