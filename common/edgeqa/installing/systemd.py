"""systemd, by its own commands: enable, start, and learn why a start failed."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from edgeqa.errors import ExitCode
from edgeqa.installing.errors import InstallError
from edgeqa.installing.place import Place, call, run

UNITS = Path("/etc/systemd/system")
# A machine that was booted with systemd has this folder: sd_booted(3).
BOOTED = Path("/run/systemd/system")
# The first with back-off between restarts: NEWS of systemd 254.
BACKOFF_SINCE = 254
# Above any TimeoutStartSec and TimeoutStopSec of our units: systemd says when it is too long.
_START_TIMEOUT_S = 2400.0
_SAID_LINES = 60
# What a service that cannot succeed ends with, and 4, which is no bug either.
_KNOWN = {int(code) for code in ExitCode} - {ExitCode.OK, ExitCode.BUG}
_OUR_LINE = re.compile(r"edgeqa: (?P<said>.*) \[(?P<code>[a-z_]+)\]\Z")


@dataclass(frozen=True, slots=True)
class Systemd:
    """One unit of systemd at a place.

    Attributes:
        place: on an image only `enable` and `disable` do anything.
        unit: with its suffix.
    """

    place: Place
    unit: str

    @property
    def file(self) -> Path:
        """Of the unit, in the installed system."""
        return UNITS / self.unit

    def reload(self) -> None:
        """Have the unit's file read anew."""
        if self.place.live:
            call(["systemctl", "daemon-reload"])

    def enabled(self) -> bool:
        """Whether it starts at boot."""
        return run([*self._systemctl(), "is-enabled", self.unit]).stdout.strip() == "enabled"

    def enable(self) -> None:
        """Start at boot.

        Raises:
            InstallError: as systemctl says.
        """
        call([*self._systemctl(), "enable", self.unit])

    def disable(self) -> None:
        """Start at boot no longer; does nothing where it does not."""
        call([*self._systemctl(), "disable", self.unit])

    def active(self) -> bool:
        """Whether it runs, or tries to."""
        if not self.place.live:
            return False
        state = run(["systemctl", "is-active", self.unit]).stdout.strip()
        return state in {"active", "activating", "reloading"}

    def stop(self) -> None:
        """End it, and forget how it ended."""
        if not self.place.live:
            return
        call(["systemctl", "stop", self.unit], timeout_s=_START_TIMEOUT_S)
        run(["systemctl", "reset-failed", self.unit])

    def restart(self) -> None:
        """Start it, or start it anew, and wait until it is ready.

        Raises:
            InstallError: it is not; with what it said last, and the exit code it ended with.
        """
        run(["systemctl", "reset-failed", self.unit])  # an earlier failure counts against the limit
        done = run(["systemctl", "restart", self.unit], timeout_s=_START_TIMEOUT_S)
        if done.returncode != 0:
            raise self._failure(done.stderr)

    def _systemctl(self) -> list[str]:
        return ["systemctl"] if self.place.live else ["systemctl", f"--root={self.place.root}"]

    def _failure(self, said_by_systemctl: str) -> InstallError:
        names = "Result,ExecMainStatus,InvocationID"
        shown = run(["systemctl", "show", self.unit, "-p", names]).stdout
        fields = dict(line.partition("=")[::2] for line in shown.splitlines())
        status = int(fields.get("ExecMainStatus") or 0)
        said, code = _last_words(self._journal(fields.get("InvocationID", "")))
        ended = f"it ended with {status}" if status else fields.get("Result", "")
        said = said or f"{ended}; {' '.join(said_by_systemctl.split())}"
        return InstallError(
            f"{self.unit} does not come up: {said}",
            code=code or "service_failed",
            exit_code=ExitCode(status) if status in _KNOWN else ExitCode.BUG,
        )

    def _journal(self, invocation: str) -> list[str]:
        which = [f"_SYSTEMD_INVOCATION_ID={invocation}"] if invocation else ["-u", self.unit]
        run(["journalctl", "--sync"])
        wanted = ["-n", str(_SAID_LINES), "-o", "cat", "--no-pager", "-q"]
        return run(["journalctl", *which, *wanted]).stdout.splitlines()


def version() -> int:
    """Of systemd on this machine.

    Raises:
        InstallError: it is not there.
    """
    found = re.match(r"systemd (\d+)", call(["systemctl", "--version"]))
    return int(found[1]) if found else 0


def _last_words(lines: list[str]) -> tuple[str, str | None]:
    """What a service said of its end, and its code."""
    for line in reversed(lines):
        if found := _OUR_LINE.match(line.strip()):
            return found["said"], found["code"]
    for line in reversed(lines):
        entry = _entry(line)
        if entry.get("level") in {"error", "critical"}:
            return str(entry.get("reason") or entry.get("event")), None
    return (lines[-1].strip() if lines else ""), None


def _entry(line: str) -> dict[str, object]:
    try:
        entry = json.loads(line)
    except ValueError:
        return {}
    return entry if isinstance(entry, dict) else {}
