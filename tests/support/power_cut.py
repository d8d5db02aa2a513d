"""Faults in the disk work of this process: killed, cut from power, or refused at the n-th step.

`Disk` sees every change of files that Python code makes here: names by an audit hook, which no
code gets around, contents at `os.write`, `os.posix_fallocate` and `os.fdopen`, and `os.fsync`. At
the step it was made for it

- `KILL`s this process: what was written stays, as after a crash or the kernel's OOM killer;
- `CUT`s the power: takes back all that was not synced, then kills. Contents that were not synced
  are cut in half, names that were not synced in their folder are as before; a name in two folders
  (a rename) counts as synced when both are;
- cuts the power when the disk has been told later things before earlier ones (`CUT_MIXED`): of what
  was not synced only renames are taken back, not the files made or removed since;
- or fails with an errno: `ENOSPC` and `EROFS` from that step on, `EIO` once.

A write is two steps: before it, and when half of it is written. Syncs are not passed on to the
kernel, which makes tests quick: a killed process loses nothing of what the kernel has.

For child processes only; an audit hook cannot be taken back.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

KILL, CUT, CUT_MIXED = "KILL", "CUT", "CUT_MIXED"
ENDS = (KILL, CUT, CUT_MIXED)

_Folder = tuple[int, int]
_NEEDS_ROOM = {"create", "write", "half write", "mkdir", "allocate"}

# The real ones, for what is done behind the hook's back.
_open, _write, _fsync, _fdopen = os.open, os.write, os.fsync, os.fdopen
_allocate = os.posix_fallocate


@dataclass
class _Unsynced:
    """A change of names that a power cut takes back."""

    take_back: Callable[[], None]
    folders: set[_Folder]
    is_rename: bool


class Disk:
    """The disk of this process from `install` on.

    Attributes:
        steps: what was done so far.
    """

    def __init__(self, *, at: int, fault: str, spare: Path) -> None:
        self.steps: list[str] = []
        self._at = at
        self._fault = fault
        self._spare = spare  # keeps what was removed, for a power cut to bring back
        self._unsynced: list[_Unsynced] = []
        self._dirty: dict[tuple[int, int], int] = {}
        self._hidden = True

    def install(self) -> None:
        """From here on everything counts."""
        self._spare.mkdir()
        sys.addaudithook(self._audit)
        os.write = self._written
        os.fsync = self._synced
        os.posix_fallocate = self._allocated
        os.fdopen = lambda handle, *_, **__: io.BufferedWriter(_Raw(handle))  # type: ignore[assignment]  # only for writing, as in `files`
        self._hidden = False

    def mend(self) -> None:
        """No faults any more."""
        self._hidden = True

    # -- steps

    def _step(self, what: str) -> None:
        number = len(self.steps)
        self.steps.append(what)
        if self._fault in ENDS:
            if number == self._at:
                self._die()
            return
        if self._fault == "EIO":
            fails = number == self._at
        elif self._fault == "ENOSPC":
            fails = number >= self._at and what in _NEEDS_ROOM
        else:
            fails = number >= self._at
        if fails:
            code = getattr(errno, self._fault)
            raise OSError(code, os.strerror(code))

    def _die(self) -> NoReturn:
        self._hidden = True
        if self._fault in {CUT, CUT_MIXED}:
            for handle in self._dirty.values():
                os.truncate(f"/proc/self/fd/{handle}", os.fstat(handle).st_size // 2)
            for change in reversed(self._unsynced):
                if self._fault == CUT_MIXED and not change.is_rename:
                    continue
                # What was noted before it was done may not have been done.
                with contextlib.suppress(OSError):
                    change.take_back()
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError

    # -- names

    def _audit(self, event: str, args: tuple[Any, ...]) -> None:
        if self._hidden or event not in _EVENTS:
            return
        self._hidden = True
        try:
            _EVENTS[event](self, *args)
        finally:
            self._hidden = False

    def _opened(self, path: Any, _mode: Any, flags: int) -> None:
        if not isinstance(path, (str, os.PathLike)) or not flags & (os.O_WRONLY | os.O_RDWR):
            return
        if flags & os.O_CREAT and not Path(path).exists():
            self._step("create")
            folder, name = _parent(path)
            self._note(lambda: os.unlink(name, dir_fd=folder), folder)

    def _made(self, path: Any, _mode: int, dir_fd: int) -> None:
        if Path(path).is_dir():
            return  # and fails, as it may
        self._step("mkdir")
        folder, name = _parent(path, dir_fd)
        self._note(lambda: _remove_tree(folder, name), folder)

    def _renamed(self, old: Any, new: Any, old_fd: int, new_fd: int) -> None:
        self._step("rename")
        source, before = _parent(old, old_fd)
        target, after = _parent(new, new_fd)
        replaced = self._keep(target, after)

        def take_back() -> None:
            os.rename(after, before, src_dir_fd=target, dst_dir_fd=source)
            if replaced:
                os.rename(replaced, after, dst_dir_fd=target)

        self._note(take_back, source, target, is_rename=True)

    def _removed(self, path: Any, dir_fd: int) -> None:
        self._step("remove")
        folder, name = _parent(path, dir_fd)
        kept = self._keep(folder, name)
        if kept:
            self._note(lambda: os.rename(kept, name, dst_dir_fd=folder), folder)

    def _unmade(self, path: Any, dir_fd: int) -> None:
        self._step("rmdir")
        folder, name = _parent(path, dir_fd)
        self._note(lambda: os.mkdir(name, dir_fd=folder), folder)

    def _keep(self, folder: int, name: str) -> Path | None:
        kept = self._spare / str(len(self.steps))
        try:
            os.link(name, kept, src_dir_fd=folder, follow_symlinks=False)
        except OSError:
            return None  # nothing there, or a folder
        return kept

    def _note(self, take_back: Callable[[], None], *folders: int, is_rename: bool = False) -> None:
        identities = {_identity(one) for one in folders}
        self._unsynced.append(_Unsynced(take_back, identities, is_rename))

    # -- contents

    def _written(self, handle: int, content: Any) -> int:
        if self._hidden:
            return _write(handle, content)
        raw = bytes(content)
        self._step("write")
        self._dirty.setdefault(_identity(handle), os.dup(handle))
        half = _write(handle, raw[: len(raw) // 2])
        self._step("half write")
        return half + _write(handle, raw[half:])

    def _allocated(self, handle: int, offset: int, length: int) -> None:
        if not self._hidden:
            self._step("allocate")
        _allocate(handle, offset, length)

    def _synced(self, handle: int) -> None:
        if self._hidden:
            return
        self._step("sync")
        identity = _identity(handle)
        self._dirty.pop(identity, None)
        for change in self._unsynced:
            change.folders.discard(identity)
        self._unsynced = [change for change in self._unsynced if change.folders]


class _Raw(io.RawIOBase):
    """A file whose writes pass through `os.write`."""

    def __init__(self, handle: int) -> None:
        self._handle = handle

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._handle

    def write(self, content: Any) -> int:
        return os.write(self._handle, content)

    def close(self) -> None:
        if not self.closed:
            super().close()
            os.close(self._handle)


def _parent(path: Any, dir_fd: int = -1) -> tuple[int, str]:
    """A handle of the folder, which follows it where it is moved, and the name in it."""
    head, tail = os.path.split(os.fspath(path))
    at = None if dir_fd == -1 else dir_fd
    return _open(head or ".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=at), tail


def _identity(handle: int) -> _Folder:
    found = os.fstat(handle)
    return found.st_dev, found.st_ino


def _remove_tree(folder: int, name: str) -> None:
    inside = _open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=folder)
    for one in os.listdir(inside):  # noqa: PTH208  of a handle
        try:
            os.unlink(one, dir_fd=inside)
        except IsADirectoryError:
            _remove_tree(inside, one)
    os.rmdir(name, dir_fd=folder)


_EVENTS: dict[str, Callable[..., None]] = {
    "open": Disk._opened,
    "os.mkdir": Disk._made,
    "os.rename": Disk._renamed,
    "os.remove": Disk._removed,
    "os.rmdir": Disk._unmade,
}
