"""What a device trusts: signatures, newness and expiry, whatever its clock and the server say."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support.fetching import Fetcher
from support.hostile_server import Fault, HostileServer, serve_hostile
from support.repository import Repository, make_package, make_repository

from edgeqa.repository.clock import CLOCK_FILE, MADE, Clock
from edgeqa_agent.fetch import Wanted

NEWER = Wanted("tiny", "1.1.0")
DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """With tiny 1.0.0."""
    folder = tmp_path_factory.mktemp("template")
    return make_repository(folder, make_package(folder))


@pytest.fixture(scope="module")
def newer(template: Repository, tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """The same with tiny 1.1.0 published later."""
    folder = tmp_path_factory.mktemp("newer")
    made = template.copy(folder)
    made.publish(make_package(folder, "tiny", "1.1.0"))
    return made


@pytest.fixture
def repository(template: Repository, tmp_path: Path) -> Repository:
    return template.copy(tmp_path / "repository")


@pytest.fixture
def url(repository: Repository) -> str:
    return repository.path.as_uri()


@pytest.fixture
def device(repository: Repository, tmp_path: Path) -> Fetcher:
    return Fetcher(tmp_path / "device", repository.root)


def expires(repository: Repository, role: str = "timestamp") -> datetime:
    raw = json.loads((repository.path / "metadata" / f"{role}.json").read_bytes())
    return datetime.fromisoformat(raw["signed"]["expires"])


def trusted(device: Fetcher) -> dict[str, bytes]:
    return {
        str(path.relative_to(device.trusted)): path.read_bytes()
        for path in device.trusted.rglob("*.json")
    }


def lend_clock(device: Fetcher, moment: datetime) -> None:
    """The device starts with its system clock there."""
    device.folder.mkdir(parents=True, exist_ok=True)
    device.clock = Clock(device.folder, system=moment.timestamp)


# Signatures.


@pytest.mark.parametrize("file", ["timestamp.json", "2.snapshot.json", "2.targets.json"])
@pytest.mark.parametrize("mark", [b'"sig":"', b'"version":', b'"expires":"', b'"signed"', b"{"])
def test_a_flipped_bit_in_metadata(
    file: str, mark: bytes, device: Fetcher, repository: Repository, url: str
) -> None:
    path = repository.path / "metadata" / file
    raw = bytearray(path.read_bytes())
    at = raw.index(mark) + len(mark) - (mark == b"{")
    raw[at] ^= 1
    path.write_bytes(raw)
    assert device.refused(url) == "metadata_refused"
    assert f"metadata/{file}" in str(device.error)
    raw[at] ^= 1
    path.write_bytes(raw)
    device.fetch(url)


def test_a_flipped_bit_in_a_new_root(device: Fetcher, repository: Repository, url: str) -> None:
    device.fetch(url)
    assert repository.run("rotate", "timestamp", "--no-passphrase").exit_code == 0
    path = repository.path / "metadata" / "2.root.json"
    good = path.read_bytes()
    at = good.index(b'"threshold":') + len(b'"threshold":')
    path.write_bytes(good[:at] + b"0" + good[at + 1 :])
    assert device.refused(url) == "metadata_refused"
    path.write_bytes(good)
    device.fetch(url)


def test_a_repository_of_unknown_keys(device: Fetcher, tmp_path: Path) -> None:
    stranger = make_repository(tmp_path / "stranger", make_package(tmp_path))
    assert device.refused(stranger.path.as_uri()) == "metadata_refused"
    device.fetch(device.folder.parent.joinpath("repository", "repo").as_uri())


def test_a_root_that_the_old_root_did_not_sign(
    device: Fetcher, repository: Repository, url: str, tmp_path: Path
) -> None:
    stranger = make_repository(tmp_path / "stranger")
    assert stranger.run("rotate", "root", "--no-passphrase").exit_code == 0
    shutil.copy(stranger.path / "metadata" / "2.root.json", repository.path / "metadata")
    assert device.refused(url) == "metadata_refused"
    assert "2.root.json" in str(device.error)


def test_exchanged_keys_are_followed_from_the_first_root(
    device: Fetcher, repository: Repository, url: str, tmp_path: Path
) -> None:
    device.fetch(url)
    for role in ("root", "targets", "snapshot", "timestamp"):
        assert repository.run("rotate", role, "--no-passphrase").exit_code == 0
    repository.publish(make_package(tmp_path, "tiny", "1.1.0"))
    device.fetch(url, NEWER)
    assert (device.trusted / "root_history" / "5.root.json").exists()
    Fetcher(tmp_path / "fresh", device.root).fetch(url, NEWER)


def test_a_device_that_is_given_the_root_of_another_repository_follows_that(
    device: Fetcher, repository: Repository, url: str, tmp_path: Path
) -> None:
    assert repository.run("rotate", "root", "--no-passphrase").exit_code == 0
    device.fetch(url)
    other = make_repository(tmp_path / "other", make_package(tmp_path))
    device.root = other.root
    device.fetch(other.path.as_uri())
    assert device.refused(url) == "metadata_refused"


@pytest.mark.parametrize("file", ["timestamp.json", "2.root.json"])
def test_nonsense_is_refused_in_a_line(
    file: str, device: Fetcher, repository: Repository, url: str
) -> None:
    path = repository.path / "metadata" / file
    good = path.read_bytes() if path.exists() else repository.root
    chance = random.Random(file)
    bad = [
        b"",
        b"<html><body>Please log in to the guest network</body></html>",
        b"[" * 15_000,
        b'{"a":' * 3_000,
        b"null",
        b"[]",
        b'{"signed": {}, "signatures": []}',
        b'{"signed": {"_type": "timestamp"}, "signatures": [{}]}',
        re.sub(rb'"version":\d', b'"version":1' + b"0" * 5_000, good),
        good.replace(b"Z", b"Q"),
        good.replace(b'"signatures":[', b'"signatures":[7,'),
        b"\xff\xfe" + good,
    ]
    for _ in range(15):
        raw = bytearray(good)
        for _ in range(chance.randrange(1, 9)):
            raw[chance.randrange(len(raw))] = chance.randrange(256)
        bad.append(bytes(raw))
    for raw in bad:
        path.write_bytes(raw)
        assert device.refused(url) == "metadata_refused", raw[:200]
    path.unlink() if file == "2.root.json" else path.write_bytes(good)
    device.fetch(url)


# Newness.


@pytest.mark.parametrize("files", [["timestamp.json"], ["timestamp.json", "3.snapshot.json"]])
def test_an_older_list_offered_as_the_newest(
    files: list[str], template: Repository, newer: Repository, device: Fetcher, tmp_path: Path
) -> None:
    device.fetch(newer.path.as_uri(), NEWER)
    before = trusted(device)
    mixed = newer.copy(tmp_path / "mixed")
    for file in files:
        old = template.path / "metadata" / file
        if old.exists():
            shutil.copy(old, mixed.path / "metadata" / file)
    assert device.refused(mixed.path.as_uri(), NEWER) == "metadata_refused"
    assert device.refused(template.path.as_uri()) == "metadata_refused"
    assert trusted(device) == before
    device.fetch(newer.path.as_uri(), NEWER)


@pytest.mark.parametrize("role", ["snapshot", "targets"])
def test_old_and_new_metadata_mixed(
    role: str, newer: Repository, device: Fetcher, tmp_path: Path
) -> None:
    mixed = newer.copy(tmp_path / "mixed")
    metadata = mixed.path / "metadata"
    shutil.copy(metadata / f"2.{role}.json", metadata / f"3.{role}.json")
    assert device.refused(mixed.path.as_uri(), NEWER) == "metadata_refused"
    device.fetch(newer.path.as_uri(), NEWER)


def test_a_cache_that_mixes_old_and_new_is_passed_by(newer: Repository, device: Fetcher) -> None:
    old = (newer.path / "metadata" / "2.snapshot.json").read_bytes()
    with serve_hostile(newer.path) as server:
        server.faults = [Fault("3.snapshot.json", times=1, body=old)]
        device.fetch(server.url, NEWER)
        asked = [one for one in server.asked if one.path.endswith("3.snapshot.json")]
        assert [one.headers.get("Cache-Control") for one in asked] == [None, "no-cache"]
        stamps = [one for one in server.asked if one.path.endswith("timestamp.json")]
        assert {one.headers.get("Cache-Control") for one in stamps} == {"no-cache"}


def test_what_was_seen_survives_a_restart_and_a_lost_file(
    template: Repository, newer: Repository, device: Fetcher
) -> None:
    device.fetch(newer.path.as_uri(), NEWER)
    (device.trusted / "targets.json").write_bytes(b"")
    (device.trusted / "root_history" / "1.root.json").unlink()
    assert device.refused(template.path.as_uri()) == "metadata_refused"
    device.fetch(newer.path.as_uri(), NEWER)


def test_what_is_trusted_is_written_as_everything_that_must_survive(
    device: Fetcher, url: str
) -> None:
    """The mode is that of `edgeqa.files`, which syncs; tuf's own way of writing gives 0600."""
    device.fetch(url)
    files = [path for path in device.trusted.rglob("*.json") if not path.is_symlink()]
    assert len(files) == 4
    assert {path.stat().st_mode & 0o777 for path in files} == {0o644}


