"""Changes to files and folders that know their way back."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path

from edgeqa.files import sync_folder, write_atomic
from edgeqa.installing.undo import Undo


def make_parents(path: Path, undo: Undo) -> None:
    """The folders above a path."""
    for folder in reversed([one for one in path.parents if not one.exists()]):
        undo.add(str(folder), functools.partial(_remove_folder, folder))
        folder.mkdir(mode=0o755)
        sync_folder(folder.parent)


def _remove_folder(folder: Path) -> None:
    if folder.exists():
        folder.rmdir()


def own_all(folder: Path, ids: tuple[int, int], undo: Undo) -> None:
    """Give a folder to somebody, with all in it where it is another's, as systemd would."""
    state = folder.stat()
    inside = sorted(folder.rglob("*")) if state.st_uid != ids[0] else []
    for path in (folder, *inside):
        before = path.lstat()
        undo.add(str(path), functools.partial(_restore, path, before))
        os.chown(path, *ids, follow_symlinks=False)


def _restore(path: Path, before: os.stat_result) -> None:
    os.chown(path, before.st_uid, before.st_gid, follow_symlinks=False)
    if not path.is_symlink():
        path.chmod(before.st_mode & 0o7777)


def way_back(path: Path) -> Callable[[], None]:
    """How to bring a file or link back as it is now, or to be rid of one that is not there yet."""
    if path.is_symlink():
        target = path.readlink()

        def relink() -> None:
            path.unlink(missing_ok=True)
            path.symlink_to(target)

        return relink
    if not path.exists():
        return lambda: path.unlink(missing_ok=True)
    content, state = path.read_bytes(), path.stat()
    return lambda: write_atomic(
        path, content, mode=state.st_mode & 0o7777, owner=(state.st_uid, state.st_gid)
    )
