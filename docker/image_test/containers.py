"""A container of an image, run by crun as Docker would run it.

Its own processes, mounts and host name; the root file system read-only; no capability and no way
to get one; /tmp and /run/edgeqa in memory; the host's network. What the image says of user,
environment, entry point, stop signal and health check is taken from the image.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from image_test.bases import native
from image_test.builds import Image
from image_test.groups import MemoryGroup
from image_test.shell import ImageTestError

HEALTH_S = 60.0  # from the first answer to a health check that succeeds, emulated too
_HYBRID = Path("/sys/fs/cgroup/unified")
_SAFE = ["nosuid", "noexec", "nodev"]
# Docker's defaults. Source: moby, daemon/pkg/oci/defaults.go.
_MASKED = [
    "/proc/asound", "/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
    "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware",
]  # fmt: skip
# qemu emulates the processor of a Raspberry Pi 5, but shows this machine's /proc/cpuinfo. A library
# of onnxruntime's finds processors in /sys then that it can read nothing about, and crashes. So an
# emulated container gets the file of a Pi 5.
_EMULATED = "cortex-a76"
_EMULATED_CPU = Path(__file__).with_name("pi5.cpuinfo")
_READONLY = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]


@dataclass
class Container:
    """One container.

    Attributes:
        image: what it runs.
        name: of it, and its host name.
        work: folder for its description and its log.
        environment: over the image's.
        mounts: path inside to folder out here.
        writable: of those, what is not read-only.
        arguments: behind the entry point, instead of the image's.
        group: control group that it runs in.
    """

    image: Image
    name: str
    work: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    mounts: Mapping[str, Path] = field(default_factory=dict)
    writable: Sequence[str] = ("/var/lib/edgeqa",)
    arguments: Sequence[str] | None = None
    group: MemoryGroup | None = None
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def log(self) -> str:
        """What it has written so far."""
        return self._log_file.read_text(encoding="utf-8", errors="replace")

    @property
    def _folder(self) -> Path:
        return self.work / f"container-{self.name}"

    @property
    def _emulated(self) -> bool:
        return self.image.architecture != native()

    @property
    def _log_file(self) -> Path:
        return self._folder / "log"

    def start(self) -> Container:
        """Start it without waiting for anything."""
        self._folder.mkdir(parents=True, exist_ok=True)
        if self._emulated:
            processors = range(os.cpu_count() or 1)
            one = _EMULATED_CPU.read_text()
            text = "".join(one.format(number=number) for number in processors)
            (self._folder / "cpuinfo").write_text(text, encoding="ascii")
        (self._folder / "config.json").write_text(json.dumps(self._description()))
        with self._log_file.open("wb") as log:
            self._process = subprocess.Popen(
                self._crun("run", "--bundle", str(self._folder), self.name, group=self.group),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        return self

    def execute(self, command: Sequence[str], *, timeout_s: float = 120) -> tuple[int, str]:
        """Run a command inside, as a health check does; its exit code and what it said."""
        done = subprocess.run(
            self._crun("exec", "--user", self.image.config["User"], self.name, *command),
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        return done.returncode, (done.stdout + done.stderr).strip()

    def health(self) -> tuple[int, str]:
        """What the image's own health check says."""
        kind, *command = self.image.config["Healthcheck"]["Test"]
        if kind != "CMD":
            raise ImageTestError(f"the health check is not a plain command: {kind}")
        return self.execute(command)

    def wait_healthy(self, seconds: float) -> str:
        """What the health check says as soon as it succeeds.

        Raises:
            ImageTestError: it does not within so many seconds, or the container ended or refused.
        """
        deadline = time.monotonic() + seconds
        while True:
            code, said = self.health()
            if not code:
                return said
            if time.monotonic() > deadline or not self.running or self.refusal():
                raise ImageTestError(f"{self.name} is not healthy: {said}\n{self.log}")
            time.sleep(0.2)

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process is not None and self._process.poll() is None

    def refusal(self) -> str:
        """The line with which `edgeqa` said why it cannot go on; empty while it has not."""
        lines = [line for line in self.log.splitlines() if line.startswith("edgeqa: ")]
        return lines[0] if lines else ""

    def pid(self) -> int:
        """Of its first process, out here.

        Raises:
            ImageTestError: it does not run.
        """
        done = subprocess.run(
            self._crun("state", self.name), capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise ImageTestError(f"{self.name} does not run:\n{self.log}")
        return int(json.loads(done.stdout)["pid"])

    def wait(self, timeout_s: float) -> int:
        """Wait for its end; its exit code.

        Raises:
            ImageTestError: it goes on.
        """
        if self._process is None:
            raise ImageTestError(f"{self.name} was not started")
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired as error:
            raise ImageTestError(f"{self.name} goes on after {timeout_s} s:\n{self.log}") from error

    def wait_for(self, words: str, timeout_s: float) -> str:
        """Wait for a line in its log that has these words.

        Raises:
            ImageTestError: none comes, or the container ends first.
        """
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            lines = [line for line in self.log.splitlines() if words in line]
            if lines:
                return lines[0]
            if not self.running:
                break
            time.sleep(0.1)
        raise ImageTestError(f"no {words!r} in the log of {self.name}:\n{self.log}")

    def stop(self, timeout_s: float = 60) -> int:
        """The image's stop signal, then wait; its exit code."""
        self._signal(self.image.config.get("StopSignal", "SIGTERM"))
        return self.wait(timeout_s)

    def remove(self) -> None:
        """End it, whatever it does."""
        if self.running:
            self._signal("SIGKILL")
            self.wait(60)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    def _signal(self, name: str) -> None:
        subprocess.run(
            self._crun("kill", self.name, name.removeprefix("SIG")),
            check=False,
            capture_output=True,
        )

    def _crun(self, *arguments: str, group: MemoryGroup | None = None) -> list[str]:
        """crun in a mount namespace of its own; in one without the second hierarchy of a mixed
        cgroup layout, which crun refuses."""
        state = str(self.work / "crun")
        crun = ["crun", "--root", state, "--cgroup-manager", "disabled", *arguments]
        steps = [f"umount {_HYBRID}"] if _HYBRID.is_dir() else []
        if group is not None:
            steps.append(f"echo $$ > {group.folder}/cgroup.procs")
        script = " && ".join([*steps, f"exec {shlex.join(crun)}"])
        return ["unshare", "--mount", "--propagation", "private", "sh", "-c", script]

    def _description(self) -> dict[str, Any]:
        """Source: OCI runtime specification, config.md."""
        config = self.image.config
        user, _, usergroup = config["User"].partition(":")
        environment = dict(one.partition("=")[::2] for one in config["Env"])
        mounts = dict(self.mounts)
        if self._emulated:
            environment["QEMU_CPU"] = _EMULATED
            mounts["/proc/cpuinfo"] = self._folder / "cpuinfo"
        command = config.get("Cmd") or [] if self.arguments is None else self.arguments
        return {
            "ociVersion": "1.0.2",
            "process": {
                "user": {"uid": int(user), "gid": int(usergroup or user)},
                "args": [*(config.get("Entrypoint") or []), *command],
                "env": [f"{k}={v}" for k, v in {**environment, **self.environment}.items()],
                "cwd": config.get("WorkingDir") or "/",
                "capabilities": {},
                "noNewPrivileges": True,
            },
            "root": {"path": str(self.image.root), "readonly": True},
            "hostname": self.name,
            "mounts": [*self._system_mounts(), *(self._bind(*one) for one in mounts.items())],
            "linux": {
                "namespaces": [{"type": name} for name in ("pid", "ipc", "uts", "mount")],
                "maskedPaths": _MASKED,
                "readonlyPaths": _READONLY,
            },
        }

    def _system_mounts(self) -> list[dict[str, Any]]:
        def memory(path: str, *options: str) -> dict[str, Any]:
            return {"destination": path, "type": "tmpfs", "source": "tmpfs", "options": [*options]}

        mounts: list[dict[str, Any]] = [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            memory("/dev", "nosuid", "strictatime", "mode=755", "size=65536k"),
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
             "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]},
            memory("/dev/shm", *_SAFE, "mode=1777", "size=65536k"),  # noqa: S108  of the container
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": [*_SAFE, "ro"]},
            memory("/tmp", *_SAFE, "mode=1777", "size=16m"),  # noqa: S108  of the container
            memory("/run/edgeqa", *_SAFE, "mode=1777", "size=1m"),
        ]  # fmt: skip
        if self.group is not None:  # as in Docker, where the agent sees its own limit
            inside = "/sys/fs/cgroup/memory" if self.group.version == 1 else "/sys/fs/cgroup"
            if self.group.version == 1:
                mounts.append(memory("/sys/fs/cgroup", *_SAFE, "mode=755"))
            mounts.append(
                {"destination": inside, "type": "bind", "source": str(self.group.folder),
                 "options": ["rbind", "ro", *_SAFE]}
            )  # fmt: skip
        return mounts

    def _bind(self, path: str, source: Path) -> dict[str, Any]:
        access = "rw" if path in self.writable else "ro"
        options = ["rbind", access, *_SAFE]
        return {"destination": path, "type": "bind", "source": str(source), "options": options}