def test_what_did_not_change_is_not_written_again(device: Fetcher, url: str) -> None:
    device.fetch(url)
    files = [path for path in device.folder.rglob("*.json") if not path.is_symlink()]
    before = {path: path.stat().st_ino for path in files}
    device.fetch(url)
    assert {path: path.stat().st_ino for path in files} == before


def test_a_repository_that_is_written_to_meanwhile(
    repository: Repository, newer: Repository, device: Fetcher
) -> None:
    """Between timestamp and snapshot, the repository goes on by a version."""
    with serve_hostile(repository.path) as server:

        def go_on(path: str) -> None:
            if path.endswith("timestamp.json"):
                shutil.copytree(newer.path, repository.path, dirs_exist_ok=True)

        server.on_write = go_on
        device.fetch(server.url)
        device.fetch(server.url, NEWER)


@pytest.fixture
def server(repository: Repository) -> Iterator[HostileServer]:
    with serve_hostile(repository.path) as server:
        yield server


@pytest.mark.parametrize("ends", ["timestamp.json", "2.snapshot.json", "2.targets.json"])
def test_metadata_that_break_off_are_asked_for_again(
    ends: str, device: Fetcher, server: HostileServer
) -> None:
    server.faults = [Fault(ends, times=2, cut_at=100)]
    device.fetch(server.url)
    assert len(server.offsets(ends)) == 3


