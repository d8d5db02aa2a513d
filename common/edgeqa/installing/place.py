"""Where it is installed: this machine, or the folder of an image that another one will run."""

from __future__ import annotations

import grp
import os
import pwd
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeqa.installing.errors import InstallError

_COMMAND_TIMEOUT_S = 60.0
# Where they are, whoever's PATH this is.
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_MOST_LINKS = 40  # path_resolution(7)


@dataclass(frozen=True, slots=True)
class Place:
    """A root folder; `/` is this machine.

    Attributes:
        root: all paths are below it.
    """

    root: Path = Path("/")

    @property
    def live(self) -> bool:
        """Whether it is this machine, so that services can be started."""
        return self.root == Path("/")

    def at(self, path: Path) -> Path:
        """Where a path of the installed system is here."""
        return self.root / path.relative_to("/")

    def resolved(self, path: Path) -> Path:
        """A path of the installed system with links followed inside it, never out of it.

        Raises:
            InstallError: links without end.
        """
        left = list(path.parts[1:])
        done = Path("/")
        links = 0
        while left:
            part = left.pop(0)
            here = done.parent if part == ".." else done / part
            if self.at(here).is_symlink():
                links += 1
                if links > _MOST_LINKS:
                    raise InstallError(f"{path}: links without end", code="program_unusable")
                target = self.at(here).readlink()
                if target.is_absolute():
                    done = Path("/")
                left = [*target.parts[1 if target.is_absolute() else 0 :], *left]
            else:
                done = here
        return done

    def user_id(self, name: str) -> int | None:
        """Of a user there; None where there is none."""
        if name == "root":
            return 0
        if self.live:
            try:
                return pwd.getpwnam(name).pw_uid
            except KeyError:
                return None
        return self._entry("passwd", name)

    def group_id(self, name: str) -> int | None:
        """Of a group there; None where there is none."""
        if name == "root":
            return 0
        if self.live:
            try:
                return grp.getgrnam(name).gr_gid
            except KeyError:
                return None
        return self._entry("group", name)

    def _entry(self, table: str, name: str) -> int | None:
        path = self.at(Path("/etc") / table)
        try:
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        except FileNotFoundError:
            return None
        fields = next((line.split(":") for line in lines if line.startswith(f"{name}:")), [])
        return int(fields[2]) if len(fields) > 2 and fields[2].isdecimal() else None  # noqa: PLR2004


def call(command: Sequence[str], *, timeout_s: float = _COMMAND_TIMEOUT_S) -> str:
    """What a command of the system prints.

    Raises:
        InstallError: it is not there, failed, or took too long; with its own words.
    """
    done = run(command, timeout_s=timeout_s)
    if done.returncode != 0:
        said = " ".join((done.stderr or done.stdout).split())
        raise InstallError(f"`{' '.join(command)}` failed with {done.returncode}: {said}")
    return done.stdout


def run(
    command: Sequence[str], *, timeout_s: float = _COMMAND_TIMEOUT_S
) -> subprocess.CompletedProcess[str]:
    """The same, however it ended.

    Raises:
        InstallError: it is not there, or took too long.
    """
    try:
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
            env={**os.environ, "PATH": _PATH, "LC_ALL": "C.UTF-8", "SYSTEMD_PAGER": ""},
        )
    except FileNotFoundError as error:
        raise InstallError(f"{command[0]} is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise InstallError(f"`{' '.join(command)}` took longer than {timeout_s:.0f} s") from error
