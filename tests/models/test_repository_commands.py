"""The repository's commands: what they do, say and refuse."""

from __future__ import annotations

import copy
import fcntl
import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.repository import (
    Ran,
    Repository,
    edgeqa_models,
    make_package,
    make_repository,
)

from edgeqa.errors import ConfigError, VerificationError
from edgeqa_models.repository.contents import packages
from edgeqa_models.repository.intake import entered
from edgeqa_models.repository.layout import Layout, RepositoryBusyError
from edgeqa_models.repository.publication import add
from edgeqa_models.repository.state import load

NOW = "2026-11-01T12:00:00Z"


@pytest.fixture
def package(tmp_path: Path) -> Path:
    return make_package(tmp_path / "packages")


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """Without packages."""
    return make_repository(tmp_path)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


def versions(ran: Ran) -> dict[str, int]:
    return {role["role"]: role["version"] for role in json.loads(ran.stdout)["roles"]}


def test_init_says_what_devices_must_be_given(tmp_path: Path) -> None:
    done = edgeqa_models(
        "repository", "init", tmp_path / "repo", "--keys", tmp_path / "keys", "--no-passphrase"
    )
    assert done.exit_code == 0
    assert f"Give every device {tmp_path}/repo/metadata/1.root.json" in done.stdout
    status = edgeqa_models("repository", "status", tmp_path / "repo", "--keys", tmp_path / "keys")
    assert status.exit_code == 0
    assert "root of trust" in status.stdout
    assert "repo/metadata/1.root.json" in status.stdout


def test_published_packages_are_listed(repository: Repository, package: Path) -> None:
    repository.publish(package)
    status = repository.run("status", "--json", "--verify")
    report = json.loads(status.stdout)
    assert [(one["name"], one["version"]) for one in report["packages"]] == [("tiny", "1.0.0")]
    assert report["packages"][0]["bytes"] == sum(p.stat().st_size for p in package.iterdir())
    assert versions(status) == {"root": 1, "targets": 2, "snapshot": 2, "timestamp": 2}
    assert all(key["signed"] and key["here"] for role in report["roles"] for key in role["keys"])
    assert report["problems"] == []
    shown = repository.run("status").stdout
    assert "tiny 1.0.0  bert int8" in shown
    assert report["packages"][0]["digest"] in shown


def test_publishing_the_same_bytes_again_changes_nothing(
    repository: Repository, package: Path
) -> None:
    repository.publish(package)
    before = contents(repository.path)
    done = repository.run("publish", package)
    assert (done.exit_code, done.stdout) == (0, "published already, with the same bytes\n")
    assert repository.run("add", package).stdout == "all there already\n"
    assert contents(repository.path) == before


@pytest.mark.parametrize("command", ["publish", "add"])
def test_other_bytes_under_a_published_version_are_refused(
    command: str, repository: Repository, package: Path, tmp_path: Path
) -> None:
    repository.publish(package)
    before = contents(repository.path)
    other = make_package(tmp_path / "other", files={"model.onnx": b"better weights"})
    done = repository.run(command, other)
    assert (done.exit_code, done.code) == (5, "version_published")
    assert contents(repository.path) == before


def test_a_withdrawn_version_never_comes_back_with_other_bytes(
    repository: Repository, package: Path, tmp_path: Path
) -> None:
    repository.publish(package)
    assert repository.run("remove", "tiny", "1.0.0").exit_code == 0
    done = repository.run("sign", "--yes")
    assert "- tiny 1.0.0" in done.stdout
    report = json.loads(repository.run("status", "--json").stdout)
    assert (report["packages"], list(report["withdrawn"])) == ([], ["tiny/1.0.0"])
    other = make_package(tmp_path / "other", files={"model.onnx": b"better weights"})
    assert repository.run("publish", other).code == "version_published"
    repository.publish(package)
    report = json.loads(repository.run("status", "--json").stdout)
    assert (len(report["packages"]), report["withdrawn"]) == (1, {})
    unknown = repository.run("remove", "tiny", "2.0.0")
    assert (unknown.exit_code, unknown.code) == (3, "package_unknown")


def test_a_damaged_package_is_not_published(repository: Repository, package: Path) -> None:
    (package / "model.onnx").write_bytes(b"x" * (package / "model.onnx").stat().st_size)
    before = contents(repository.path)
    assert repository.run("publish", package).code == "digest_mismatch"
    (package / "manifest.json").unlink()
    assert repository.run("add", package).code == "package_malformed"
    assert contents(repository.path) == before


