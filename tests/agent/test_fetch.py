"""Fetching packages over HTTP and from a folder: what comes, what is refused, what lies about."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.fetching import TINY, WEIGHTS, Fetcher
from support.forge import forge_package
from support.hostile_server import Fault, HostileServer, serve_hostile
from support.repository import Repository, make_package, make_repository

from edgeqa.errors import ConfigError, ExitCode
from edgeqa.manifest import open_package
from edgeqa.model_messages import Desired
from edgeqa.repository.repository_url import parse_repository_url
from edgeqa_agent.fetch import FetchError, FetchLimits, Wanted


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """With tiny 1.0.0."""
    folder = tmp_path_factory.mktemp("template")
    package = make_package(folder / "packages", files={"model.onnx": WEIGHTS})
    return make_repository(folder, package)


@pytest.fixture
def repository(template: Repository, tmp_path: Path) -> Repository:
    return template.copy(tmp_path / "repository")


@pytest.fixture
def server(repository: Repository) -> Iterator[HostileServer]:
    with serve_hostile(repository.path) as server:
        yield server


@pytest.fixture(params=["http", "file"])
def url(request: pytest.FixtureRequest, repository: Repository) -> str:
    if request.param == "file":
        return repository.path.as_uri()
    server: HostileServer = request.getfixturevalue("server")
    return server.url


@pytest.fixture
def folder(repository: Repository) -> str:
    """For what does not depend on the way that bytes come."""
    return repository.path.as_uri()


@pytest.fixture
def device(repository: Repository, tmp_path: Path) -> Fetcher:
    return Fetcher(tmp_path / "device", repository.root)


def digest_of(repository: Repository) -> str:
    [path] = repository.path.glob("targets/tiny/1.0.0/*.manifest.json")
    return f"sha256:{path.name.partition('.')[0]}"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# What comes.


def test_a_package_comes_with_all_its_files(
    device: Fetcher, url: str, repository: Repository, template: Repository
) -> None:
    package = device.fetch(url, Wanted("tiny", "1.0.0", digest_of(repository)))
    assert package.digest == digest_of(repository)
    assert contents(device.into) == contents(template.path.parent / "packages" / "tiny-1.0.0")
    assert all(path.stat().st_mode & 0o777 == 0o644 for path in device.into.iterdir())


def test_a_wish_can_be_fetched_as_it_is(device: Fetcher, folder: str) -> None:
    wish = Desired(id="1", name="tiny", version="1.0.0")
    repository = device.repository(folder)
    repository.fetch(wish, device.into, progress=lambda *_: None, stop=device.stop)
    assert open_package(device.into).manifest.version == "1.0.0"


def test_progress_ends_with_everything_and_is_told_on_the_way(device: Fetcher, url: str) -> None:
    package = device.fetch(url)
    total = sum(path.stat().st_size for path in package.path.iterdir())
    assert {of for _, of in device.told} == {total}
    there = [there for there, _ in device.told]
    assert there[0] == 0
    assert there[-1] == total
    assert there == sorted(there)
    assert len(set(there)) > 5


def test_what_is_there_is_not_fetched_again(device: Fetcher, server: HostileServer) -> None:
    device.fetch(server.url)
    (device.into / "tokenizer.json").unlink()
    server.asked.clear()
    device.fetch(server.url)
    fetched = [one.path for one in server.asked if "/targets/" in one.path]
    assert [path.rpartition(".json")[0].rpartition(".")[2] for path in fetched] == ["tokenizer"]
    assert device.told[0][0] > 0


def test_only_new_metadata_are_fetched_again(device: Fetcher, server: HostileServer) -> None:
    device.fetch(server.url)
    server.asked.clear()
    device.fetch(server.url)
    assert [one.path for one in server.asked] == [
        "/metadata/2.root.json",
        "/metadata/timestamp.json",
    ]


def test_a_second_package_replaces_the_first_in_the_folder(
    device: Fetcher, repository: Repository, folder: str, tmp_path: Path
) -> None:
    device.fetch(folder)
    repository.publish(make_package(tmp_path, "tiny", "1.1.0", files={"model.onnx": b"other"}))
    assert device.fetch(folder, Wanted("tiny", "1.1.0")).manifest.version == "1.1.0"


def test_a_folder_with_odd_letters_is_a_repository_too(
    template: Repository, device: Fetcher, tmp_path: Path
) -> None:
    moved = template.copy(tmp_path / "my stick #1 ä%41")
    assert "%20" in moved.path.as_uri()
    device.fetch(moved.path.as_uri())


# What is refused.


def test_a_package_that_is_not_offered(device: Fetcher, url: str) -> None:
    for wanted in (Wanted("tiny", "9.9.9"), Wanted("huge", "1.0.0")):
        assert device.refused(url, wanted) == "unknown_package"
        assert wanted.version in str(device.error)
    assert contents(device.into) == {}


def test_a_withdrawn_package(device: Fetcher, repository: Repository, folder: str) -> None:
    device.fetch(folder)
    assert repository.run("remove", "tiny", "1.0.0").exit_code == 0
    assert repository.run("sign", "--yes").exit_code == 0
    assert device.refused(folder) == "unknown_package"


def test_another_digest_than_the_wished_one(
    device: Fetcher, repository: Repository, server: HostileServer
) -> None:
    wanted = Wanted("tiny", "1.0.0", f"sha256:{'0' * 64}")
    assert device.refused(server.url, wanted) == "wrong_digest"
    assert digest_of(repository) in str(device.error)
    assert not [one for one in server.asked if "/targets/" in one.path]


@pytest.mark.parametrize(
    ("summary", "code"),
    [
        ({"schema": 2}, "package_unsupported"),
        ({"schema": 2, "name": None, "digest": {"blake3": "x"}}, "package_unsupported"),
        ({"schema": 0}, "package_unsupported"),
        ({"architecture": "llama"}, "package_unsupported"),
        ({"precision": "int2-block"}, "package_unsupported"),
        ({"bytes": 3 << 30}, "package_too_large"),
        ({"schema": "1st"}, "metadata_refused"),
        ({"bytes": -1}, "metadata_refused"),
        ({"bytes": None}, "metadata_refused"),
        ({"digest": f"sha256:{'0' * 64}"}, "metadata_refused"),
        ({"name": "other"}, "metadata_refused"),
        ({"version": "6.6.7"}, "metadata_refused"),
    ],
)
def test_a_summary_that_says_no_is_believed_before_a_byte_is_fetched(
    summary: dict[str, object],
    code: str,
    device: Fetcher,
    repository: Repository,
    server: HostileServer,
) -> None:
    files = {"model.onnx": b"m", "tokenizer.json": b"{}", "checks.json": b"[]"}
    forge_package(repository, files, summary=summary)
    assert device.refused(server.url, Wanted("tiny", "6.6.6")) == code
    assert "tiny 6.6.6" in str(device.error)
    assert not [one for one in server.asked if "/targets/" in one.path]


def test_a_package_listed_without_a_summary(
    device: Fetcher, repository: Repository, folder: str
) -> None:
    from support.forge import forge_targets

    def strip(targets: object) -> None:
        targets.targets["tiny/1.0.0/manifest.json"].unrecognized_fields.clear()  # type: ignore[attr-defined]

    forge_targets(repository, strip)
    assert device.refused(folder) == "metadata_refused"


def test_a_package_larger_than_the_device_takes(device: Fetcher, folder: str) -> None:
    device.limits = FetchLimits(max_package_bytes=300_000)
    assert device.refused(folder) == "package_too_large"
    assert "300000" in str(device.error)
    device.limits = FetchLimits(max_package_bytes=310_000, reserve_bytes=0)
    device.fetch(folder)


NEEDED = {"model.onnx": b"m", "tokenizer.json": b"{}", "checks.json": b"[]"}


@pytest.mark.parametrize(
    "name",
    [
        "../x",
        "../../../../../../../../tmp/x",
        "/etc/x",
        "a/b",
        "..",
        ".",
        "",
        ".hidden",
        ".model.onnx.part",
        "a\0b",
        "a\nb",
        "a" * 300,
        "a\\b",
        "C:x",
        "-rf",
        "manifest.json",
    ],
)
def test_a_signed_manifest_cannot_name_a_file_elsewhere(
    name: str, device: Fetcher, repository: Repository, folder: str
) -> None:
    forge_package(repository, {**NEEDED, name: b"x"}, listed=NEEDED)
    before = sorted(device.folder.parent.rglob("*"))
    assert device.refused(folder, Wanted("tiny", "6.6.6")) == "package_malformed"
    assert [path.name for path in device.into.iterdir()] == ["manifest.json"]
    new = set(device.folder.parent.rglob("*")) - set(before)
    assert all(path.is_relative_to(device.folder) for path in new)


@pytest.mark.parametrize(
    ("manifest", "code"),
    [
        (b" ", "package_malformed"),
        (b"[" * 100_000, "package_malformed"),
        (b"{}", "package_malformed"),
        (b"\xff\xfe", "package_malformed"),
        (b" " * (1 << 20) + b"{}", "package_malformed"),
    ],
)
def test_a_signed_manifest_that_is_none(
    manifest: bytes, code: str, device: Fetcher, repository: Repository, folder: str
) -> None:
    forge_package(repository, {}, manifest=manifest)
    assert device.refused(folder, Wanted("tiny", "6.6.6")) == code


def test_a_manifest_that_describes_another_package_than_the_summary(
    device: Fetcher, repository: Repository, folder: str
) -> None:
    for summary in ({"precision": "fp32"}, {"architecture": "distilbert"}):
        forge_package(repository, NEEDED, version="6.6.6", summary=summary)
        assert device.refused(folder, Wanted("tiny", "6.6.6")) == "wrong_digest"
    [path] = repository.path.glob("targets/tiny/1.0.0/*.manifest.json")
    forge_package(repository, {}, version="6.6.7", manifest=path.read_bytes())
    assert device.refused(folder, Wanted("tiny", "6.6.7")) == "wrong_digest"


def test_files_of_the_manifest_must_be_signed_themselves(
    device: Fetcher, repository: Repository, folder: str
) -> None:
    forge_package(repository, NEEDED, version="6.6.6", listed={"model.onnx": b"m"})
    assert device.refused(folder, Wanted("tiny", "6.6.6")) == "metadata_refused"
    others = {**NEEDED, "tokenizer.json": b"[]"}
    forge_package(repository, NEEDED, version="6.6.7", listed=others)
    assert device.refused(folder, Wanted("tiny", "6.6.7")) == "metadata_refused"
    assert "tiny/6.6.7/tokenizer.json" in str(device.error)
    forge_package(repository, NEEDED, version="6.6.8", summary={"bytes": 99})
    assert device.refused(folder, Wanted("tiny", "6.6.8")) == "metadata_refused"


@pytest.mark.parametrize("file", ["manifest.json", "model.onnx", "tokenizer.json", "checks.json"])
def test_a_flipped_bit_in_a_file(
    file: str, device: Fetcher, repository: Repository, url: str
) -> None:
    [path] = repository.path.glob(f"targets/tiny/1.0.0/*.{file}")
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)
    assert device.refused(url) == "download_corrupt"
    assert f".{file}" in str(device.error)
    assert not [path.name for path in device.into.iterdir() if file in path.name]
    assert len(device.events("fetch_mismatch")) == 2
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)
    device.fetch(url)


@pytest.mark.parametrize("change", ["shorter", "longer", "empty"])
def test_a_file_of_a_wrong_length(
    change: str, device: Fetcher, repository: Repository, url: str
) -> None:
    [path] = repository.path.glob("targets/tiny/1.0.0/*.model.onnx")
    raw = path.read_bytes()
    path.write_bytes({"shorter": raw[:-1], "longer": raw + b"x", "empty": b""}[change])
    assert device.refused(url) == "download_corrupt"
    path.write_bytes(raw)
    device.fetch(url)


def test_a_file_that_is_not_there_may_come_later(
    device: Fetcher, repository: Repository, url: str
) -> None:
    [path] = repository.path.glob("targets/tiny/1.0.0/*.model.onnx")
    away = path.rename(path.with_suffix(".away"))
    assert device.refused(url) == "repository_unreachable"
    away.rename(path)
    device.fetch(url)


@pytest.mark.parametrize("kind", ["pipe", "folder", "device", "loop"])
def test_a_folder_that_holds_no_plain_file(
    kind: str, device: Fetcher, repository: Repository
) -> None:
    [path] = repository.path.glob("targets/tiny/1.0.0/*.model.onnx")
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero" if kind == "device" else path)
    assert device.refused(repository.path.as_uri()) == "repository_unreachable"


def test_a_stick_that_is_not_there(device: Fetcher, repository: Repository) -> None:
    away = repository.path.rename(repository.path.with_name("away"))
    assert device.refused(repository.path.as_uri()) == "repository_unreachable"
    assert "timestamp.json is not there" in str(device.error)
    away.rename(repository.path)
    device.fetch(repository.path.as_uri())


# What lies about in the folder.


def test_leftovers_are_cleared_away_and_links_are_not_followed(
    device: Fetcher, folder: str, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_bytes(b"precious")
    (device.into / ".model.onnx.part").symlink_to(outside / "precious")
    (device.into / "model.onnx").symlink_to(outside / "precious")
    (device.into / ".tokenizer.json.part").symlink_to(outside / "not there")
    (device.into / "tokenizer.json").mkdir()
    (device.into / "tokenizer.json" / "link").symlink_to(outside)
    os.mkfifo(device.into / "checks.json")
    os.mkfifo(device.into / ".checks.json.part")
    (device.into / "folder").symlink_to(outside)
    (device.into / "junk").write_bytes(b"junk")
    os.link(outside / "precious", device.into / ".manifest.json.part")
    device.fetch(folder)
    assert contents(outside) == {"precious": b"precious"}
    assert all(path.is_file() and not path.is_symlink() for path in device.into.iterdir())


def test_a_link_to_a_true_copy_is_replaced_by_a_file(
    device: Fetcher, folder: str, tmp_path: Path
) -> None:
    (tmp_path / "copy").write_bytes(WEIGHTS)
    (device.into / "model.onnx").symlink_to(tmp_path / "copy")
    device.fetch(folder)
    assert not (device.into / "model.onnx").is_symlink()


@pytest.mark.parametrize(
    "part", [WEIGHTS[:150_000], WEIGHTS, WEIGHTS + b"more", b"\0" * 150_000, b"\0" * 300_000, b""]
)
def test_whatever_an_earlier_try_left_the_package_comes(
    part: bytes, device: Fetcher, url: str
) -> None:
    (device.into / ".model.onnx.part").write_bytes(part)
    device.fetch(url)


def test_damaged_files_of_an_earlier_try_are_fetched_again(device: Fetcher, folder: str) -> None:
    device.fetch(folder)
    for path in list(device.into.iterdir()):
        path.write_bytes(path.read_bytes()[:-1] + b"?")
    device.fetch(folder)


# Stopping.


def test_a_stopped_fetch_goes_on_where_it_was(device: Fetcher, server: HostileServer) -> None:
    written = 0

    def stop_half_way(path: str) -> None:
        nonlocal written
        written += path.endswith("model.onnx")
        if written == 15:
            device.stop.set()

    server.on_write = stop_half_way
    server.faults = [Fault("model.onnx", chunk=10_000, every=0.005)]
    assert device.refused(server.url) == "superseded"
    there = (device.into / ".model.onnx.part").stat().st_size
    device.stop.clear()
    server.faults.clear()
    device.fetch(server.url)
    assert server.offsets("model.onnx") == [0, there]
    assert 0 < there < 300_000


@pytest.mark.parametrize("ends", ["timestamp.json", "model.onnx"])
def test_a_silent_server_does_not_hold_a_stop(
    ends: str, device: Fetcher, server: HostileServer
) -> None:
    server.faults = [Fault(ends, silent=60)]
    thread = threading.Thread(target=lambda: device.refused(server.url))
    thread.start()
    while not server.offsets(ends):
        time.sleep(0.01)
    asked = time.monotonic()
    device.stop.set()
    thread.join()
    assert time.monotonic() - asked < 5, "a second, and patience with a busy machine"
    assert device.error is not None
    assert device.error.code == "superseded"


def test_a_fetch_that_was_stopped_before_it_began_asks_for_nothing(
    device: Fetcher, server: HostileServer
) -> None:
    device.stop.set()
    assert device.refused(server.url) == "superseded"
    assert not [one for one in server.asked if "/targets/" in one.path]


# The device's own settings.


@pytest.mark.parametrize(
    "url",
    [
        "",
        "models.example.org",
        "/media/usb/repo",
        "ftp://models.example.org/",
        "http://",
        "http:///repo",
        "http://[::1/",
        "http://host:port/",
        "http://host:99999/",
        "https://user:secret@host/repo",
        "https://host/repo?token=1",
        "https://host/repo#here",
        "https://host/my repo",
        "https://host/repo\r\nX: y",
        "file://server/share",
        "file:relative",
        "file:///a%00b",
    ],
)
def test_an_address_that_is_none_is_a_wrong_setting(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_repository_url(url)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "folder"),
    [
        ("http://host", None),
        ("https://host:8443/models/", None),
        ("http://[::1]:8080/x", None),
        ("file:///media/usb/repo/", Path("/media/usb/repo")),
        ("file://localhost/media/usb%20stick", Path("/media/usb stick")),
    ],
)
def test_addresses(url: str, folder: Path | None) -> None:
    parsed = parse_repository_url(url)
    assert parsed.folder == folder
    assert not parsed.text.endswith("/")


def test_a_root_that_is_none_is_a_wrong_setting(
    device: Fetcher, repository: Repository, folder: str
) -> None:
    unsigned = json.loads(repository.root)
    unsigned["signatures"] = []
    for root in (
        b"",
        b"<html>",
        (repository.path / "metadata" / "timestamp.json").read_bytes(),
        json.dumps(unsigned).encode(),
    ):
        device.root = root
        with pytest.raises(ConfigError, match="repository_root"):
            device.repository(folder)


def test_errors_are_refusals(device: Fetcher, folder: str) -> None:
    with pytest.raises(FetchError) as caught:
        device.fetch(folder, Wanted("tiny", "9.9.9"))
    assert caught.value.exit_code == ExitCode.REFUSED
    assert Wanted("tiny", "1.0.0", None) == TINY
