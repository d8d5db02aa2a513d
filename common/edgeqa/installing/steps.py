"""The steps of an installation: each says whether it is needed, does it, and can be taken back."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from edgeqa.files import sync_folder, write_atomic
from edgeqa.installing.errors import InstallError
from edgeqa.installing.place import Place, call
from edgeqa.installing.undo import Undo
from edgeqa.installing.ways_back import make_parents, own_all, way_back

# Tells a step: what became of it, and of what.
Say = Callable[[str, str], None]


class Step(Protocol):
    """One thing to be so on the system."""

    @property
    def what(self) -> str:
        """The thing, for people."""

    def needed(self) -> str | None:
        """What has to be done, as a verb; None where it is so already."""

    def do(self, undo: Undo) -> None:
        """Do it, once `undo` knows how to take it back."""


def take(
    steps: Iterable[Step], *, undo: Undo, say: Say, dry_run: bool, settled: str = "as it is"
) -> bool:
    """Do what is needed; whether anything was.

    Args:
        steps: in their order.
        undo: learns how to take each back.
        say: told of each.
        dry_run: do nothing.
        settled: said of what needs nothing.

    Raises:
        InstallError: a step failed.
        OSError: the same.
    """
    changed = False
    for step in steps:
        verb = step.needed()
        if verb is None:
            say(settled, step.what)
            continue
        changed = True
        if dry_run:
            say(f"would {verb}", step.what)
        else:
            step.do(undo)
            say(verb, step.what)
    return changed


@dataclass(frozen=True, slots=True)
class Owned:
    """Who has a file or a folder, and who may do what with it."""

    user: str = "root"
    group: str = "root"
    mode: int = 0o644

    def ids(self, place: Place) -> tuple[int, int] | None:
        """User and group; None while one of them is yet to be made."""
        user, group = place.user_id(self.user), place.group_id(self.group)
        return None if user is None or group is None else (user, group)

    def holds_of(self, path: Path, place: Place) -> bool:
        """Whether it is so."""
        state = path.lstat()
        return (state.st_uid, state.st_gid) == self.ids(place) and (
            state.st_mode & 0o7777 == self.mode
        )

    def known_ids(self, place: Place) -> tuple[int, int]:
        """User and group.

        Raises:
            InstallError: one of them is not there.
        """
        ids = self.ids(place)
        if ids is None:
            raise InstallError(f"there is no user {self.user} with a group {self.group}")
        return ids


@dataclass(frozen=True, slots=True)
class SystemUser:
    """A user without a password, a shell or a folder that it could log in to."""

    place: Place
    name: str
    home: Path

    @property
    def what(self) -> str:
        """As in `Step`."""
        return f"user {self.name}"

    def needed(self) -> str | None:
        """As in `Step`."""
        return "make" if self.place.user_id(self.name) is None else None

    def do(self, undo: Undo) -> None:
        """As in `Step`."""
        # A group of that name that somebody made before is taken, and stays theirs.
        there = self.place.group_id(self.name) is not None
        undo.add(self.what, self._remove_user if there else self.remove)
        group = ["--gid", self.name] if there else ["--user-group"]
        home = ["--home-dir", str(self.home), "--no-create-home"]
        shell = ["--shell", "/usr/sbin/nologin"]
        call(["useradd", *self._prefix(), "--system", *group, *home, *shell, self.name])

    def remove(self) -> None:
        """Remove the user, and the group with it; does nothing where there is none."""
        self._remove_user()
        # userdel does so itself where login.defs says so, which an image need not have.
        if self.place.group_id(self.name) is not None:
            call(["groupdel", *self._prefix(), self.name])

    def _remove_user(self) -> None:
        if self.place.user_id(self.name) is not None:
            call(["userdel", *self._prefix(), self.name])

    def _prefix(self) -> list[str]:
        # Not --root: that would run what is in the image, which may be of another architecture.
        return [] if self.place.live else ["--prefix", str(self.place.root)]


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder; one that is made here is removed with all in it when it is taken back."""

    place: Place
    path: Path
    owned: Owned

    @property
    def what(self) -> str:
        """As in `Step`."""
        return f"{self.path}/"

    def needed(self) -> str | None:
        """As in `Step`."""
        here = self.place.at(self.path)
        if here.is_symlink() or (here.exists() and not here.is_dir()):
            raise InstallError(f"{self.path} is there and no folder; move it away")
        if not here.exists():
            return "make"
        return None if self.owned.holds_of(here, self.place) else "own"

    def do(self, undo: Undo) -> None:
        """As in `Step`."""
        here = self.place.at(self.path)
        ids = self.owned.known_ids(self.place)
        if here.exists():
            own_all(here, ids, undo)
        else:
            make_parents(here, undo)
            undo.add(self.what, lambda: shutil.rmtree(here) if here.exists() else None)
            here.mkdir(mode=0o700)
            sync_folder(here.parent)
            os.chown(here, *ids)
        here.chmod(self.owned.mode)


@dataclass(frozen=True, slots=True)
class File:
    """A file with just this content."""

    place: Place
    path: Path
    content: bytes
    owned: Owned

    @property
    def what(self) -> str:
        """As in `Step`."""
        return str(self.path)

    def needed(self) -> str | None:
        """As in `Step`."""
        here = self.place.at(self.path)
        if here.is_dir() and not here.is_symlink():
            raise InstallError(f"{self.path} is a folder; move it away")
        if here.is_symlink() or not here.exists():
            return "write"
        if here.read_bytes() != self.content:
            return "write"
        return None if self.owned.holds_of(here, self.place) else "own"

    def do(self, undo: Undo) -> None:
        """As in `Step`."""
        here = self.place.at(self.path)
        make_parents(here, undo)
        undo.add(self.what, way_back(here))
        owner = self.owned.known_ids(self.place)
        write_atomic(here, self.content, mode=self.owned.mode, owner=owner)


@dataclass(frozen=True, slots=True)
class Gone:
    """No file, or link, of this name."""

    place: Place
    path: Path

    @property
    def what(self) -> str:
        """As in `Step`."""
        return str(self.path)

    def needed(self) -> str | None:
        """As in `Step`."""
        here = self.place.at(self.path)
        return "remove" if here.is_symlink() or here.exists() else None

    def do(self, undo: Undo) -> None:
        """As in `Step`."""
        here = self.place.at(self.path)
        undo.add(self.what, way_back(here))
        here.unlink()
        sync_folder(here.parent)


@dataclass(frozen=True, slots=True)
class Link:
    """A link; what is there and not one of ours stays."""

    place: Place
    path: Path
    target: Path
    ours: Callable[[Path], bool]

    @property
    def what(self) -> str:
        """As in `Step`."""
        here = self.place.at(self.path)
        if self.needed() is None and not here.is_symlink():
            return f"{self.path}, which is not ours"
        target = here.readlink() if self.needed() is None else self.target
        return f"{self.path} -> {target}"

    def needed(self) -> str | None:
        """As in `Step`."""
        here = self.place.at(self.path)
        if here.is_symlink():
            before = here.readlink()
            return "link" if before != self.target and self.ours(before) else None
        return None if here.exists() else "link"

    def do(self, undo: Undo) -> None:
        """As in `Step`."""
        here = self.place.at(self.path)
        make_parents(here, undo)
        undo.add(self.what, way_back(here))
        beside = here.with_name(f".{here.name}.new")
        beside.unlink(missing_ok=True)
        beside.symlink_to(self.target)
        beside.replace(here)
        sync_folder(here.parent)
