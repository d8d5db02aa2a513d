"""A store on a disk of one megabyte that is full, and then read-only; exits 0 if all is well.

    unshare -Urm python -m support.small_disk FOLDER NEW EMBEDDED

mounts the disk over FOLDER, which nobody outside sees and which goes with the process.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from edgeqa.errors import ConfigError
from edgeqa.messages import Fault
from edgeqa.model_messages import ModelState
from edgeqa_agent.store import StoreError
from support.kill_store import obtain, open_store, record


def run(*words: object) -> None:
    """A command that must succeed."""
    subprocess.run([str(word) for word in words], check=True)


def fill(path: Path) -> None:
    """Leave not a byte."""
    with path.open("ab", buffering=0) as file:
        for size in (4096, 1):
            with suppress(OSError):
                while file.write(bytes(size)):
                    pass


def refused(code: str, act: Callable[[], object]) -> None:
    """The call must fail so."""
    with pytest.raises((StoreError, ConfigError)) as error:
        act()
    assert error.value.code == code, error.value
    assert "\n" not in str(error.value)


def full(folder: Path, new: Path, embedded: Path) -> None:
    """Nothing new comes in; what happened can be noted, and room be made."""
    store = open_store(folder, embedded)
    current = obtain(store, new.with_name("tiny-1.0.0"))
    store.activate(current, record(current))
    fill(folder.parent / "others")
    refused("disk_full", lambda: obtain(store, new))
    assert store.state.current == current.ref
    store.record_wish(record(current, ModelState.FAILED))
    for number in range(1, 30):
        assert store.accept_command(number)
        fill(folder.parent / "others")
    store.close()
    store = open_store(folder, embedded)
    assert store.state.command_number == 29
    package = next(store.boot_order())
    assert package == current
    store.loading(package)
    store.ready(package)
    store.prune(keep_quota=False)
    (folder.parent / "others").unlink()
    package = obtain(store, new)
    store.activate(package, record(package))
    store.close()


def full_from_the_start(folder: Path, embedded: Path) -> None:
    """There is no room for a reserve; it is made when there is."""
    fill(folder.parent / "others")
    store = open_store(folder, embedded)
    refused("disk_full", lambda: store.accept_command(1))
    assert next(store.boot_order()).manifest.name == "base"
    store.close()
    (folder.parent / "others").unlink()
    open_store(folder, embedded).close()
    assert (folder / "reserve").stat().st_size > 0


def read_only(folder: Path, embedded: Path) -> None:
    """A disk that becomes read-only while the agent runs, as after an error of the file system."""
    store = open_store(folder, embedded)
    before, package = store.state, next(store.boot_order())
    base = store.find("base", "0.1.0", None)
    assert base is not None
    # A second mount over the first: one with a file open for writing cannot be made read-only.
    run("mount", "--bind", folder.parent, folder.parent)
    run("mount", "-o", "remount,bind,ro", folder.parent)
    refused("store_failed", lambda: store.activate(base, None))
    refused("store_failed", lambda: store.accept_command(100))
    refused("store_failed", lambda: store.loading(package))
    refused("store_failed", lambda: store.staging("tiny", "9.0.0"))
    refused("store_failed", lambda: store.step_back(reason=Fault(code="c", message="m")))
    assert store.state == before
    assert next(store.boot_order()) == package
    store.close()
    refused("store_unusable", lambda: open_store(folder, embedded))
    run("umount", folder.parent)
    again = open_store(folder, embedded)
    assert again.state == before
    again.close()


def main() -> None:
    """See the module."""
    disk, new, embedded = (Path(one) for one in sys.argv[1:])
    run("mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk)
    os.chdir("/")
    full_from_the_start(disk / "state", embedded)
    full(disk / "state", new, embedded)
    read_only(disk / "state", embedded)


if __name__ == "__main__":
    main()
