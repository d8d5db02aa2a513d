"""The store on real disks that are full, read-only or somebody else's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.stores import Device

from edgeqa.errors import ConfigError
from edgeqa_agent.store import StoreError

SUPPORT = Path(__file__).parents[1]
ALONE = ["unshare", "--user", "--map-root-user", "--mount"]


def may_mount() -> bool:
    """Whether this system lets a process have mounts of its own."""
    try:
        done = subprocess.run([*ALONE, sys.executable, "-c", ""], capture_output=True, check=False)
    except OSError:
        return False
    return done.returncode == 0


@pytest.mark.skipif(not may_mount(), reason="needs user namespaces")
def test_disk_that_is_full_and_then_read_only(tmp_path: Path) -> None:
    device = Device(tmp_path / "device")
    device.package("1.0.0")
    disk = tmp_path / "disk"
    disk.mkdir()
    done = subprocess.run(
        [*ALONE, sys.executable, "-m", "support.small_disk", disk, device.package("2.0.0"),
         device.embedded[0]],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(SUPPORT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
@pytest.mark.parametrize("part", [".", "packages", "staging", "trash"])
def test_folder_that_may_not_be_written_to(part: str, tmp_path: Path) -> None:
    device = Device(tmp_path)
    device.open().close()
    (device.folder / part).chmod(0o500)
    try:
        with pytest.raises(ConfigError) as error:
            device.open()
    finally:
        (device.folder / part).chmod(0o700)
    assert error.value.code == "store_unusable"


def test_a_failed_sync_takes_the_file_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder's sync fails when the new file is in its place already."""
    device = Device(tmp_path)
    store = device.open()
    assert store.accept_command(1)
    before = (device.folder / "state.json").read_bytes()
    synced = os.fsync
    calls = iter(range(10))

    def second_fails(handle: int) -> None:
        if next(calls) == 1:
            raise OSError(5, "Input/output error")
        synced(handle)

    monkeypatch.setattr(os, "fsync", second_fails)
    with pytest.raises(StoreError, match="Input/output error") as error:
        store.accept_command(2)
    assert error.value.code == "store_failed"
    assert (device.folder / "state.json").read_bytes() == before
    assert store.accept_command(2)
