"""Disks that are full, become full, or fail while a package is fetched."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.fetching import TINY, WEIGHTS, Fetcher
from support.repository import Repository, make_package, make_repository

from edgeqa_agent.fetch import FetchError, FetchLimits


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """With tiny 1.0.0; tests do not change it."""
    folder = tmp_path_factory.mktemp("repository")
    return make_repository(folder, make_package(folder, files={"model.onnx": WEIGHTS}))


@pytest.fixture
def url(repository: Repository) -> str:
    return repository.path.as_uri()


@pytest.fixture
def device(repository: Repository, tmp_path: Path) -> Fetcher:
    return Fetcher(tmp_path / "device", repository.root)


def size(device: Fetcher) -> int:
    return sum(path.stat().st_size for path in device.into.iterdir())


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Makes disks have so many bytes free."""

    def free(count: int) -> None:
        monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_bavail=count, f_frsize=1))

    return free


def test_room_is_looked_for_before_anything_is_fetched(
    device: Fetcher, url: str, room: Callable[[int], None]
) -> None:
    device.fetch(url)
    total = size(device)
    for path in device.into.iterdir():
        path.unlink()
    device.limits = FetchLimits(reserve_bytes=1000)
    room(total + 999)
    assert device.refused(url) == "disk_full"
    assert f"{total} bytes are missing" in str(device.error)
    assert list(device.into.iterdir()) == []
    room(total + 1000)
    device.fetch(url)


def test_only_what_is_missing_needs_room(
    device: Fetcher, url: str, room: Callable[[int], None]
) -> None:
    device.fetch(url)
    (device.into / "model.onnx").unlink()
    (device.into / ".model.onnx.part").write_bytes(WEIGHTS[:200_000])
    room(99_999)
    assert device.refused(url) == "disk_full"
    assert (device.into / ".model.onnx.part").stat().st_size == 200_000
    room(100_000)
    device.fetch(url)
    room(0)
    device.fetch(url)


def test_leftovers_of_other_packages_are_removed_before_room_is_looked_for(
    device: Fetcher, url: str, room: Callable[[int], None]
) -> None:
    device.fetch(url)
    (device.into / "tokenizer.json").unlink()
    (device.into / "other").write_bytes(b"x" * 100)
    room(2)
    device.fetch(url)


@pytest.mark.parametrize(
    "number", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EFBIG]
)
@pytest.mark.parametrize("call", ["pwrite", "fsync"])
def test_a_disk_that_fails_in_the_middle(
    call: str,
    number: int,
    device: Fetcher,
    url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    full = number in {errno.ENOSPC, errno.EDQUOT}
    device.fetch(url)
    (device.into / "model.onnx").unlink()
    true = getattr(os, call)
    calls = 0

    def failing(*arguments: object) -> object:
        nonlocal calls
        calls += 1
        if call == "fsync" or calls == 3:
            raise OSError(number, os.strerror(number))
        return true(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(os, call, failing)
        assert device.refused(url) == ("disk_full" if full else "store_failed")
    assert os.strerror(number) in str(device.error)
    left = [path for path in device.into.iterdir() if "model.onnx" in path.name]
    assert (left == []) == full, "a full disk gets its room back"
    assert not (device.into / "model.onnx").exists()
    device.fetch(url)


def test_short_writes_are_completed(
    device: Fetcher, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    true = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda handle, data, at: true(handle, data[:1000], at))
    device.fetch(url)


def test_a_folder_that_is_gone(device: Fetcher, url: str) -> None:
    repository = device.repository(url)
    with pytest.raises(FetchError, match="No such file") as caught:
        repository.fetch(TINY, device.folder / "gone", progress=lambda *_: None, stop=device.stop)
    assert caught.value.code == "store_failed"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 256 KiB, where the tests may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("file systems cannot be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_real_disk_that_is_too_small(
    repository: Repository, url: str, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = Fetcher(small_disk, repository.root)
    assert device.refused(url) == "disk_full"
    with monkeypatch.context() as patch:  # somebody else fills it while we fetch
        patch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_bavail=1 << 30, f_frsize=1))
        assert device.refused(url) == "disk_full"
    assert "No space left" in str(device.error)
    assert [path.name for path in device.into.iterdir() if "model" in path.name] == []
    assert os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize > 200_000
