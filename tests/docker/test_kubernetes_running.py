"""Console and collector as the Kubernetes manifests start them, and their probes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from support.broker import Broker
from support.kubernetes import environment_of, named, overlay, pod_of

from edgeqa.processes import free_port, listens


@pytest.mark.system
@pytest.mark.parametrize("name", ["edgeqa-console", "edgeqa-collector"])
def test_the_probes_are_answered(name: str, broker: Broker, tmp_path: Path) -> None:
    """The very command and settings, with ports, broker and database of this test's."""
    manifests = overlay("large")
    (container,) = pod_of(named(manifests, "Deployment", name))["containers"]
    ports = {port["name"]: free_port() for port in container["ports"]}
    settings = environment_of(manifests, container)
    for variable in list(settings):
        if "_BROKER" in variable or "AUTHORITY" in variable or "REPOSITORY" in variable:
            del settings[variable]
        elif settings[variable].startswith("/"):
            settings[variable] = str(tmp_path / Path(settings[variable]).name)
    del settings["EDGEQA_CLOUD_DATABASE_PASSWORD_FILE"]
    settings |= {
        "EDGEQA_CLOUD_BROKER": broker.url,
        "EDGEQA_CLOUD_DATABASE": f"sqlite:///{tmp_path}/cloud.db",
        "EDGEQA_CLOUD_METRICS_LISTEN": f"127.0.0.1:{ports['metrics']}",
    }
    if "http" in ports:
        settings["EDGEQA_CLOUD_LISTEN"] = f":{ports['http']}"
    process = subprocess.Popen(
        [sys.executable, "-m", "edgeqa.cli", *container["command"][1:]],
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), **settings},
    )
    try:
        for port in ports.values():
            wait_for(port, process)
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            if probe in container:
                asked = container[probe]["httpGet"]
                # As the kubelet asks: by the pod's address.
                headers = {"Host": f"10.1.2.3:{ports[asked['port']]}"}
                assert answer(ports[asked["port"]], asked["path"], headers) == 200, probe
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


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
