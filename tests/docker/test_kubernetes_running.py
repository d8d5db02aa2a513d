"""Console and collector as the Kubernetes manifests start them, and their probes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime
from pathlib import Path

import pytest
from support.broker import Broker
from support.cloud import wait_until
from support.kubernetes import Manifest, environment_of, named, overlay, pod_of

from edgeqa.processes import free_port, listens
from edgeqa_cloud.enrolment.making import make_authority

# What this test's broker and database do not need.
_ELSEWHERE = {
    f"EDGEQA_{role}_BROKER_{name}"
    for role in ("CLOUD", "CLIENT")
    for name in ("CA_FILE", "CERT_FILE", "KEY_FILE", "USERNAME")
} | {"EDGEQA_CLOUD_DATABASE_PASSWORD_FILE"}


@pytest.mark.system
@pytest.mark.parametrize("name", ["edgeqa-console", "edgeqa-collector"])
def test_the_probes_are_answered(name: str, broker: Broker, tmp_path: Path) -> None:
    """The very commands and settings, with ports, broker, database and folder of this test's."""
    pod = pod_of(named(overlay("large"), "Deployment", name))
    (container,) = pod["containers"]
    ports = {port["name"]: free_port() for port in container["ports"]}
    settings = settings_here(container, broker, tmp_path, ports)
    put_authority(here("/etc/edgeqa-authority", tmp_path))
    for path in ("/run/edgeqa-authority", "/var/lib/edgeqa"):
        here(path, tmp_path).mkdir(parents=True)
    for first in pod.get("initContainers", []):
        command = [here_in(word, first, tmp_path) for word in first["command"]]
        done = subprocess.run(command, env=settings, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
    process = subprocess.Popen(container["command"], env=settings)
    try:
        for port in ports.values():
            wait_for(port, process)
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            if probe in container:
                asked = container[probe]["httpGet"]
                # As the kubelet asks: by the pod's address.
                headers = {"Host": f"10.1.2.3:{ports[asked['port']]}"}
                assert answer(ports[asked["port"]], asked["path"], headers) == 200, probe
        if name == "edgeqa-console":
            conf = here("/var/lib/edgeqa/broker/mosquitto.conf", tmp_path)
            wait_until(conf.exists, "the broker's files")
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


def here(path: str, folder: Path) -> Path:
    """Where this test has what the pod has at an absolute path."""
    return folder / path.removeprefix("/")


def here_in(word: str, container: Manifest, folder: Path) -> str:
    for mount in container["volumeMounts"]:
        word = word.replace(mount["mountPath"], str(here(mount["mountPath"], folder)))
    return word


def put_authority(folder: Path) -> None:
    """As the Secret is mounted: readable by the pod's group."""
    passphrase = "correct horse battery"
    make_authority(folder, hosts=["localhost"], passphrase=passphrase, now=datetime.now(UTC))
    (folder / "passphrase").write_text(passphrase)
    for path in folder.rglob("*"):
        path.chmod(0o750 if path.is_dir() else 0o440)


def settings_here(
    container: Manifest, broker: Broker, folder: Path, ports: dict[str, int]
) -> dict[str, str]:
    """Its environment, with what this test has in place of what a cluster would have."""
    settings = environment_of(overlay("large"), container)
    for variable, value in list(settings.items()):
        if variable in _ELSEWHERE or "_REPOSITORY" in variable:
            del settings[variable]
        elif value.startswith("/"):
            settings[variable] = str(here(value, folder))
    settings |= {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(folder),
        "EDGEQA_CLOUD_BROKER": broker.url,
        "EDGEQA_CLOUD_DATABASE": f"sqlite:///{folder}/cloud.db",
        "EDGEQA_CLOUD_METRICS_LISTEN": f"127.0.0.1:{ports['metrics']}",
    }
    if "http" in ports:
        settings["EDGEQA_CLOUD_LISTEN"] = f":{ports['http']}"
    return settings


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while not listens(port):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)


def answer(port: int, path: str, headers: dict[str, str]) -> int:
    """The status; tried again while the program is starting."""
    deadline = time.monotonic() + 30
    while True:
        request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=10) as reply:  # noqa: S310  as above
                return int(reply.status)
        except urllib.error.HTTPError as error:
            with error:
                if error.code != 503 or time.monotonic() > deadline:
                    return error.code
        time.sleep(0.2)
