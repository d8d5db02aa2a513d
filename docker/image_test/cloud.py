"""The cloud side's container: it starts, serves, enrols a device, and stops."""

from __future__ import annotations

import time
import urllib.request
from dataclasses import dataclass

from edgeqa.processes import free_port
from image_test.asking import Site
from image_test.bases import native
from image_test.builds import Image
from image_test.containers import Container
from image_test.shell import ImageTestError

_START_S = {True: 60.0, False: 600.0}  # natively, emulated
_DATABASE = "sqlite:////var/lib/edgeqa/cloud.db"


@dataclass(frozen=True)
class CloudServed:
    """What came of it.

    Attributes:
        healthy_s: from the container's start to a health check that succeeds.
        health: what that said.
        pages: what was fetched from it, and the status.
        enrolled: what `edgeqa cloud enrol` wrote.
        refusal: of a container with a typing mistake in a variable.
        exit_code: after SIGTERM.
    """

    healthy_s: float
    health: str
    pages: dict[str, int]
    enrolled: list[str]
    refusal: str
    exit_code: int


def serve_cloud(site: Site, image: Image) -> CloudServed:
    """Try a container.

    Raises:
        ImageTestError: something is not as it must be.
    """
    name = f"cloud-{image.architecture}"
    ports = free_port(), free_port()
    environment = {
        "EDGEQA_CLOUD_BROKER": site.broker,
        "EDGEQA_CLOUD_DATABASE": _DATABASE,
        "EDGEQA_CLOUD_LISTEN": f"127.0.0.1:{ports[0]}",
        "EDGEQA_CLOUD_METRICS_LISTEN": f"127.0.0.1:{ports[1]}",
    }
    container = Container(
        image=image, name=name, work=site.work, environment=environment,
        mounts={"/var/lib/edgeqa": site.data(name)},
    )  # fmt: skip
    begun = time.monotonic()
    with container:
        health = container.wait_healthy(_START_S[image.architecture == native()])
        healthy_s = time.monotonic() - begun
        urls = {
            "/login": f"http://127.0.0.1:{ports[0]}/login",
            "/metrics": f"http://127.0.0.1:{ports[1]}/metrics",
        }
        pages = {path: _status(url) for path, url in urls.items()}
        enrolled = _enrol(container)
        exit_code = container.stop(120)
    if exit_code or set(pages.values()) != {200}:
        raise ImageTestError(f"{name}: {pages}, ended with {exit_code}:\n{container.log}")
    return CloudServed(healthy_s, health, pages, enrolled, _refused(site, image), exit_code)


def _status(url: str) -> int:
    with urllib.request.urlopen(url, timeout=60) as response:  # noqa: S310  ours, http
        return int(response.status)


def _enrol(container: Container) -> list[str]:
    """Make an authority and enrol a device, inside; the bundle's files."""
    authority, bundles = "/var/lib/edgeqa/authority", "/var/lib/edgeqa/bundles"
    for command in (
        ["sh", "-c", "umask 077; echo a passphrase for a trial > /var/lib/edgeqa/passphrase"],
        [
            "edgeqa", "cloud", "authority", "init", "--authority", authority,
            "--authority-passphrase-file", "/var/lib/edgeqa/passphrase",
            "--broker-host", "broker.test",
        ],
        [
            "edgeqa", "cloud", "enrol", "pi-1", "--authority", authority,
            "--authority-passphrase-file", "/var/lib/edgeqa/passphrase",
            "--broker-host", "broker.test", "--output", bundles,
        ],
    ):  # fmt: skip
        code, said = container.execute(command, timeout_s=300)
        if code:
            raise ImageTestError(f"`{' '.join(command[:4])}` ended with {code}: {said}")
    _, listed = container.execute(["ls", f"{bundles}/pi-1"])
    files = listed.split()
    if not {"agent.toml", "ca.crt", "identity.crt", "identity.key"} <= set(files):
        raise ImageTestError(f"the bundle lacks a file: {files}")
    return files


def _refused(site: Site, image: Image) -> str:
    """A container with a typing mistake in a variable: held, and why."""
    name = f"cloud-bad-{image.architecture}"
    container = Container(
        image=image, name=name, work=site.work,
        environment={"EDGEQA_CLOUD_DATABSE": _DATABASE},
        mounts={"/var/lib/edgeqa": site.data(name)},
    )  # fmt: skip
    with container:
        line = container.wait_for("edgeqa: ", _START_S[image.architecture == native()])
        code, _ = container.health()
        exit_code = container.stop(60)
    if not code or exit_code != 3:  # noqa: PLR2004  a setting is wrong
        raise ImageTestError(f"{name}: health {code}, ended with {exit_code}: {line}")
    return line
