"""What is said where a library is there and does not load: wheels, or an image, of another machine.

A virtual environment that was copied from a PC to a Raspberry Pi looks whole, until the first
library in machine code is loaded.
"""

from __future__ import annotations

import importlib.util
import platform
import sys
from pathlib import Path

from edgeqa.errors import ConfigError

_MAX_REASON_CHARS = 200


class InstallationError(ConfigError):
    """A library does not load on this machine."""

    code = "installation_broken"


def installation_error(error: ImportError | OSError) -> InstallationError:
    """What an import that failed means."""
    # Some libraries wrap what the loader said into a page of advice.
    root: BaseException = error
    while root.__cause__ is not None:
        root = root.__cause__
    lines = [line.strip() for line in str(root).splitlines() if line.strip()]
    reason = lines[0][:_MAX_REASON_CHARS] if lines else type(root).__name__
    library = _library(root) or _library(error) or "a library"
    return InstallationError(
        f"{library} does not load on this machine ({machine()}): {reason}; install what was made "
        "for it: the image of this architecture, or a new virtual environment and `pip install` on "
        "this machine"
    )


def _library(error: BaseException) -> str | None:
    """The package that the error is about: of a file in machine code, where that lies."""
    path, name = getattr(error, "path", None), getattr(error, "name", None)
    if isinstance(path, str):
        inside = [
            Path(path).relative_to(folder)
            for folder in sys.path
            if folder and Path(path).is_relative_to(folder)
        ]
        if inside:
            return min(inside, key=lambda one: len(one.parts)).parts[0]
    return name.partition(".")[0] if isinstance(name, str) else None


def machine() -> str:
    """Architecture and Python, for people."""
    return f"{platform.machine()}, Python {platform.python_version()}"


def is_broken(error: ImportError) -> bool:
    """Whether what cannot be imported is installed, at least in part."""
    top, dot, _ = (error.name or "").partition(".")
    if top.startswith("edgeqa"):
        return False  # that is a bug
    if not isinstance(error, ModuleNotFoundError):
        return True
    try:
        return bool(dot) and importlib.util.find_spec(top) is not None
    except (ImportError, ValueError):
        return False
