"""Result files of a command: refused before the work if they cannot be written, then whole.

Measuring takes minutes; a mistyped folder must not cost them.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from edgeqa.errors import ConfigError, UsageError
from edgeqa.files import write_atomic


def demand_places(*paths: Path | None) -> None:
    """Refuse result files that could not be written.

    Args:
        paths: files to be written later, some perhaps not wanted (None).

    Raises:
        ConfigError: `output_unwritable`, a folder is missing or not writable, or the file is one.
        UsageError: one file is named twice.
    """
    wanted = [path for path in paths if path is not None]
    if len({path.resolve() for path in wanted}) < len(wanted):
        raise UsageError("one file is named for two results")
    for path in wanted:
        if path.is_dir():
            raise _unwritable(path, "it is a folder")
        if not path.parent.is_dir():
            raise _unwritable(path, f"there is no folder {path.parent}")
        if not os.access(path.parent, os.W_OK):
            raise _unwritable(path, f"no permission to write in {path.parent}")


def write_result(path: Path, content: bytes) -> None:
    """Write a result file whole or not at all; an older one is replaced.

    Raises:
        ConfigError: `output_unwritable`, such as a full disk.
    """
    try:
        write_atomic(path, content)
    except OSError as error:
        reason = "the disk is full" if error.errno == errno.ENOSPC else str(error.strerror)
        raise _unwritable(path, reason) from error


def _unwritable(path: Path, reason: str) -> ConfigError:
    return ConfigError(f"{path}: cannot be written: {reason}", code="output_unwritable")