# Expiry, and clocks that are wrong.


def test_expired_signatures_are_waited_out_and_then_renewed(tmp_path: Path) -> None:
    then = f"{datetime.now(UTC) - timedelta(days=35.01):%Y-%m-%dT%H:%M:%SZ}"
    expired = make_repository(tmp_path, options=("--now", then))
    published = expired.run("publish", make_package(tmp_path), "--now", then)
    assert published.exit_code == 0, published.stderr
    device = Fetcher(tmp_path / "device", expired.root)
    assert device.refused(expired.path.as_uri()) == "repository_expired"
    assert "timestamp.json is expired" in str(device.error)
    assert f"{datetime.now(UTC):%Y-%m-%d}" in str(device.error)
    assert expired.run("sign").exit_code == 0
    device.fetch(expired.path.as_uri())


@pytest.mark.parametrize(
    ("role", "days"), [("timestamp", 35), ("snapshot", 60), ("targets", 180), ("root", 365)]
)
def test_each_role_expires_on_its_day(
    role: str, days: int, device: Fetcher, repository: Repository, url: str
) -> None:
    number = {"timestamp": "", "root": "1."}.get(role, "2.")
    day = expires(repository, f"{number}{role}")
    assert (day - datetime.now(UTC)).days in {days - 1, days}
    lend_clock(device, day)
    assert device.refused(url) == "repository_expired"
    assert not (device.trusted / "timestamp.json").exists()
    if role == "timestamp":
        lend_clock(device, day - timedelta(seconds=1))
        device.fetch(url)


