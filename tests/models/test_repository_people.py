"""Several people with keys of their own, and somebody with none who can write to the folder."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest
from support.repository import (
    Device,
    Ran,
    Repository,
    edgeqa_models,
    make_package,
    make_repository,
    serve,
)
from tuf.api.exceptions import UnsignedMetadataError
from tuf.api.metadata import Metadata, Root, Targets

from edgeqa.files import write_atomic
from edgeqa_models.repository.environment import Passphrase
from edgeqa_models.repository.keys import KeyFolder
from edgeqa_models.repository.layout import Layout
from edgeqa_models.repository.publication import Bench, sign
from edgeqa_models.repository.signing import Order

NOBODY = ("--no-passphrase",)


@pytest.fixture
def package(tmp_path: Path) -> Path:
    return make_package(tmp_path / "packages")


def hand_over(
    repository: Repository, name: str, *roles: str, move: int | None = None
) -> Repository:
    """Somebody who holds keys of these roles alone; with `move`, the n-th key is moved there."""
    person = Repository(repository.path, repository.keys.parent / name)
    person.keys.mkdir(exist_ok=True)
    for role in roles:
        files = sorted(repository.keys.glob(f"{role}-*.pem"))
        for file in files if move is None else [files[move]]:
            (shutil.copy if move is None else shutil.move)(file, person.keys / file.name)
    return person


def staged(ran: Ran) -> dict[str, int]:
    return {one["role"]: one["missing"] for one in json.loads(ran.stdout)["staged"]}


def key_id(path: Path) -> str:
    return path.stem.partition("-")[2]


def device_gets(repository: Repository, folder: Path, version: str = "1.0.0") -> None:
    with serve(repository.path) as url:
        Device(folder, repository.root).fetch(url, "tiny", version)


def test_two_of_three_root_keys_in_separate_folders_sign_a_root(
    tmp_path: Path, package: Path
) -> None:
    repository = make_repository(
        tmp_path, package, options=("--root-keys", 3, "--root-threshold", 2)
    )
    alice = hand_over(repository, "alice", "root", move=0)
    bob = hand_over(repository, "bob", "root", move=0)
    hand_over(repository, "carol", "root", move=0)
    assert not list(repository.keys.glob("root-*.pem"))
    [old] = repository.keys.glob("timestamp-*.pem")

    done = repository.run("rotate", "timestamp", *NOBODY)
    assert done.exit_code == 0, done.stderr
    assert "waiting   root 2: 2 more signature(s)" in done.stdout
    waiting = repository.run("status", "--json")
    assert (waiting.exit_code, waiting.code) == (5, "signature_missing")
    assert staged(waiting) == {"root": 2}
    again = repository.run("rotate", "snapshot", *NOBODY)
    assert (again.exit_code, again.code) == (3, "staged_waiting")

    done = alice.run("sign", "--yes")
    assert done.exit_code == 0, done.stderr
    assert f"timestamp: - key {key_id(old)}" in done.stdout
    assert "waiting   root 2: 1 more signature(s)" in done.stdout
    again = alice.run("sign", "--yes")
    assert (again.exit_code, again.code) == (5, "signature_missing")
    assert "lacks 1 signature(s)" in again.stderr
    device_gets(repository, tmp_path / "first")

    done = bob.run("sign", "--yes")
    assert done.exit_code == 0, done.stderr
    assert "waiting   timestamp 4: 1 more" in done.stdout, "only the operator has its new key"
    waiting = repository.run("status", "--json")
    assert staged(waiting) == {"root": 0}
    device_gets(repository, tmp_path / "second")

    done = repository.run("sign", "--yes")
    assert done.exit_code == 0, done.stderr
    assert "published root 2" in done.stdout
    old.unlink()
    assert repository.run("sign").exit_code == 0
    assert repository.run("status").exit_code == 0
    device_gets(repository, tmp_path / "first")
    device_gets(repository, tmp_path / "third")


def test_people_who_make_their_own_keys_become_root(tmp_path: Path, package: Path) -> None:
    repository = make_repository(tmp_path, package)
    people = []
    adding: list[object] = []
    for name in ("bob", "carol"):
        person = Repository(repository.path, tmp_path / name)
        made = edgeqa_models("repository", "key", "root", "--keys", person.keys, *NOBODY)
        assert made.exit_code == 0
        assert "PRIVATE" not in made.stdout
        (tmp_path / f"{name}.pub").write_text(made.stdout)
        adding += ["--add", tmp_path / f"{name}.pub"]
        people.append(person)
    bob, carol = people
    done = repository.run("rotate", "root", *adding, "--threshold", 2)
    assert done.exit_code == 0, done.stderr
    assert "waiting   root 2: 1 more signature(s)" in done.stdout
    done = bob.run("sign", "--yes")
    assert done.exit_code == 0, done.stderr
    assert "root: threshold 1 -> 2" in done.stdout
    assert "published root 2" in done.stdout

    [first] = repository.keys.glob("root-*.pem")
    assert carol.run("rotate", "root", "--remove", key_id(first)).exit_code == 0
    assert bob.run("sign", "--yes").exit_code == 0
    device_gets(repository, tmp_path / "device")
    status = json.loads(repository.run("status", "--json").stdout)
    assert [key["here"] for key in status["roles"][0]["keys"]] == [False, False]


def test_a_root_is_signed_on_a_machine_that_has_the_metadata_alone(
    tmp_path: Path, package: Path
) -> None:
    repository = make_repository(tmp_path, package)
    offline = Repository(tmp_path / "stick" / "repo", tmp_path / "stick" / "keys")
    offline.keys.mkdir(parents=True)
    for path in repository.keys.glob("root-*.pem"):
        shutil.move(path, offline.keys / path.name)
    assert repository.run("rotate", "targets", *NOBODY).exit_code == 0
    for part in ("metadata", "staged"):
        shutil.copytree(repository.path / part, offline.path / part)
    done = offline.run("sign", "--yes")
    assert done.exit_code == 0, done.stderr
    shutil.copy(offline.path / "staged" / "root.json", repository.path / "staged" / "root.json")
    done = repository.run("sign", "--yes")
    assert "published root 2" in done.stdout
    device_gets(repository, tmp_path / "device")


def test_a_new_package_waits_for_two_people(tmp_path: Path, package: Path) -> None:
    repository = make_repository(tmp_path, options=("--targets-keys", 2, "--targets-threshold", 2))
    alice = hand_over(repository, "alice", "targets", move=0)
    bob = hand_over(repository, "bob", "targets", move=0)
    assert repository.run("publish", package).code == "key_missing"
    assert repository.run("add", package).exit_code == 0
    assert staged(repository.run("status", "--json")) == {"targets": 2}
    for person, lacking in ((alice, 1), (bob, 0)):
        done = person.run("sign", "--yes")
        assert done.exit_code == 0, done.stderr
        assert "+ tiny 1.0.0 (bert, int8" in done.stdout
        assert staged(repository.run("status", "--json")) == {"targets": lacking}
    # A daily job signs nothing that is staged, but publishes what those who may have signed.
    done = repository.run("sign")
    assert done.exit_code == 0, done.stderr
    assert "published targets 2" in done.stdout
    device_gets(repository, tmp_path / "device")


def test_one_of_two_publishers_is_told_that_a_signature_is_missing(
    tmp_path: Path, package: Path
) -> None:
    repository = make_repository(tmp_path, options=("--targets-keys", 2, "--targets-threshold", 2))
    hand_over(repository, "alice", "targets", move=0)
    done = repository.run("publish", package)
    assert (done.exit_code, done.code) == (5, "signature_missing")
    assert "waiting   targets 2: 1 more signature(s)" in done.stdout


def test_a_package_added_meanwhile_needs_new_signatures(tmp_path: Path, package: Path) -> None:
    repository = make_repository(tmp_path, options=("--targets-keys", 2, "--targets-threshold", 2))
    alice = hand_over(repository, "alice", "targets", move=0)
    repository.run("add", package)
    assert alice.run("sign", "--yes").exit_code == 0
    repository.run("add", make_package(tmp_path, "tiny", "1.1.0"))
    assert staged(repository.run("status", "--json")) == {"targets": 2}
    repository.run("sign", "--yes")
    done = alice.run("sign", "--yes")
    assert done.exit_code == 0, done.stderr
    repository.run("sign")
    device_gets(repository, tmp_path / "device", "1.1.0")


def test_a_machine_with_online_keys_alone_publishes_what_others_signed(
    tmp_path: Path, package: Path
) -> None:
    repository = make_repository(tmp_path)
    cron = hand_over(repository, "cron", "snapshot", "timestamp")
    engineer = hand_over(repository, "engineer", "targets")
    assert engineer.run("add", package).exit_code == 0
    done = engineer.run("sign", "--yes")
    assert done.exit_code == 0, done.stderr
    assert "waiting   snapshot 2" in done.stdout
    with serve(repository.path) as url:
        assert not Device(tmp_path / "device", repository.root).offers(url)
    done = cron.run("sign")
    assert done.exit_code == 0, done.stderr
    assert [line.split()[1] for line in done.stdout.splitlines() if "published" in line] == [
        "targets",
        "snapshot",
        "timestamp",
    ]
    device_gets(repository, tmp_path / "device")


def test_online_keys_are_renewed_while_a_root_waits(tmp_path: Path, package: Path) -> None:
    repository = make_repository(
        tmp_path, package, options=("--root-keys", 2, "--root-threshold", 2)
    )
    hand_over(repository, "alice", "root", move=0)
    assert repository.run("rotate", "targets", *NOBODY).exit_code == 0
    done = repository.run("sign")
    assert done.exit_code == 0, done.stderr
    assert "published timestamp 4" in done.stdout
    device_gets(repository, tmp_path / "device")


def test_keys_that_belong_to_no_role_sign_nothing(tmp_path: Path, package: Path) -> None:
    repository = make_repository(tmp_path)
    stranger = Repository(repository.path, tmp_path / "stranger")
    edgeqa_models("repository", "key", "timestamp", "--keys", stranger.keys, *NOBODY)
    done = stranger.run("sign")
    assert (done.exit_code, done.code) == (3, "key_missing")
    assert stranger.run("add", package).exit_code == 0
    before = (repository.path / "staged" / "targets.json").read_bytes()
    done = stranger.run("sign", "--yes", env={"SOURCE_DATE_EPOCH": "4000000000"})
    assert (done.exit_code, done.code) == (3, "key_missing")
    assert (repository.path / "staged" / "targets.json").read_bytes() == before, "nor date it"


def test_a_new_root_key_may_sign_before_the_old_one(tmp_path: Path, package: Path) -> None:
    repository = make_repository(tmp_path, package)
    alice = hand_over(repository, "alice", "root", move=0)
    assert repository.run("rotate", "root", *NOBODY).exit_code == 0
    done = repository.run("sign", "--yes", "--role", "root")
    assert (done.exit_code, done.code) == (5, "signature_missing")
    before = json.loads((repository.path / "staged" / "root.json").read_bytes())
    assert len(before["signatures"]) == 1
    done = alice.run("sign", "--yes")
    assert done.exit_code == 0, done.stderr
    assert "published root 2" in done.stdout
    after = json.loads((repository.path / "metadata" / "2.root.json").read_bytes())
    assert after["signed"] == before["signed"]


def test_a_staged_package_that_nobody_has_read_is_not_signed_along(
    tmp_path: Path, package: Path
) -> None:
    repository = make_repository(tmp_path)
    evil = make_package(tmp_path / "evil", "evil")
    assert repository.run("add", evil).exit_code == 0
    done = repository.run("publish", package)
    assert (done.exit_code, done.code) == (5, "staged_others")
    assert "evil 1.0.0" in done.stderr
    done = repository.run("sign")  # no terminal, no --yes: the daily job
    assert done.exit_code == 0
    assert "left unsigned" in done.stdout
    assert "published timestamp 2" in done.stdout
    with serve(repository.path) as url:
        assert not Device(tmp_path / "device", repository.root).offers(url, "evil")


def test_a_forged_root_is_signed_neither_by_publishing_nor_by_the_daily_job(
    tmp_path: Path, package: Path
) -> None:
    repository = make_repository(tmp_path)
    thief = Repository(repository.path, tmp_path / "thief")
    assert thief.run("rotate", "targets", *NOBODY).exit_code == 0
    assert repository.run("publish", package).exit_code == 0
    assert repository.run("sign").exit_code == 0
    assert staged(repository.run("status", "--json")) == {"root": 1}
    assert not (repository.path / "metadata" / "2.root.json").exists()
    device_gets(repository, tmp_path / "device")


@pytest.mark.parametrize("trick", ["huge version", "far expiry", "delegation", "other bytes"])
def test_tricks_in_staged_targets_do_not_get_past_signing(
    trick: str, tmp_path: Path, package: Path
) -> None:
    repository = make_repository(tmp_path, package)
    assert repository.run("add", make_package(tmp_path, "tiny", "1.1.0")).exit_code == 0
    path = repository.path / "staged" / "targets.json"
    content = json.loads(path.read_bytes())
    signed = content["signed"]
    if trick == "huge version":
        signed["version"] = 1 << 40
    elif trick == "far expiry":
        signed["expires"] = "2999-01-01T00:00:00Z"
    elif trick == "delegation":
        signed["delegations"] = {"keys": {}, "roles": []}
    else:
        model = signed["targets"]["tiny/1.0.0/model.onnx"]
        model["hashes"]["sha256"] = signed["targets"]["tiny/1.1.0/model.onnx"]["hashes"]["sha256"]
    # An invalid signature under the true key's id must not pass for one either.
    content["signatures"] = [{"keyid": key, "sig": "00" * 64} for key in _targets_keys(repository)]
    path.write_text(json.dumps(content))
    done = repository.run("sign", "--yes")
    if trick in {"huge version", "far expiry"}:
        assert done.exit_code == 0, done.stderr
        targets = Metadata[Targets].from_file(str(repository.path / "metadata" / "3.targets.json"))
        assert targets.signed.expires.year < 2999
        device_gets(repository, tmp_path / "device", "1.1.0")
    else:
        assert done.exit_code == 5
        assert not (repository.path / "metadata" / "3.targets.json").exists()


def _targets_keys(repository: Repository) -> list[str]:
    root = Metadata[Root].from_bytes(repository.root)
    return list(root.signed.roles["targets"].keyids)


def test_a_package_whose_files_are_not_there_is_not_signed(tmp_path: Path, package: Path) -> None:
    repository = make_repository(tmp_path)
    repository.run("add", package)
    [model] = repository.path.glob("targets/tiny/1.0.0/*.model.onnx")
    content = model.read_bytes()
    for broken in (None, content[:-1], b"X" + content[1:]):
        model.unlink() if broken is None else model.write_bytes(broken)
        done = repository.run("sign", "--yes")
        assert (done.exit_code, done.code) == (5, "digest_mismatch")
    repository.publish(package)
    device_gets(repository, tmp_path / "device")


def test_keys_do_not_sign_an_exchanged_repository(tmp_path: Path, package: Path) -> None:
    repository = make_repository(tmp_path)
    forged = make_repository(tmp_path / "forged")
    shutil.rmtree(repository.path)
    shutil.copytree(forged.path, repository.path)
    for arguments in (("sign", "--yes"), ("publish", package), ("rotate", "root", *NOBODY)):
        done = repository.run(*arguments)
        assert (done.exit_code, done.code) == (5, "repository_mismatch")
    assert len(list(repository.keys.glob("*.pem"))) == 4


def test_a_repository_that_was_rolled_back_is_noticed_and_can_be_gone_on_with(
    tmp_path: Path, package: Path
) -> None:
    repository = make_repository(tmp_path)
    backup = shutil.copytree(repository.path, tmp_path / "backup")
    repository.publish(package)
    device = Device(tmp_path / "device", repository.root)
    with serve(repository.path) as url:
        device.fetch(url)
    shutil.rmtree(repository.path)
    shutil.copytree(backup, repository.path)
    for arguments in (("sign",), ("publish", package)):
        done = repository.run(*arguments)
        assert (done.exit_code, done.code) == (5, "repository_rolled_back")
    done = repository.run("sign", "--restored")
    assert done.exit_code == 0, done.stderr
    repository.publish(package)
    with serve(repository.path) as url:
        device.fetch(url)


def test_a_root_that_was_taken_away_is_noticed(tmp_path: Path) -> None:
    repository = make_repository(tmp_path)
    assert repository.run("rotate", "root", *NOBODY).exit_code == 0
    (repository.path / "metadata" / "2.root.json").unlink()
    for options in ([], ["--restored"]):
        done = repository.run("sign", *options)
        assert (done.exit_code, done.code) == (5, "repository_rolled_back")
        assert "bring them back" in done.stderr


def test_a_damaged_note_in_the_key_folder_is_refused(tmp_path: Path) -> None:
    repository = make_repository(tmp_path)
    note = repository.keys / "repository.json"
    note.write_text("{}")
    done = repository.run("sign")
    assert (done.exit_code, done.code) == (3, "key_damaged")
    note.unlink()
    note.mkdir()
    assert repository.run("sign").code == "key_damaged"
    note.rmdir()
    assert repository.run("sign").exit_code == 0
    assert json.loads(note.read_text())["versions"]["timestamp"] == 2


def test_a_key_folder_that_cannot_be_written_is_no_reason_not_to_publish(tmp_path: Path) -> None:
    repository = make_repository(tmp_path)
    layout = Layout(repository.path)
    keys = KeyFolder(repository.keys, Passphrase(environ={}, ask=None), repository=repository.path)

    def write_and_pull_the_stick(path: Path, content: bytes) -> None:
        write_atomic(path, content)
        shutil.rmtree(repository.keys)

    bench = Bench(layout, keys, write=write_and_pull_the_stick)
    now = datetime.now(UTC).replace(microsecond=0)
    done = sign(bench, Order(now=now), approve=lambda _: True)
    assert done.state.timestamp.version == 2
    assert "not noted in the key folder" in done.notes[0]


def test_staged_metadata_that_others_overtook_are_refused(tmp_path: Path, package: Path) -> None:
    repository = make_repository(tmp_path)
    repository.run("add", make_package(tmp_path, "other"))
    old = (repository.path / "staged" / "targets.json").read_bytes()
    (repository.path / "staged" / "targets.json").unlink()
    repository.publish(package)
    (repository.path / "staged" / "targets.json").write_bytes(old)
    for arguments in (("sign",), ("status",), ("publish", package)):
        done = repository.run(*arguments)
        assert (done.exit_code, done.code) == (5, "staged_stale")


def test_a_stolen_and_replaced_timestamp_key_is_refused_by_devices(
    tmp_path: Path, package: Path
) -> None:
    repository = make_repository(tmp_path, package)
    device = Device(tmp_path / "device", repository.root)
    thief = repository.copy(tmp_path / "thief")
    assert repository.run("rotate", "timestamp", *NOBODY).exit_code == 0
    with serve(repository.path) as url:
        device.refresh(url)
    thief.publish(make_package(tmp_path, "tiny", "6.6.6"))
    shutil.copy(thief.path / "metadata" / "timestamp.json", repository.path / "metadata")
    with serve(repository.path) as url, pytest.raises(UnsignedMetadataError):
        device.refresh(url)
    assert repository.run("status").code == "repository_damaged"