def test_several_packages_are_published_together_or_not_at_all(
    repository: Repository, package: Path, tmp_path: Path
) -> None:
    before = contents(repository.path)
    done = repository.run("publish", package, tmp_path / "no-package")
    assert done.code == "package_malformed"
    assert contents(repository.path) == before
    same = make_package(tmp_path / "same", files={"model.onnx": b"x"})
    assert repository.run("publish", package, same).code == "version_published"
    assert contents(repository.path) == before


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)


@pytest.mark.parametrize("command", ["publish", "add"])
def test_a_full_disk_publishes_nothing_and_leaves_nothing(
    command: str, repository: Repository, tmp_path: Path
) -> None:
    large = make_package(tmp_path, "large", files={"model.onnx": b"x" * 100_000})
    before = contents(repository.path)
    with files_of_at_most(50_000):
        done = repository.run(command, large)
    assert (done.exit_code, done.code) == (3, "output_unwritable")
    assert "the disk is full" in done.stderr
    assert contents(repository.path) == before
    assert list((repository.path / "targets").iterdir()) == []
    repository.publish(large)


def test_a_package_that_changes_while_it_is_copied_is_not_published(
    repository: Repository, package: Path
) -> None:
    from edgeqa.files import copy_atomic

    def change_then_copy(source: Path, path: Path, *, sha256: str) -> None:
        if source.name == "tokenizer.json":
            source.write_bytes(b"[]")
        copy_atomic(source, path, sha256=sha256)

    before = contents(repository.path)
    with pytest.raises(VerificationError, match="was changed"):
        add(Layout(repository.path), [package], copy=change_then_copy)
    assert contents(repository.path) == before


def test_files_are_readable_by_a_web_server_whatever_the_umask(
    tmp_path: Path, package: Path
) -> None:
    old = os.umask(0o077)
    try:
        repository = make_repository(tmp_path, package)
    finally:
        os.umask(old)
    for path in [repository.path, *(repository.path / "metadata").rglob("*"),
                 *(repository.path / "targets").rglob("*")]:  # fmt: skip
        assert path.stat().st_mode & 0o004, path
    assert {path.stat().st_mode & 0o777 for path in repository.keys.glob("*.pem")} == {0o600}
    assert repository.keys.stat().st_mode & 0o777 == 0o700


def test_the_same_inputs_give_the_same_bytes(package: Path, tmp_path: Path) -> None:
    repository = make_repository(tmp_path, options=("--now", NOW))
    twin = repository.copy(tmp_path / "twin")
    steps: list[tuple[object, ...]] = [
        ("publish", package),
        ("remove", "tiny", "1.0.0"),
        ("sign", "--yes", "--renew"),
        ("sign", "--timestamp-days", 7),
    ]
    later = "2026-12-01T00:00:00Z"
    for step in steps:
        now = [] if step[0] == "remove" else ["--now", later]
        epoch = {} if step[0] == "remove" else {"SOURCE_DATE_EPOCH": "1796083200"}
        one, two = repository.run(*step, *now), twin.run(*step, env=epoch)
        assert one.exit_code == two.exit_code == 0, one.stderr + two.stderr
        assert contents(repository.path) == contents(twin.path)
    assert contents(repository.keys) == contents(twin.keys)


def test_signing_with_nothing_staged_renews_what_is_due(tmp_path: Path) -> None:
    repository = make_repository(tmp_path, options=("--now", "2026-01-01T00:00:00Z"))

    def after(*arguments: object) -> dict[str, int]:
        done = repository.run("sign", *arguments)
        assert done.exit_code == 0, done.stderr
        return versions(repository.run("status", "--json", *arguments[-2:]))

    assert after("--now", "2026-01-02T00:00:00Z") == {
        "root": 1, "targets": 1, "snapshot": 1, "timestamp": 2,
    }  # fmt: skip
    assert after("--now", "2026-02-01T00:00:00Z") == {
        "root": 1, "targets": 1, "snapshot": 2, "timestamp": 3,
    }  # fmt: skip
    assert after("--now", "2026-05-01T00:00:00Z") == {
        "root": 1, "targets": 2, "snapshot": 3, "timestamp": 4,
    }  # fmt: skip
    assert after("--now", "2026-08-01T00:00:00Z") == {
        "root": 2, "targets": 3, "snapshot": 4, "timestamp": 5,
    }  # fmt: skip
    assert after("--renew", "--now", "2026-08-02T00:00:00Z") == {
        "root": 3, "targets": 4, "snapshot": 5, "timestamp": 6,
    }  # fmt: skip


