"""What devices see of a repository: a real TUF client against a real web server."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support.repository import Device, Repository, make_package, make_repository, serve
from tuf.api.exceptions import (
    BadVersionNumberError,
    DownloadHTTPError,
    DownloadLengthMismatchError,
    ExpiredMetadataError,
    LengthOrHashMismatchError,
    RepositoryError,
    UnsignedMetadataError,
)

from edgeqa.targets import PackageSummary, target_path

ROLES = ["root", "targets", "snapshot", "timestamp"]


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """With tiny 1.0.0."""
    return make_repository(tmp_path, make_package(tmp_path / "packages"))


@pytest.fixture
def url(repository: Repository) -> Iterator[str]:
    with serve(repository.path) as url:
        yield url


@pytest.fixture
def device(repository: Repository, tmp_path: Path) -> Device:
    return Device(tmp_path / "device", repository.root)


def before(days: float) -> str:
    return f"{datetime.now(UTC) - timedelta(days=days):%Y-%m-%dT%H:%M:%SZ}"


def test_a_device_that_knows_name_and_version_gets_the_package(
    device: Device, url: str, tmp_path: Path
) -> None:
    package = device.fetch(url)
    original = tmp_path / "packages" / "tiny-1.0.0"
    assert {p.name: p.read_bytes() for p in package.path.iterdir()} == {
        p.name: p.read_bytes() for p in original.iterdir()
    }
    info = device.updater(url).get_targetinfo(target_path("tiny", "1.0.0"))
    assert info is not None
    summary = PackageSummary.model_validate(info.custom)
    assert (summary.digest, summary.architecture, summary.precision) == (
        package.digest,
        "bert",
        "int8",
    )
    assert summary.bytes == sum(path.stat().st_size for path in original.iterdir())
    assert not device.offers(url, "tiny", "9.9.9")


def test_a_device_finds_a_second_version_and_still_the_first(
    repository: Repository, device: Device, url: str, tmp_path: Path
) -> None:
    device.fetch(url)
    repository.publish(make_package(tmp_path, "tiny", "1.1.0"), make_package(tmp_path, "other"))
    for name, version in (("tiny", "1.0.0"), ("tiny", "1.1.0"), ("other", "1.0.0")):
        assert device.fetch(url, name, version).manifest.version == version


def test_after_rotating_every_role_devices_go_on_from_the_first_root(
    repository: Repository, device: Device, url: str, tmp_path: Path
) -> None:
    device.refresh(url)
    old_keys = set(repository.keys.glob("*.pem"))
    for version, role in enumerate(ROLES, start=2):
        done = repository.run("rotate", role, "--no-passphrase")
        assert done.exit_code == 0, done.stderr
        assert f"published root {version}" in done.stdout
        device.fetch(url)
        Device(tmp_path / f"fresh {role}", repository.root).fetch(url)
    for key in old_keys:
        key.unlink()
    repository.publish(make_package(tmp_path, "tiny", "2.0.0"))
    assert repository.run("rotate", "root", "--no-passphrase").exit_code == 0
    device.fetch(url, "tiny", "2.0.0")
    newest = (repository.path / "metadata" / "6.root.json").read_bytes()
    Device(tmp_path / "newest", newest).fetch(url, "tiny", "2.0.0")


@pytest.mark.parametrize("role", ROLES[1:])
def test_a_role_whose_key_is_lost_gets_a_new_one(
    role: str, repository: Repository, device: Device, url: str
) -> None:
    device.refresh(url)
    [lost] = repository.keys.glob(f"{role}-*.pem")
    lost.unlink()
    done = repository.run("rotate", role, "--no-passphrase")
    assert done.exit_code == 0, done.stderr
    device.fetch(url)


def test_a_rotation_recovers_devices_from_a_thief_who_counted_far_ahead(
    repository: Repository, device: Device, url: str, tmp_path: Path
) -> None:
    thief = repository.copy(tmp_path / "thief")
    note = json.loads((thief.keys / "repository.json").read_text())
    note["versions"] = {"root": 1, "targets": 2, "snapshot": 900, "timestamp": 900}
    (thief.keys / "repository.json").write_text(json.dumps(note))
    done = thief.run("sign", "--restored", "--role", "snapshot", "--role", "timestamp")
    assert done.exit_code == 0, done.stderr
    with serve(thief.path) as stolen:
        device.refresh(stolen)
    with pytest.raises(BadVersionNumberError):
        device.refresh(url)
    for role in ("snapshot", "timestamp"):
        assert repository.run("rotate", role, "--no-passphrase").exit_code == 0
    device.fetch(url)
    with serve(thief.path) as stolen, pytest.raises(RepositoryError):
        device.refresh(stolen)


def test_withdrawn_packages_are_not_offered(
    repository: Repository, device: Device, url: str
) -> None:
    device.refresh(url)
    assert repository.run("remove", "tiny", "1.0.0").exit_code == 0
    assert device.offers(url)
    assert repository.run("sign", "--yes").exit_code == 0
    assert not device.offers(url)


def test_a_client_in_the_middle_of_an_update_goes_on_while_the_repository_changes(
    repository: Repository, device: Device, url: str, tmp_path: Path
) -> None:
    updater = device.updater(url)
    updater._load_root()
    updater._load_timestamp()
    repository.publish(make_package(tmp_path, "tiny", "1.1.0"))
    assert repository.run("rotate", "snapshot", "--no-passphrase").exit_code == 0
    updater._load_snapshot()
    repository.publish(make_package(tmp_path, "tiny", "1.2.0"))
    updater._load_targets("targets", "root")
    info = updater.get_targetinfo(target_path("tiny", "1.0.0"))
    assert info is not None
    updater.download_target(info)
    device.fetch(url, "tiny", "1.2.0")


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("file", ["manifest.json", "model.onnx", "tokenizer.json", "checks.json"])
def test_a_flipped_bit_in_a_target_is_refused(
    file: str, repository: Repository, device: Device, url: str
) -> None:
    [path] = repository.path.glob(f"targets/tiny/1.0.0/*.{file}")
    flip(path, path.stat().st_size // 2)
    with pytest.raises(LengthOrHashMismatchError):
        device.fetch(url)


def test_a_truncated_or_lengthened_target_is_refused(
    repository: Repository, device: Device, url: str
) -> None:
    [path] = repository.path.glob("targets/tiny/1.0.0/*.model.onnx")
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    with pytest.raises(LengthOrHashMismatchError):
        device.fetch(url)
    path.write_bytes(content + b"x")
    with pytest.raises((LengthOrHashMismatchError, DownloadLengthMismatchError)):
        device.fetch(url)
    path.unlink()
    with pytest.raises(DownloadHTTPError):
        device.fetch(url)


@pytest.mark.parametrize("file", ["timestamp.json", "2.snapshot.json", "2.targets.json"])
@pytest.mark.parametrize("part", ["signature", "content"])
def test_a_flipped_bit_in_metadata_is_refused(
    file: str, part: str, repository: Repository, device: Device, url: str
) -> None:
    path = repository.path / "metadata" / file
    mark = b'"sig":"' if part == "signature" else b'"version":'
    flip(path, path.read_bytes().index(mark) + len(mark))
    with pytest.raises(RepositoryError):
        device.refresh(url)


def test_a_frozen_repository_is_refused_once_its_timestamp_expired(tmp_path: Path) -> None:
    frozen = make_repository(tmp_path, options=("--now", before(35.01)))
    device = Device(tmp_path / "device", frozen.root)
    with serve(frozen.path) as url:
        with pytest.raises(ExpiredMetadataError):
            device.refresh(url)
        assert frozen.run("sign").exit_code == 0
        device.refresh(url)


def test_an_operator_on_leave_for_five_weeks_loses_no_update(tmp_path: Path) -> None:
    repository = make_repository(tmp_path, options=("--now", before(34.9)))
    with serve(repository.path) as url:
        Device(tmp_path / "device", repository.root).refresh(url)


@pytest.mark.parametrize("files", [["timestamp.json"], ["timestamp.json", "3.snapshot.json"]])
def test_an_older_repository_is_refused(
    files: list[str], repository: Repository, device: Device, url: str, tmp_path: Path
) -> None:
    old = shutil.copytree(repository.path / "metadata", tmp_path / "old")
    repository.publish(make_package(tmp_path, "tiny", "1.1.0"))
    device.refresh(url)
    for file in files:
        if (old / file).exists():
            shutil.copy(old / file, repository.path / "metadata" / file)
    with pytest.raises(BadVersionNumberError):
        device.refresh(url)


@pytest.mark.parametrize("role", ["snapshot", "targets"])
def test_old_and_new_metadata_cannot_be_mixed(
    role: str, repository: Repository, device: Device, url: str, tmp_path: Path
) -> None:
    repository.publish(make_package(tmp_path, "tiny", "1.1.0"))
    metadata = repository.path / "metadata"
    shutil.copy(metadata / f"2.{role}.json", metadata / f"3.{role}.json")
    with pytest.raises((LengthOrHashMismatchError, DownloadLengthMismatchError)):
        device.refresh(url)


def test_metadata_of_unknown_keys_are_refused(device: Device, tmp_path: Path) -> None:
    stranger = make_repository(tmp_path / "stranger", tmp_path / "packages" / "tiny-1.0.0")
    with serve(stranger.path) as url, pytest.raises(UnsignedMetadataError):
        device.refresh(url)


def test_a_root_that_the_old_root_did_not_sign_is_refused(
    repository: Repository, device: Device, url: str, tmp_path: Path
) -> None:
    device.refresh(url)
    stranger = make_repository(tmp_path / "stranger")
    assert stranger.run("rotate", "root", "--no-passphrase").exit_code == 0
    shutil.copy(stranger.path / "metadata" / "2.root.json", repository.path / "metadata")
    with pytest.raises(UnsignedMetadataError):
        device.refresh(url)


def test_the_client_in_the_documentation_works(
    repository: Repository,
    url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    page = (Path(__file__).parents[2] / "docs" / "repository.md").read_text(encoding="utf-8")
    [code] = re.findall(r"```python\n(.+?)```", page, flags=re.DOTALL)
    code = code.replace("https://models.example.org", url)
    code = code.replace("minilm-l6-squad/0.1.2", "tiny/1.0.0")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "1.root.json").write_bytes(repository.root)
    exec(code, {})  # noqa: S102  our own page
    assert "sha256:" in capsys.readouterr().out
    assert len(list((tmp_path / "downloads").iterdir())) == 1
