"""Output folders that appear whole or not at all.

Every command of the workshop that leaves a folder behind writes it beside its final place, syncs
it and renames it; an error, a full disk or a Ctrl-C in between leaves nothing.
"""

from __future__ import annotations

import errno
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgeqa.errors import ConfigError
from edgeqa.files import sync_folder

_MODE = 0o755  # mkdtemp makes folders private; a package is read by the agent's own user


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Give a temporary folder that becomes `path` when the block ends well.

    Files inside must be written through `edgeqa.files` (or synced otherwise) to be durable.

    Raises:
        ConfigError: `path` exists already (`output_exists`), or the disk is full or the place
            not writable (`output_unwritable`); nothing is left behind.
    """
    if path.exists() or path.is_symlink():  # a link to nowhere too is somebody's
        raise ConfigError(f"{path} exists already; delete it or name another", code="output_exists")
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
        yield temporary
        temporary.chmod(_MODE)
        sync_folder(temporary)
        temporary.rename(path)
        sync_folder(path.parent)
    except OSError as error:
        _remove(temporary)
        reason = "the disk is full" if error.errno == errno.ENOSPC else error.strerror
        raise ConfigError(
            f"{path}: cannot be written: {reason}{_elsewhere(error, temporary)}",
            code="output_unwritable",
        ) from error
    except BaseException:  # Ctrl-C too must leave nothing behind
        _remove(temporary)
        raise


def _elsewhere(error: OSError, temporary: Path | None) -> str:
    """Which file, where it is not one of ours: the disk that is full may be that of /tmp."""
    name = error.filename
    if not isinstance(name, str) or temporary is None or Path(name).is_relative_to(temporary):
        return ""
    return f" ({name})"


def _remove(folder: Path | None) -> None:
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)
