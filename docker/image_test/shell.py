"""Running programs: what they say is only shown where they fail."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

_SHOWN_LINES = 25


class ImageTestError(Exception):
    """Something is not as it must be; the message says what and, where it can, what to do."""


def run(
    command: Sequence[str | Path],
    *,
    log: Path | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> str:
    """Run a program to its end; what it wrote on standard output.

    Args:
        command: and its arguments.
        log: file for both its outputs; nothing is returned then.
        env: instead of this process's environment.
        cwd: folder to run it in.

    Raises:
        ImageTestError: it failed; with the last lines of what it said.
    """
    words = [str(word) for word in command]
    if log is None:
        done = subprocess.run(words, capture_output=True, text=True, env=env, cwd=cwd, check=False)
        said = done.stderr or done.stdout
    else:
        with log.open("w", encoding="utf-8") as file:
            done = subprocess.run(
                words, stdout=file, stderr=file, text=True, env=env, cwd=cwd, check=False
            )
        said = log.read_text(encoding="utf-8", errors="replace")
    if done.returncode:
        last = "\n".join(said.splitlines()[-_SHOWN_LINES:])
        raise ImageTestError(f"`{' '.join(words[:6])} …` ended with {done.returncode}:\n{last}")
    return done.stdout if log is None else ""


def require(programs: Mapping[str, str]) -> None:
    """Check that programs are there.

    Args:
        programs: name to Debian package.

    Raises:
        ImageTestError: some are not.
    """
    missing = [name for name in programs if shutil.which(name, path=search_path()) is None]
    if missing:
        packages = " ".join(sorted({programs[name] for name in missing}))
        raise ImageTestError(f"{', '.join(missing)} missing: apt-get install {packages}")


def search_path() -> str:
    """PATH with what Debian keeps from ordinary users."""
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