def test_days_of_validity_stay_as_they_were_set(tmp_path: Path) -> None:
    repository = make_repository(tmp_path, options=("--snapshot-days", 90, "--now", NOW))
    done = repository.run("sign", "--timestamp-days", 7, "--now", NOW)
    assert "timestamp 2, expires 2026-11-08" in done.stdout
    done = repository.run("sign", "--renew", "--now", NOW)
    assert "timestamp 3, expires 2026-11-08" in done.stdout
    assert "snapshot 2, expires 2027-01-30" in done.stdout
    assert "targets 2, expires 2027-04-30" in done.stdout
    assert "root 2, expires 2027-11-01" in done.stdout


def test_status_fails_when_something_has_expired_or_soon_will(
    tmp_path: Path, package: Path
) -> None:
    repository = make_repository(tmp_path, options=("--now", NOW))
    fine = repository.run("status", "--now", "2026-12-01T00:00:00Z")
    assert fine.exit_code == 0
    soon = repository.run("status", "--now", "2026-12-01T00:00:00Z", "--within", 14)
    assert (soon.exit_code, soon.code) == (5, "metadata_expired")
    assert "timestamp 1 expires on 2026-12-06" in soon.stderr
    late = repository.run("status", "--now", "2027-11-02T00:00:00Z", "--json")
    assert (late.exit_code, late.code) == (5, "metadata_expired")
    assert [p["code"] for p in json.loads(late.stdout)["problems"]] == ["metadata_expired"] * 4
    assert "root 1 expired" in late.stderr
    assert "(and 3 more)" in late.stderr


def test_publishing_under_an_expired_root_says_that_devices_refuse_it(
    tmp_path: Path, package: Path
) -> None:
    repository = make_repository(tmp_path, options=("--now", "2026-01-01T00:00:00Z"))
    done = repository.run("publish", package, "--now", "2027-02-01T00:00:00Z")
    assert (done.exit_code, done.code) == (5, "metadata_expired")
    assert "root 1 expired" in done.stderr
    assert repository.run("sign", "--now", "2027-02-01T00:00:00Z").exit_code == 0


def test_status_finds_lost_and_changed_files(repository: Repository, package: Path) -> None:
    repository.publish(package)
    [model] = repository.path.glob("targets/tiny/1.0.0/*.model.onnx")
    content = model.read_bytes()
    model.write_bytes(b"X" + content[1:])
    assert repository.run("status").exit_code == 0
    assert repository.run("status", "--verify").code == "digest_mismatch"
    model.unlink()
    assert repository.run("status").code == "digest_mismatch"
    repository.publish(package)
    assert repository.run("status", "--verify").exit_code == 0, "publishing again mends it"


def test_status_of_a_mirror_needs_neither_keys_nor_a_writable_folder(
    repository: Repository, tmp_path: Path
) -> None:
    mirror = tmp_path / "mirror"
    shutil.copytree(repository.path / "metadata", mirror / "metadata")
    before = contents(mirror)
    done = edgeqa_models("repository", "status", mirror, "--keys", tmp_path / "none", "--json")
    assert done.exit_code == 0
    assert not any(k["here"] for role in json.loads(done.stdout)["roles"] for k in role["keys"])
    assert contents(mirror) == before


@pytest.mark.parametrize("command", ["status", "sign", "publish", "add", "rotate"])
def test_a_folder_that_is_no_repository_is_refused(
    command: str, package: Path, tmp_path: Path
) -> None:
    folder = Repository(tmp_path / "none", tmp_path / "keys")
    rest = {"publish": [package], "add": [package], "rotate": ["root"]}.get(command, [])
    done = folder.run(command, *rest)
    assert (done.exit_code, done.code) == (3, "repository_missing")
    assert not folder.path.exists()
    assert not folder.keys.exists()


def test_init_overwrites_neither_a_repository_nor_keys(
    repository: Repository, tmp_path: Path
) -> None:
    before = contents(tmp_path)
    assert repository.run("init", "--no-passphrase").code == "output_exists"
    second = Repository(tmp_path / "second", repository.keys)
    assert second.run("init", "--no-passphrase").code == "output_exists"
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    "options",
    [("--root-threshold", 2), ("--targets-threshold", 3, "--targets-keys", 2)],
)
def test_a_threshold_beyond_the_keys_is_refused(
    options: tuple[object, ...], tmp_path: Path
) -> None:
    done = Repository(tmp_path / "repo", tmp_path / "keys").run("init", "--no-passphrase", *options)
    assert (done.exit_code, done.code) == (2, "usage")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["timestamp.json", "1.snapshot.json", "1.targets.json"])
