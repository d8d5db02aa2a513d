"""A Podman of its own: storage, network and /run of nobody else's, also where cgroups are not free.

Images hold no programs: each container has this machine's mounted, as its Dockerfile would install
them. What is not there: limits of memory, as containers get no cgroup. Needs root, and Podman.
"""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import yaml

ROOT = Path(__file__).parents[2]
_TIMEOUT_S = 180.0
# A runtime here may have neither cgroups of its own nor the right to raise limits.
_CONFIG = """
[containers]
cgroups = "disabled"
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
[network]
network_backend = "netavark"
"""
_FOLDERS = ("usr", "etc/ssl", "etc/alternatives", "proc", "sys", "dev", "tmp", "var/lib", "run")
_SPACES = (
    "mount -t cgroup2 none /sys/fs/cgroup; mount -t tmpfs none /run; ip link set lo up; "
    "echo up; exec sleep 3600"
)


@dataclass
class Podman:
    """Use it in a `with` block.

    Attributes:
        folder: for storage and settings.
    """

    folder: Path
    _holder: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def __enter__(self) -> Self:
        (self.folder / "containers.conf").write_text(_CONFIG)
        program = self.folder / "bin" / "podman"
        program.parent.mkdir()
        kept = " ".join(f"--{what} {self.folder}/{what}" for what in ("root", "runroot", "tmpdir"))
        program.write_text(f'#!/bin/sh\nexec /usr/bin/podman --storage-driver vfs {kept} "$@"\n')
        program.chmod(0o755)
        self._holder = subprocess.Popen(
            ["unshare", "--mount", "--net", "--propagation", "private", "sh", "-c", _SPACES],
            stdout=subprocess.PIPE,
        )
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == b"up\n"
        return self

    def __exit__(self, *_: object) -> None:
        assert self._holder is not None
        self.run("podman", "rm", "--force", "--all", "--time", "0")
        # The name server outlives containers that are removed by force.
        found = self.run("cat", "/run/containers/networks/aardvark-dns/aardvark.pid").stdout.strip()
        if found.isdigit() and "aardvark" in Path(f"/proc/{found}/cmdline").read_text():
            os.kill(int(found), signal.SIGTERM)
        self._holder.kill()
        self._holder.wait()
        assert self._holder.stdout is not None
        self._holder.stdout.close()

    def run(self, *command: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
        """A command that meets this Podman and its network."""
        assert self._holder is not None
        inside = ["nsenter", "--target", str(self._holder.pid), "--mount", "--net"]
        path = f"{self.folder}/bin:{sys.prefix}/bin:{os.environ['PATH']}"
        return subprocess.run(
            [*inside, "env", "-C", str(folder or self.folder), *command],
            env={"PATH": path, "CONTAINERS_CONF": f"{self.folder}/containers.conf", "HOME": "/tmp"},
            capture_output=True, text=True, check=False, timeout=_TIMEOUT_S,
        )  # fmt: skip

    def image(self, name: str, environment: dict[str, str]) -> None:
        """An image without programs, for uid 10001."""
        packed = self.folder / "image.tar"
        packed.write_bytes(_root_file_system())
        changes = [f"ENV {key}={value}" for key, value in environment.items()]
        flags = [word for change in [*changes, "USER 10001:10001"] for word in ("--change", change)]
        done = self.run("podman", "import", *flags, str(packed), name)
        assert done.returncode == 0, done.stderr

    def wait_for(self, happened: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + _TIMEOUT_S
        while not happened():
            assert time.monotonic() < deadline, f"never {what}"
            time.sleep(0.5)


def programs() -> list[str]:
    """Volumes that bring this machine's programs into a container."""
    paths = ["/usr", "/etc/ssl", "/etc/alternatives", sys.base_prefix, sys.prefix, str(ROOT)]
    kept = [path for path in paths if path == "/usr" or not path.startswith("/usr/")]
    return [f"{path}:{path}:ro" for path in dict.fromkeys(kept)]


def host_override(names: list[str]) -> str:
    """A `compose.override.yaml` that gives services this machine's programs."""
    path = f"{sys.prefix}/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    service = {"volumes": programs(), "environment": {"PATH": path}}
    services: dict[str, dict[str, object]] = {name: dict(service) for name in names}
    services["broker"] |= {"image": "localhost/edgeqa/cloud:latest", "ulimits": {"nproc": "4096"}}
    return yaml.safe_dump({"services": services})


def _root_file_system() -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:

        def put(
            name: str, kind: bytes, *, mode: int = 0o755, owner: int = 0, link: str = ""
        ) -> None:
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode, entry.linkname = kind, mode, link
            entry.uid = entry.gid = owner
            tar.addfile(entry)

        for folder in _FOLDERS:
            put(folder, tarfile.DIRTYPE, mode=0o1777 if folder == "tmp" else 0o755)
        put("etc/edgeqa", tarfile.DIRTYPE)
        put("var/lib/edgeqa", tarfile.DIRTYPE, mode=0o700, owner=10001)
        for name in ("bin", "sbin", "lib", "lib64"):
            put(name, tarfile.SYMTYPE, link=f"usr/{name}")
    return content.getvalue()
