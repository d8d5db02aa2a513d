"""Commands that are killed at any write leave a repository that devices and commands can use."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.repository import Device, Repository, make_package, make_repository, serve

SUPPORT = Path(__file__).parents[1]


def killed(base: Path, out: Path, *command: object) -> list[Repository]:
    """What is left after a kill before each write; the last one was not killed."""
    done = subprocess.run(
        [sys.executable, "-m", "support.kill_repository", base, out, *map(str, command)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(SUPPORT)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    folders = sorted(out.iterdir(), key=lambda path: int(path.name))
    return [Repository(folder / "repo", folder / "keys") for folder in folders]


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """With tiny 1.0.0."""
    make_repository(tmp_path / "base", make_package(tmp_path / "packages"))
    return tmp_path / "base"


def device_that_knew(base: Path, folder: Path) -> Device:
    repository = Repository(base / "repo", base / "keys")
    device = Device(folder, repository.root)
    with serve(repository.path) as url:
        device.refresh(url)
    return device


def test_publishing(base: Path, tmp_path: Path) -> None:
    new = make_package(tmp_path, "tiny", "2.0.0")
    left = killed(base, tmp_path / "out", "publish", new)
    assert len(left) == 4 + 3 + 1, "four files, three metadata, and one that ran through"
    for number, repository in enumerate(left):
        old = device_that_knew(base, tmp_path / f"old {number}")
        fresh = Device(tmp_path / f"fresh {number}", repository.root)
        ran_through = repository is left[-1]
        with serve(repository.path) as url:
            for device in (old, fresh):
                device.fetch(url)
                assert device.offers(url, "tiny", "2.0.0") == ran_through
            assert repository.run("status", "--verify").exit_code == 0
            repository.publish(new)
            for device in (old, fresh):
                device.fetch(url, "tiny", "2.0.0")
        assert repository.run("status", "--verify").exit_code == 0
        assert not [path for path in repository.path.rglob(".*") if path.name != ".lock"]


@pytest.mark.parametrize("role", ["root", "targets", "snapshot", "timestamp"])
def test_rotating(role: str, base: Path, tmp_path: Path) -> None:
    left = killed(base, tmp_path / "out", "rotate", role)
    assert len(left) >= 3
    for number, repository in enumerate(left):
        old = device_that_knew(base, tmp_path / f"old {number}")
        fresh = Device(tmp_path / f"fresh {number}", repository.root)
        with serve(repository.path) as url:
            for device in (old, fresh):
                device.fetch(url)
            done = repository.run("sign", "--yes")
            assert done.exit_code == 0, done.stderr
            for device in (old, fresh):
                device.fetch(url)
        assert repository.run("status").exit_code == 0
        assert repository.run("rotate", role, "--no-passphrase").exit_code == 0


@pytest.mark.parametrize("role", ["targets", "snapshot", "timestamp"])
def test_rotating_a_key_that_is_lost(role: str, base: Path, tmp_path: Path) -> None:
    """Without the old key there is a moment in which devices must wait; it can be ended."""
    for number, repository in enumerate(killed(base, tmp_path / "out", "rotate", role, "lost")):
        device = device_that_knew(base, tmp_path / f"device {number}")
        done = repository.run("sign", "--yes")
        if done.code == "key_missing":  # killed before the new root was staged
            done = repository.run("rotate", role, "--no-passphrase")
        assert done.exit_code == 0, done.stderr
        repository.run("sign", "--yes")
        if repository.run("status").exit_code != 0:
            raise AssertionError(repository.run("status").stdout)
        with serve(repository.path) as url:
            device.fetch(url)


def test_renewing(base: Path, tmp_path: Path) -> None:
    left = killed(base, tmp_path / "out", "sign")
    assert len(left) == 2
    for number, repository in enumerate(left):
        with serve(repository.path) as url:
            device_that_knew(base, tmp_path / f"device {number}").fetch(url)
        assert repository.run("sign").exit_code == 0
