"""Another version, in an environment of its own beside the one that runs.

A service has two environments and runs from one. The other is made anew for the next version, while
the service goes on; then that version's own `install` points the unit at itself and restarts. If it
does not come up, the unit is as before and the version before runs again.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from edgeqa.installing.errors import InstallError
from edgeqa.installing.place import Place
from edgeqa.installing.service import Service
from edgeqa.installing.steps import Say

# A wheel of onnxruntime over a slow line.
_PIP_TIMEOUT_S = 3600.0
_INSTALL_TIMEOUT_S = 3000.0
_PROGRAM = re.compile(r"^ExecStart=(\S+)", re.MULTILINE)
_VERSION = re.compile(r"\d[0-9A-Za-z.+!-]*\Z")


def upgrade(service: Service, role: str, what: str | None, say: Say) -> None:
    """Install a version into the environment that is not in use, and change over to it.

    Args:
        service: which.
        role: the extra, and the command: `agent`, `cloud`.
        what: a version, a wheel or a folder; None: the newest of the package index.
        say: told of each step.

    Raises:
        InstallError: the version before runs, as it did.
    """
    current, other = slots_of(service)
    wanted = requirement(role, what)
    python = Place().resolved(current / "bin" / "python")
    aside = other.with_name(f"{other.name}.before")
    try:
        say("make", f"{other}/, for {wanted}")
        _set_aside(other, aside)
        _must([str(python), "-m", "venv", str(other)])
        pip = [str(other / "bin" / "python"), "-m", "pip", "install", "--quiet"]
        _must([*pip, "--disable-pip-version-check", wanted])
        change_over(role, other)
    except BaseException:
        _bring_back(other, aside)
        raise
    shutil.rmtree(aside, ignore_errors=True)
    say("note", f"to go back to what ran before: {other / 'bin/edgeqa'} {role} upgrade --back")


def _set_aside(folder: Path, aside: Path) -> None:
    """Out of the way, but not gone: it works again under its own name alone."""
    if aside.exists():
        # An upgrade was cut off, by the power perhaps. What it had begun is of no use to anybody.
        _bring_back(folder, aside)
    if folder.exists():
        folder.rename(aside)


def _bring_back(folder: Path, aside: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    if aside.exists():
        aside.rename(folder)


def back(service: Service, role: str) -> None:
    """Change over to the version before.

    Raises:
        InstallError: there is none, or it does not come up; what ran runs.
    """
    _, other = slots_of(service)
    if not (other / "bin" / "edgeqa").is_file():
        raise InstallError(f"there is no version before: {other} is empty", code="no_way_back")
    change_over(role, other)


def slots_of(service: Service) -> tuple[Path, Path]:
    """The environment that the unit runs from, and the other one.

    Raises:
        InstallError: the service is not installed, or runs from elsewhere.
    """
    file = service.systemd(Place()).file
    if not file.is_file():
        raise InstallError(f"{file} is not there: install first", code="not_installed")
    found = _PROGRAM.search(file.read_text(encoding="utf-8"))
    program = Path(found[1]) if found else file
    first, second = service.slots
    if program.is_relative_to(first):
        return first, second
    if program.is_relative_to(second):
        return second, first
    raise InstallError(
        f"{file} runs {program}, which is in neither {first} nor {second}; upgrade it as you "
        "installed it",
        code="not_installed",
    )


def requirement(role: str, what: str | None) -> str:
    """What pip is to install.

    Raises:
        InstallError: neither a version nor a file.
    """
    if what is None:
        return f"edgeqa[{role}]"
    path = Path(what)
    if path.exists():
        return f"edgeqa[{role}] @ {path.absolute().as_uri()}"
    if _VERSION.match(what):
        return f"edgeqa[{role}]=={what}"
    raise InstallError(f"{what} is no file here, and no version")


def change_over(role: str, slot: Path) -> None:
    """Have the version in an environment install itself over the one that runs.

    Raises:
        InstallError: it refused or did not come up, as its own line says.
    """
    command = [str(slot / "bin" / "edgeqa"), role, "install"]
    done = subprocess.run(command, check=False, timeout=_INSTALL_TIMEOUT_S)
    if done.returncode != 0:
        raise InstallError(
            f"the version in {slot} did not take over: it ended with {done.returncode}; the one "
            "before is in place",
            code="upgrade_failed",
        )


def _must(command: Sequence[str]) -> None:
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_PIP_TIMEOUT_S,
            check=False,
            env={**os.environ, "PIP_ROOT_USER_ACTION": "ignore"},
        )
    except subprocess.TimeoutExpired as error:
        raise InstallError(
            f"`{' '.join(command)}` took longer than {_PIP_TIMEOUT_S:.0f} s"
        ) from error
    if done.returncode != 0:
        lines = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        said = next(
            (line for line in reversed(lines) if "ERROR" in line), lines[-1] if lines else ""
        )
        raise InstallError(f"`{' '.join(command)}` failed: {said}", code="upgrade_failed")