def test_a_freeze_ends_with_the_timestamp_for_a_device_that_knows_the_time(
    device: Fetcher, repository: Repository, url: str
) -> None:
    """Somebody shows the device the same valid list for ever."""
    for day in (0, 10, 30):
        lend_clock(device, datetime.now(UTC) + day * DAY)
        device.fetch(url)
    lend_clock(device, expires(repository))
    assert device.refused(url) == "repository_expired"


def test_a_clock_in_the_past_does_not_make_expired_signatures_valid(
    device: Fetcher, repository: Repository, url: str
) -> None:
    lend_clock(device, expires(repository) - timedelta(hours=2))
    device.fetch(url)
    (device.folder / "staging" / "checks.json").unlink()
    with_later_floor = Clock(device.folder)
    with_later_floor.trust(expires(repository))
    lend_clock(device, datetime(1970, 1, 1, tzinfo=UTC))
    assert device.refused(url) == "repository_expired"


def test_a_device_that_never_knew_the_time_takes_that_of_its_version(
    device: Fetcher, repository: Repository, url: str, tmp_path: Path
) -> None:
    old = f"{MADE - 36 * DAY:%Y-%m-%dT%H:%M:%SZ}"
    expired = make_repository(tmp_path / "expired", options=("--now", old))
    (tmp_path / "expired-device").mkdir()
    unlucky = Fetcher(tmp_path / "expired-device", expired.root)
    for one in (unlucky, device):
        lend_clock(one, datetime(1970, 1, 1, tzinfo=UTC))
    assert unlucky.refused(expired.path.as_uri()) == "repository_expired"
    assert f"{MADE:%Y-%m-%d}" in str(unlucky.error)
    device.fetch(url)


def test_a_clock_far_ahead_harms_nothing(device: Fetcher, repository: Repository, url: str) -> None:
    device.fetch(url)
    before = trusted(device)
    floor = (device.folder / CLOCK_FILE).read_bytes()
    lend_clock(device, datetime(2099, 1, 1, tzinfo=UTC))
    assert device.refused(url) == "repository_expired"
    assert "2099-01-01 00:00:00 UTC" in str(device.error)
    assert "correct the clock" in str(device.error)
    assert trusted(device) == before
    assert (device.folder / CLOCK_FILE).read_bytes() == floor
    device.clock = None
    device.fetch(url)


def test_a_clock_ahead_within_the_validity_costs_no_update_from_a_repository_that_is_kept_signed(
    device: Fetcher, repository: Repository, url: str
) -> None:
    ahead = expires(repository) - timedelta(minutes=1)
    lend_clock(device, ahead)
    device.fetch(url)
    lend_clock(device, datetime.now(UTC))
    assert device.clock is not None
    assert device.clock.now() == ahead
    device.fetch(url)
    later = f"{datetime.now(UTC) + timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}"
    assert repository.run("sign", "--now", later).exit_code == 0
    lend_clock(device, expires(repository) - timedelta(minutes=30))
    device.fetch(url)


def test_a_floor_that_cannot_be_written_stops_no_fetch(
    device: Fetcher, url: str, tmp_path: Path
) -> None:
    device.clock = Clock(tmp_path / "nowhere")
    device.fetch(url)
    assert device.events("clock_not_kept")


# The device's own disk.


def test_metadata_that_cannot_be_kept(
    device: Fetcher, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    device.trusted.parent.mkdir(parents=True)
    device.trusted.write_bytes(b"in the way")
    assert device.refused(url) == "store_failed"
    device.trusted.unlink()

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        assert device.refused(url) == "disk_full"
    device.fetch(url)
