"""What is said of a state folder that an agent cannot work with: one line, and what to do."""

from __future__ import annotations

import errno
import os
import pwd
from pathlib import Path

from edgeqa.errors import ConfigError

# What containers put there, of Docker and of Podman.
_CONTAINER_MARKS = (Path("/.dockerenv"), Path("/run/.containerenv"))
# Files of the agent's beside those that the store opens itself; others are left alone.
_OTHERS_PARTS = ("outbox.sqlite", "outbox.sqlite-wal", "outbox.sqlite-shm", "clock.json",
                 "identity", "identity/renewed.pem")  # fmt: skip
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_DENIED = frozenset({errno.EACCES, errno.EPERM})


def unusable(folder: Path, error: OSError) -> ConfigError:
    """`store_unusable`, with the reason.

    Args:
        folder: of the agent.
        error: what the disk said.
    """
    place = Path(os.fsdecode(error.filename)) if error.filename else folder
    if error.errno == errno.EROFS:
        what = (
            f"its disk is read-only: {_mount(folder)}, or mend the disk if it became read-only by "
            "itself"
        )
    elif error.errno in _FULL:
        what = f"its disk is full: free some room on it ({_mib_free(folder)} MiB are free)"
    elif error.errno in _DENIED:
        what = _denied(folder, place)
    elif error.errno in {errno.ENOTDIR, errno.EEXIST}:
        what = f"{place} is in its way and no folder: move it away, or name another"
    else:
        what = f"{place}: {error.strerror or error}; name one that the agent may write to"
    return ConfigError(f"the state folder {folder} cannot be used: {what}", code="store_unusable")


def check_parts(folder: Path) -> None:
    """Whether the agent may use what lies there already.

    Raises:
        PermissionError: not, as after a run by another user.
    """
    for name in _OTHERS_PARTS:
        part = folder / name
        if os.path.lexists(part) and not os.access(part, os.R_OK | os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(part))


def is_lost_with_the_container(folder: Path) -> bool:
    """Whether what is written there goes with the container, as no volume is mounted."""
    if not any(mark.exists() for mark in _CONTAINER_MARKS):
        return False
    try:
        return folder.stat().st_dev == Path("/").stat().st_dev
    except OSError:
        return False


def _denied(folder: Path, place: Path) -> str:
    # os.path's says no, where Path's raises, of what lies in a folder that we may not look into.
    found = (one for one in (place, *place.parents) if os.path.exists(one))  # noqa: PTH110
    there = next(found, Path("/"))
    user, group = os.geteuid(), os.getegid()
    try:
        owner = there.stat().st_uid
    except OSError:
        return f"{place}: {os.strerror(errno.EACCES)}; name one that the agent may write to"
    us = f"the agent runs as {_name(user)}"
    if there not in {folder, *folder.parents} or there == folder:
        if owner == user:
            return f"{there} may not be written by its owner: chmod -R u+rwX {folder}"
        return (
            f"{there} belongs to {_name(owner)}, and {us}: chown -R {user}:{group} {folder} (of a "
            "container: the folder on the host that is mounted there)"
        )
    return (
        f"it is not there, and {us}, who may not write to {there}: "
        f"install -d -m 700 -o {user} -g {group} {folder}; in a container, {_mount(folder)}"
    )


def _mount(folder: Path) -> str:
    return f"mount a volume at {folder} that may be written to"


def _name(user: int) -> str:
    try:
        return f"{pwd.getpwuid(user).pw_name} (uid {user})"
    except KeyError:
        return f"uid {user}"


def _mib_free(folder: Path) -> int:
    there = next((one for one in (folder, *folder.parents) if one.exists()), Path("/"))
    try:
        disk = os.statvfs(there)
    except OSError:
        return 0
    return disk.f_bavail * disk.f_frsize >> 20
