"""Services of a Compose file as processes, confined as their containers would be, without engine.

Each has a root file system of its own that cannot be written (bubblewrap), with the volumes, files,
secrets and tmpfs that the file says; it is process 1 there, under the same user, without
capabilities. All share one network that leads nowhere else, in which every service is found by its
name. What is not there: limits of memory, and networks that keep services apart. Needs root.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from support.compose import Composition, Mount, Service

ROOT = Path(__file__).parents[2]
WAIT_S = 60.0
_OURS = "10001:10001"
# What the programs of the test's machine need, in place of an image.
_SYSTEM = ("/usr", "/etc/ld.so.cache", "/etc/ssl", "/etc/alternatives")
_PASSWD = "root:x:0:0::/:/bin/sh\nedgeqa:x:10001:10001::/var/lib/edgeqa:/bin/sh\n"


@dataclass
class Pod:
    """Use it in a `with` block.

    Attributes:
        composition: whose services.
        folder: for volumes and logs.
    """

    composition: Composition
    folder: Path
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    _network: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def __enter__(self) -> Self:
        self._network = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", "ip link set lo up && echo up && exec sleep 3600"],
            stdout=subprocess.PIPE,
        )
        assert self._network.stdout is not None
        assert self._network.stdout.readline() == b"up\n"
        hosts = " ".join(["localhost", *self.composition.services])
        (self.folder / "hosts").write_text(f"127.0.0.1 {hosts}\n")
        (self.folder / "passwd").write_text(_PASSWD)
        return self

    def __exit__(self, *_: object) -> None:
        with ExitStack() as stack:
            stack.callback(self._leave_network)
            for name in self.running:
                stack.callback(self.stop, name)

    def _leave_network(self) -> None:
        assert self._network is not None
        self._network.kill()
        self._network.wait()
        assert self._network.stdout is not None
        self._network.stdout.close()

    def up(self, *names: str) -> None:
        """Start services, in this order."""
        for name in names:
            service = self.composition.services[name]
            command = [*self._sandbox(service, service.mounts), *_as_user(service)]
            if name in self.running:  # of those that end by themselves
                self.running[name].wait(WAIT_S)
            with (self.folder / f"{name}.log").open("ab") as log:
                self.running[name] = subprocess.Popen(
                    [*command, *service.command], env=_environment(service), stdout=log, stderr=log
                )

    def stop(self, name: str) -> int:
        """As an engine does; what it ended with."""
        process = self.running.pop(name)
        asked = self.composition.services[name].spec.get("stop_signal", "SIGTERM")
        if process.poll() is None:
            os.kill(self._first(process), signal.Signals[asked])
        try:
            return process.wait(WAIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def volume(self, name: str) -> Path:
        """A named volume; new ones belong to root, as with Docker."""
        path = self.folder / "volumes" / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def execute(self, name: str, *command: str) -> subprocess.CompletedProcess[str]:
        """`docker compose exec NAME COMMAND…`."""
        service = self.composition.services[name]
        first = str(self._first(self.running[name]))
        inside = ["nsenter", "--target", first, "--mount", "--pid", "--net", "--root", "--wd=/"]
        return self._run([*inside, *_as_user(service), *command], _environment(service))

    def run(
        self, service: Service, command: Sequence[str], mounts: Sequence[Mount] = ()
    ) -> subprocess.CompletedProcess[str]:
        """`docker run --rm` of the service's image with other mounts, in the same network."""
        whole = [*self._sandbox(service, mounts), *_as_user(service), *command]
        return self._run(whole, _environment(service))

    def healthy(self, name: str) -> bool:
        """What its health check says."""
        _, *command = self.composition.services[name].spec["healthcheck"]["test"]
        return self.execute(name, *command).returncode == 0

    def ask(self, url: str) -> int:
        """The status of a page, asked for within the network."""
        program = f"import urllib.request as u; print(u.urlopen({url!r}, timeout=10).status)"
        done = self._run([*self._in_network(), sys.executable, "-c", program], os.environ)
        return int(done.stdout) if done.returncode == 0 else 0

    def wait_for(self, happened: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + WAIT_S
        while not happened():
            logs = "\n".join(f"--- {name}\n{self.log(name)[-3000:]}" for name in self.running)
            assert time.monotonic() < deadline, f"never {what}\n{logs}"
            time.sleep(0.2)

    def _sandbox(self, service: Service, mounts: Sequence[Mount]) -> list[str]:
        options = ["--unshare-pid", "--unshare-ipc", "--as-pid-1", "--die-with-parent"]
        # Needed to become the user, who then has none (`_as_user`).
        options += ["--cap-add", "ALL"]
        for path in _SYSTEM:
            options += _bound("--ro-bind-try", path, path)
        for name in ("bin", "sbin", "lib", "lib64"):
            options += ["--symlink", f"usr/{name}", f"/{name}"]
        for name in ("hosts", "passwd"):
            options += _bound("--ro-bind", str(self.folder / name), f"/etc/{name}")
        options += ["--proc", "/proc", "--dev", "/dev", "--dir", "/var/lib"]
        for path in service.tmpfs:
            options += ["--perms", "1777", "--tmpfs", path]
        # After them: a checkout may lie below /tmp.
        for path in (sys.base_prefix, sys.prefix, str(ROOT)):
            options += _bound("--ro-bind-try", path, path)
        for mount in mounts:
            how = "--ro-bind" if mount.read_only else "--bind"
            options += _bound(how, str(self._source(mount)), mount.target)
        for name in service.spec.get("secrets", []):
            secret = str(self.composition.secrets[name])
            options += _bound("--ro-bind", secret, f"/run/secrets/{name}")
        return [*self._in_network(), "bwrap", *options, "--remount-ro", "/", "--"]

    def _source(self, mount: Mount) -> Path:
        if mount.named:
            return self.volume(mount.source)
        return self.composition.path.parent / mount.source

    def _in_network(self) -> list[str]:
        assert self._network is not None
        return ["nsenter", f"--net=/proc/{self._network.pid}/ns/net"]

    def _first(self, process: subprocess.Popen[bytes]) -> int:
        """Process 1 of the sandbox: the child of bubblewrap, which is just starting perhaps."""
        path = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        deadline = time.monotonic() + WAIT_S
        while not (children := path.read_text().split()):
            assert process.poll() is None, "it has ended"
            assert time.monotonic() < deadline
            time.sleep(0.05)
        return int(children[0])

    def _run(
        self, command: Sequence[str], environment: Mapping[str, str]
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False, timeout=WAIT_S
        )


def _bound(how: str, source: str, target: str) -> list[str]:
    """Bubblewrap makes folders on the way for their owner alone, unless told to make them."""
    return ["--dir", str(Path(target).parent), how, source, target]


def _as_user(service: Service) -> list[str]:
    """Become the service's user, with the capabilities that it keeps."""
    user, _, group = str(service.spec.get("user", _OURS)).partition(":")
    kept = "".join(f",+{name.lower()}" for name in service.spec.get("cap_add", []))
    return [
        "setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups", "--no-new-privs",
        f"--bounding-set=-all{kept}", "--inh-caps=-all", "--",
    ]  # fmt: skip


def _environment(service: Service) -> dict[str, str]:
    path = f"{sys.prefix}/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return {"PATH": path, "HOME": "/var/lib/edgeqa", **service.environment}
