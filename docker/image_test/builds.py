"""Building an image with buildah, in a storage of its own, and looking into it.

pip inside the build gets what pip is told out here, in its files and its environment: index,
folders of wheels, authorities. They go in as secrets and read-only volumes, so no layer has them.
"""

from __future__ import annotations

import configparser
import json
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from image_test.bases import make_root
from image_test.shell import ImageTestError, run

REPOSITORY = Path(__file__).resolve().parents[2]
_CA = "/run/secrets/ca"
# What pip is told of where packages come from; the rest of its settings stays out here.
_PIP_KEYS = {
    "cert", "extra-index-url", "find-links", "index-url", "no-index", "proxy", "retries",
    "timeout", "trusted-host",
}  # fmt: skip


@dataclass(frozen=True)
class Image:
    """One that was built.

    Attributes:
        name: with its tag.
        architecture: Debian's name.
        root: its file system, read where it is mounted.
        config: what of it a runtime reads: Entrypoint, Cmd, Env, User, Healthcheck …
        manifest: OCI manifest of the image as it would be pushed.
        history: of its layers, the empty ones left out.
        blobs: folder of the compressed layers, by SHA-256.
    """

    name: str
    architecture: str
    root: Path
    config: dict[str, Any]
    manifest: dict[str, Any]
    history: list[str]
    blobs: Path


class Builder:
    """Builds images into a folder."""

    def __init__(self, work: Path) -> None:
        self._work = work
        storage = work / "storage"
        storage.mkdir(parents=True, exist_ok=True)
        self._buildah: list[str | Path] = [
            "buildah", "--root", storage, "--runroot", work / "run",
            "--storage-driver", _driver(storage),
        ]  # fmt: skip
        run([*self._buildah, "rm", "--all"])  # what an earlier run left mounted

    def base(self, architecture: str) -> str:
        """The base image of an architecture, made of a root by debootstrap; its name."""
        name = f"localhost/edgeqa-base:{architecture}"
        if name in run([*self._buildah, "images", "--format", "{{.Name}}:{{.Tag}}"]).split():
            return name
        root = make_root(self._work, architecture)
        archive = self._work / f"base-{architecture}.tar"
        run(["tar", "--numeric-owner", "-C", root, "-cf", archive, "."])
        container = run([*self._buildah, "from", "--arch", architecture, "scratch"]).strip()
        run([*self._buildah, "add", "--quiet", container, archive, "/"])
        run([*self._buildah, "config", "--arch", architecture, "--os", "linux", container])
        run([*self._buildah, "commit", "--quiet", "--rm", container, name])
        archive.unlink()
        return name

    def build(self, role: str, architecture: str) -> Image:
        """Build a role's image.

        Raises:
            ImageTestError: a step failed; the whole log is in the folder.
        """
        name = f"localhost/edgeqa/{role}:{architecture}"
        revision = run(["git", "rev-parse", "HEAD"], cwd=REPOSITORY).strip()
        run(
            [
                *self._buildah, "bud", "--isolation", "chroot", "--arch", architecture,
                "--pull-never", "--layers", "--format", "docker",
                "--build-arg", f"BASE={self.base(architecture)}",
                "--build-arg", f"REVISION={revision}",
                *self._pip_options(),
                "--file", REPOSITORY / "docker" / f"{role}.Dockerfile", "--tag", name, REPOSITORY,
            ],
            log=self._work / f"build-{role}-{architecture}.log",
        )  # fmt: skip
        return self._opened(name, role, architecture)

    def _opened(self, name: str, role: str, architecture: str) -> Image:
        pushed = self._work / f"oci-{role}-{architecture}"
        run(["rm", "-rf", pushed])
        run([*self._buildah, "push", "--quiet", "--format", "oci", name, f"oci:{pushed}:image"])
        blobs = pushed / "blobs" / "sha256"
        index = json.loads((pushed / "index.json").read_bytes())
        manifest = _blob(blobs, index["manifests"][0])
        oci = _blob(blobs, manifest["config"])
        layers = [one["created_by"] for one in oci["history"] if not one.get("empty_layer")]
        inspected = json.loads(run([*self._buildah, "inspect", "--type", "image", name]))
        container = run([*self._buildah, "from", "--pull-never", name]).strip()
        root = Path(run([*self._buildah, "mount", container]).strip())
        config = inspected["Docker"]["config"]
        return Image(name, architecture, root, config, manifest, layers, blobs)

    def _pip_options(self) -> list[str | Path]:
        """What makes pip inside find packages as pip out here does."""
        told = pip_settings()
        options: list[str | Path] = []
        if "cert" in told:
            options += ["--secret", f"id=ca,src={told['cert']}"]
            told["cert"] = _CA
        for folder in _folders(told):
            options += ["--volume", f"{folder}:{folder}:ro"]
        file = self._work / "pip.conf"
        parser = configparser.RawConfigParser()
        parser["global"] = told
        # An index may have a password in its URL.
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as stream:
            parser.write(stream)
        return [*options, "--secret", f"id=pip,src={file}"]


def pip_settings() -> dict[str, str]:
    """Where pip out here takes packages from: its files, overridden by its environment."""
    found: dict[str, str] = {}
    for line in run([sys.executable, "-m", "pip", "config", "list"]).splitlines():
        key, _, value = line.partition("=")
        section, _, name = key.partition(".")
        if section in {"global", "install", ":env:"} and name in _PIP_KEYS:
            found[name] = value.strip("'").replace("\\n", " ").strip()
    return found


def _folders(told: dict[str, str]) -> list[str]:
    """Folders on this machine that pip's settings name."""
    found = set()
    for key in ("index-url", "extra-index-url", "find-links"):
        for word in re.split(r"[\s,]+", told.get(key, "")):
            if not word.startswith(("/", "file:")):
                continue
            path = Path(unquote(urlsplit(word).path))
            # The pages of an index link to files that lie beside it.
            path = path if key == "find-links" else path.parent
            if path.is_dir() and path != Path("/"):
                found.add(str(path))
    return sorted(found)


def _blob(blobs: Path, descriptor: dict[str, Any]) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(
        (blobs / descriptor["digest"].removeprefix("sha256:")).read_bytes()
    )
    return content


def _driver(folder: Path) -> str:
    """`overlay` where the kernel has it over this folder, else `vfs`, which copies every layer."""
    parts = {name: folder / f"probe-{name}" for name in ("lower", "upper", "work", "merged")}
    for part in parts.values():
        part.mkdir(exist_ok=True)
    layers = f"lowerdir={parts['lower']},upperdir={parts['upper']},workdir={parts['work']}"
    try:
        run(["mount", "-t", "overlay", "overlay", "-o", layers, parts["merged"]])
    except ImageTestError:
        return "vfs"
    run(["umount", parts["merged"]])
    return "overlay"