@pytest.mark.parametrize("damage", ["gone", "cut", "other role", "unsigned", "huge"])
def test_damaged_metadata_are_named_and_nothing_is_built_upon_them(
    name: str, damage: str, repository: Repository, package: Path
) -> None:
    path = repository.path / "metadata" / name
    if damage == "gone":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:-10])
    elif damage == "other role":
        shutil.copy(repository.path / "metadata" / "1.root.json", path)
    elif damage == "unsigned":
        path.write_text(json.dumps({**json.loads(path.read_bytes()), "signatures": []}))
    else:
        path.write_bytes(b" " * 6_000_000)
    before = contents(repository.path)
    for arguments in (("status",), ("sign",), ("publish", package), ("add", package)):
        done = repository.run(*arguments)
        assert (done.exit_code, done.code) == (5, "repository_damaged")
        assert name in done.stderr
    assert contents(repository.path) == before


def test_two_commands_at_once_take_turns(repository: Repository, tmp_path: Path) -> None:
    packages = [make_package(tmp_path, "tiny", f"1.{n}.0") for n in range(3)]
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "edgeqa.cli", "models", "publish", repository.path, package,
             "--keys", repository.keys],
            stderr=subprocess.PIPE,
            text=True,
        )
        for package in packages
    ]  # fmt: skip
    for process in running:
        _, complaint = process.communicate(timeout=60)
        assert process.returncode == 0, complaint
    report = repository.run("status", "--json", "--verify")
    assert report.exit_code == 0
    assert len(json.loads(report.stdout)["packages"]) == 3


def test_a_locked_repository_is_refused_in_the_end(repository: Repository) -> None:
    with (repository.path / ".lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(RepositoryBusyError), Layout(repository.path).locked(wait_s=0.1):
            pass
    with Layout(repository.path).locked(wait_s=0):
        pass


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("repository", "status", "none"), 3, "[repository_missing]"),
        (("repository", "sign", "repo", "--role", "mayor"), 2, "'mayor' is no role"),
        (("repository", "sign", "repo", "--now", "tomorrow"), 2, "--now tomorrow"),
        (("repository", "sign", "repo", "--now", "2026-13-01T00:00:00Z"), 2, "month"),
        (("repository", "sign", "repo", "--now", "9999-01-01T00:00:00Z"), 2, "future"),
        (("repository", "sign", "repo", "--now", "2001-01-01T00:00:00Z"), 3, "[clock_behind]"),
        (("repository", "sign", "repo", "--timestamp-days", "0"), 2, "--timestamp-days"),
        (("repository", "rotate", "repo", "king"), 2, "'king' is no role"),
        (("repository", "rotate", "repo", "root", "--threshold", "2"), 2, "cannot be demanded"),
        (("repository", "rotate", "repo", "root", "--remove", "beef"), 3, "[key_not_in_role]"),
        (("publish", "repo"), 2, "packages"),
        (("publish", "repo", "none"), 5, "[package_malformed]"),
    ],
)
def test_bad_input_is_one_line_and_an_exit_code(
    arguments: tuple[str, ...],
    status: int,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make_repository(tmp_path)
    before = contents(tmp_path)
    monkeypatch.chdir(tmp_path)
    done = edgeqa_models(*arguments, env={"EDGEQA_MODELS_KEYS": "keys"})
    assert done.exit_code == status
    assert said in f"{done.stderr} [{done.code}]"
    assert contents(tmp_path) == before


def test_an_error_of_the_real_command_is_one_line_with_its_code(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "edgeqa.cli", "models", "publish", "none", "none"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 3
    assert done.stderr.count("\n") == 1
    assert done.stderr.endswith("[repository_missing]\n")


def test_source_date_epoch_must_be_a_time(repository: Repository) -> None:
    done = repository.run("sign", env={"SOURCE_DATE_EPOCH": "yesterday"})
    assert (done.exit_code, done.code) == (2, "usage")


def test_five_thousand_packages_fit_and_what_devices_cannot_take_is_refused(
    repository: Repository, package: Path
) -> None:
    repository.publish(package)
    state = load(Layout(repository.path))
    targets = copy.deepcopy(state.targets.signed)
    first = dict(targets.targets)

    def grow(numbers: range) -> None:
        for number in numbers:
            version = f"1.0.{number}"
            for path, target in first.items():
                made = copy.deepcopy(target)
                made.path = path.replace("1.0.0", version)
                if made.custom:
                    made.unrecognized_fields["custom"] = {**target.custom, "version": version}
                targets.targets[made.path] = made

    grow(range(1, 5000))
    assert len(packages(entered(state, targets).signed)) == 5000
    grow(range(5000, 7000))
    with pytest.raises(ConfigError) as raised:
        entered(state, targets)
    assert raised.value.code == "repository_full"
