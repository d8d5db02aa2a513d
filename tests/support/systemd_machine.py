"""A machine of its own with a real systemd, for installing services: namespaces of this one.

It needs root and a systemd that lies on the disk; this machine need not have been booted with it.
Its network is a loopback of its own, so ports are free.
"""

from __future__ import annotations

import io
import os
import secrets
import shutil
import subprocess
import sysconfig
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_SCRIPT = Path(__file__).with_name("systemd_machine.sh")
_GROUPS = Path("/sys/fs/cgroup")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_BOOT_TIMEOUT_S = 60.0
_COMMAND_TIMEOUT_S = 150.0

_CHECKOUT = ("/srv/site", *(f"/srv/checkout/{role}" for role in ("common", "agent", "cloud")))
# An environment as `pip install` would make one, but with the files of this checkout.
_INSTALL = """
set -e
/usr/bin/python3 -m venv --clear --without-pip {slot}
cd {slot}/lib/python3*/site-packages
printf '%s\\n' {paths} >edgeqa.pth
cp -r /srv/site/edgeqa-*.dist-info edgeqa-{version}.dist-info
sed -i 's/^Version: .*/Version: {version}/' edgeqa-{version}.dist-info/METADATA
cat >{slot}/bin/edgeqa <<'EOF'
#!{slot}/bin/python
import sys

from edgeqa.cli import main

sys.exit(main())
EOF
chmod 755 {slot}/bin/edgeqa
"""


def why_not() -> str | None:
    """Why there can be no such machine here; None where there can."""
    if os.geteuid() != 0:
        return "needs root"
    for program in ("unshare", "nsenter", "ip", "systemctl"):
        if shutil.which(program, path=_PATH) is None:
            return f"needs {program}"
    if not Path("/lib/systemd/systemd").exists():
        return "needs systemd"
    said = subprocess.run(
        ["/usr/bin/python3", "-c", "import sys, ensurepip; print(*sys.version_info[:2], sep='.')"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()
    ours = sysconfig.get_python_version()
    return None if said == ours else f"needs a system Python {ours} with venv, for this checkout's"


@dataclass(frozen=True)
class SystemdMachine:
    """One that has booted."""

    init: int

    def call(
        self, *words: str, stdin: str | None = None, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in it, as root, however it ends."""
        variables = [f"{name}={value}" for name, value in (env or {}).items()]
        enter = ["nsenter", "-t", str(self.init), "-a"]
        clean = ["env", "-i", f"PATH={_PATH}", "LC_ALL=C.UTF-8", "HOME=/root", *variables]
        return subprocess.run(
            [*enter, *clean, *words],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=_COMMAND_TIMEOUT_S,
        )

    def out(self, *words: str, stdin: str | None = None) -> str:
        """What a command that must succeed prints."""
        done = self.call(*words, stdin=stdin)
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout

    def shell(self, script: str) -> str:
        """The same of a script."""
        return self.out("bash", "-eu", stdin=script)

    def write(self, path: str, content: str | bytes, *, mode: int = 0o644) -> None:
        """Write a file in it."""
        here = Path(f"/proc/{self.init}/root{path}")
        here.parent.mkdir(parents=True, exist_ok=True)
        here.write_bytes(content.encode() if isinstance(content, str) else content)
        here.chmod(mode)

    def install_edgeqa(self, slot: str = "/opt/edgeqa", *, version: str = "0.1.0") -> None:
        """This checkout, in an environment of the system's Python."""
        self.shell(_INSTALL.format(slot=slot, version=version, paths=" ".join(_CHECKOUT)))

    def carry_wheel(self, version: str, *, broken: bool = False) -> str:
        """A wheel that is this checkout under another version; where it lies in the machine.

        Args:
            version: of it.
            broken: one whose agent ends at once.
        """
        about = f"edgeqa-{version}.dist-info"
        lines = [*_CHECKOUT]
        if broken:
            lines.insert(0, "import sys; 'run' in sys.orig_argv and sys.exit(1)")
        commands = "".join(
            f"{name} = {module}:app\n"
            for name, module in (("agent", "edgeqa_agent.cli"), ("cloud", "edgeqa_cloud.cli"))
        )
        files = {
            "edgeqa.pth": "\n".join(lines) + "\n",
            f"{about}/METADATA": f"Metadata-Version: 2.1\nName: edgeqa\nVersion: {version}\n"
            "Provides-Extra: agent\nProvides-Extra: cloud\n",
            f"{about}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\n"
            "Tag: py3-none-any\n",
            f"{about}/entry_points.txt": "[console_scripts]\nedgeqa = edgeqa.cli:main\n"
            f"[edgeqa.commands]\n{commands}",
        }
        record = "".join(f"{name},,\n" for name in [*files, f"{about}/RECORD"])
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w") as wheel:
            for name, text in {**files, f"{about}/RECORD": record}.items():
                wheel.writestr(name, text)
        path = f"/root/edgeqa-{version}-py3-none-any.whl"
        self.write(path, content.getvalue())
        return path

    def show(self, unit: str, field: str) -> str:
        """A property of a unit."""
        return self.out("systemctl", "show", unit, "-p", field, "--value").strip()


@contextmanager
def systemd_machine() -> Iterator[SystemdMachine]:
    """A machine that has booted, inside the block."""
    name = f"edgeqa-test-{os.getpid()}-{secrets.token_hex(4)}"
    groups = _own_groups(name)
    with tempfile.TemporaryDirectory() as folder:
        into = "; ".join(f"echo $$ > {group}/cgroup.procs" for group in groups)
        start = f'{into}; exec unshare -m -p -n -i -u -C --fork --kill-child {_SCRIPT} "$@"'
        site = sysconfig.get_path("purelib")
        log = Path(folder).with_suffix(".log")
        with log.open("wb") as file:
            process = subprocess.Popen(
                ["bash", "-c", start, "machine", folder, str(ROOT), site],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
            )
        try:
            yield _booted(process, log)
        finally:
            process.kill()
            process.wait()
            for group in groups:
                _remove(group)
            log.unlink()


def _booted(process: subprocess.Popen[bytes], log: Path) -> SystemdMachine:
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    deadline = time.monotonic() + _BOOT_TIMEOUT_S
    state = ""
    while time.monotonic() < deadline and process.poll() is None:
        pids = children.read_text().split()
        if pids and Path(f"/proc/{pids[0]}/comm").read_text().strip() == "systemd":
            machine = SystemdMachine(int(pids[0]))
            state = machine.call("systemctl", "is-system-running").stdout.strip()
            if state == "running":
                return machine
        time.sleep(0.1)
    raise AssertionError(f"no systemd came up: {state!r}\n{log.read_text()}")


def _own_groups(name: str) -> list[Path]:
    """A control group in each hierarchy, for the machine alone."""
    if (_GROUPS / "cgroup.controllers").exists():
        hierarchies = [_GROUPS]
    else:
        # In a new group of `cpuset` nothing may run until it is told where.
        hierarchies = [
            one
            for one in _GROUPS.iterdir()
            if one.is_mount() and not one.is_symlink() and one.name != "cpuset"
        ]
    groups = [hierarchy / name for hierarchy in hierarchies]
    for group in groups:
        group.mkdir()
    return groups


def _remove(group: Path) -> None:
    """Its groups, the inner ones first; its processes are ending."""
    deadline = time.monotonic() + 10
    while group.exists() and time.monotonic() < deadline:
        for folder, _, _ in os.walk(group, topdown=False):
            with suppress(OSError):
                Path(folder).rmdir()
        time.sleep(0.02)
