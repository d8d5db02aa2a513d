"""What the cloud believes of a repository, and what it makes of one that lies or is away."""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
from sqlalchemy import func, insert, select
from support.catalogue import Cloud
from support.fleet_databases import Databases
from support.forge import forge_package, forge_targets
from support.hostile_server import Fault, serve_hostile
from support.repository import Repository, make_package, make_repository

from edgeqa.errors import ConfigError, ExitCode
from edgeqa.manifest import open_package
from edgeqa_cloud.packages.wiring import wire_catalogue
from edgeqa_cloud.rollout.tables import packages
from edgeqa_cloud.settings import CloudSettings
from edgeqa_cloud.tables import devices

FILES = {"model.onnx": b"m" * 100, "tokenizer.json": b"{}", "checks.json": b"[]"}
DAY_MS = 86_400_000


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """With tiny 1.0.0."""
    folder = tmp_path_factory.mktemp("template")
    return make_repository(folder, make_package(folder))


@pytest.fixture
def repository(template: Repository, tmp_path: Path) -> Repository:
    return template.copy(tmp_path / "repository")


def now_ms() -> int:
    return round(time.time() * 1000)


def cloud_of(databases: Databases, repository: Repository, tmp_path: Path) -> Iterator[Cloud]:
    with databases.open(databases.new()) as database:
        yield Cloud(
            database, repository.path.as_uri(), repository.root, tmp_path / "seen", now_ms()
        )


@pytest.fixture
def cloud(sqlite_databases: Databases, repository: Repository, tmp_path: Path) -> Iterator[Cloud]:
    yield from cloud_of(sqlite_databases, repository, tmp_path)


@pytest.fixture
def either(cloud_databases: Databases, repository: Repository, tmp_path: Path) -> Iterator[Cloud]:
    """The same over SQLite, and over PostgreSQL."""
    yield from cloud_of(cloud_databases, repository, tmp_path)


def at(cloud: Cloud, url: str) -> Cloud:
    """The same cloud, whose settings name another address."""
    return replace(cloud, url=url, stop=threading.Event())


# What is told of what is there.


def test_a_package_is_listed_with_what_its_manifest_says(
    either: Cloud, repository: Repository, tmp_path: Path
) -> None:
    view = either.read()
    package = open_package(tmp_path_of(repository, tmp_path))
    [one] = view.packages
    assert (one.name, one.version, one.digest) == ("tiny", "1.0.0", package.digest)
    assert one.bytes == sum(path.stat().st_size for path in package.path.iterdir())
    assert (one.precision, one.licence, one.architecture["type"]) == ("int8", "Apache-2.0", "bert")
    assert (one.scores, one.cards, one.baseline, one.forced) == ([], [], None, None)
    assert one.first_seen_ms == one.last_seen_ms == view.read_ms == view.tried_ms == either.now_ms
    assert (view.repository, view.code, view.message, one.gone_ms) == (either.url, None, None, None)
    assert either.find() == one
    assert either.find(digest=package.digest) == one


def tmp_path_of(repository: Repository, tmp_path: Path) -> Path:
    """The package as the repository's files have it."""
    folder = tmp_path / "again"
    folder.mkdir()
    for path in (repository.path / "targets" / "tiny" / "1.0.0").iterdir():
        shutil.copy(path, folder / path.name.partition(".")[2])
    return folder


def test_it_expires_with_the_first_of_its_signatures(cloud: Cloud, repository: Repository) -> None:
    timestamp = json.loads((repository.path / "metadata" / "timestamp.json").read_bytes())
    expires = datetime.fromisoformat(timestamp["signed"]["expires"])
    assert cloud.read().expires_ms == expires.timestamp() * 1000


def test_devices_that_run_it_are_counted(either: Cloud) -> None:
    digest = either.read().packages[0].digest
    with either.database.writing() as connection:
        rows = [
            {"device": f"pi-{number}", "first_seen_ms": 1, "last_seen_ms": 1,
             "model_digest": digest if number < 3 else f"sha256:{number:064}"}
            for number in range(5)
        ]  # fmt: skip
        connection.execute(insert(devices), rows)
    assert either.find().devices == either.view().packages[0].devices == 3


def test_a_withdrawn_package_is_gone_and_comes_back(
    either: Cloud, repository: Repository, tmp_path: Path
) -> None:
    first = either.read().packages[0]
    repository.publish(make_package(tmp_path, "tiny", "1.1.0"))
    assert repository.run("remove", "tiny", "1.0.0").exit_code == 0
    assert repository.run("sign", "--yes").exit_code == 0
    either.now_ms += 1000
    view = either.read()
    assert [(one.version, one.gone_ms) for one in view.packages] == [
        ("1.1.0", None), ("1.0.0", either.now_ms)
    ]  # fmt: skip
    error = either.refusal()
    assert error.code == "unknown_package"
    assert "1.1.0" in str(error)
    repository.publish(make_package(tmp_path / "again"))
    either.now_ms += 1000
    back = either.read()
    assert back.packages[-1] == first.model_copy(update={"last_seen_ms": either.now_ms})
    assert [event["new"] for event in either.events("packages_changed")] == [
        ["tiny 1.0.0"], ["tiny 1.1.0"], ["tiny 1.0.0"]
    ]  # fmt: skip


def test_two_processes_read_at_once(either: Cloud, tmp_path: Path) -> None:
    # One that shares the folder, as on one machine, and one that does not.
    clouds = [either, replace(either), replace(either, folder=tmp_path / "another")]
    troubles: list[BaseException] = []

    def read(cloud: Cloud) -> None:
        try:
            for _ in range(5):
                cloud.job.read()
        except BaseException as error:  # noqa: BLE001  told below
            troubles.append(error)

    threads = [threading.Thread(target=read, args=(cloud,)) for cloud in clouds]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not troubles
    assert either.view().code is None
    with either.database.reading() as connection:
        assert connection.scalar(select(func.count()).select_from(packages)) == 1


# What cannot be rolled out.


def test_nothing_is_configured(cloud: Cloud) -> None:
    error = cloud.refusal()
    assert (error.code, error.exit_code) == ("repository_unread", ExitCode.REFUSED)
    assert "EDGEQA_CLOUD_REPOSITORY_ROOT" in str(error)
    assert cloud.view().repository is None


def test_a_package_that_nobody_offers(either: Cloud) -> None:
    either.read()
    for name, version in [("tiny", "9.9.9"), ("huge", "1.0.0"), ("tiny'--", "1.0.0"), ("", "")]:
        error = either.refusal(name, version)
        assert error.code == "unknown_package"
        assert "tiny 1.0.0" in str(error)


def test_an_empty_repository_says_how_to_fill_it(cloud: Cloud, tmp_path: Path) -> None:
    empty = make_repository(tmp_path / "empty")
    cloud.root = empty.root
    other = at(cloud, empty.path.as_uri())
    assert other.read().packages == []
    assert "edgeqa models publish" in str(other.refusal())


def test_another_digest_than_wanted(either: Cloud) -> None:
    digest = either.read().packages[0].digest
    error = either.refusal(digest=f"sha256:{'0' * 64}")
    assert error.code == "wrong_digest"
    assert digest in str(error)


def test_old_signatures_vouch_for_nothing(either: Cloud) -> None:
    expires_ms = either.read().expires_ms
    assert expires_ms is not None
    either.now_ms = expires_ms - 1
    either.find()
    either.now_ms = expires_ms
    assert either.refusal().code == "repository_expired"
    # The next reading says the same, and what was read stays for the history.
    view = either.read()
    assert (view.code, len(view.packages)) == ("repository_expired", 1)
    assert either.refusal().code == "repository_expired"


def test_a_repository_that_had_expired_before_it_was_first_read(cloud: Cloud) -> None:
    cloud.now_ms += 4000 * DAY_MS
    view = cloud.read()
    assert (view.code, view.read_ms, view.packages) == ("repository_expired", None, [])
    assert cloud.refusal().code == "repository_expired"


# Lies.


@pytest.mark.parametrize("file", ["timestamp.json", "2.snapshot.json", "2.targets.json"])
def test_a_flipped_bit(file: str, cloud: Cloud, repository: Repository) -> None:
    path = repository.path / "metadata" / file
    raw = bytearray(path.read_bytes())
    at = raw.index(b'"sig":"') + 7
    raw[at] ^= 1
    path.write_bytes(raw)
    for _ in range(3):
        view = cloud.read()
        assert (view.code, view.packages, view.read_ms) == ("metadata_refused", [], None)
        assert file in str(view.message)
    assert cloud.refusal().code == "repository_unread"
    assert file in str(cloud.refusal())
    assert len(cloud.events("repository_not_read")) == 1
    raw[at] ^= 1
    path.write_bytes(raw)
    assert (cloud.read().code, cloud.offered()) == (None, ["tiny 1.0.0"])
    assert len(cloud.events("repository_read_again")) == 1


def test_a_repository_of_other_keys(cloud: Cloud, tmp_path: Path) -> None:
    stranger = make_repository(tmp_path / "stranger", make_package(tmp_path))
    assert at(cloud, stranger.path.as_uri()).read().code == "metadata_refused"
    assert cloud.offered() == []


def test_a_repository_of_the_past(
    cloud: Cloud, template: Repository, repository: Repository, tmp_path: Path
) -> None:
    repository.publish(make_package(tmp_path, "tiny", "1.1.0"))
    assert cloud.read().code is None
    # The old state, whole and truly signed; what was read stays.
    view = at(cloud, template.path.as_uri()).read()
    assert view.code == "metadata_refused"
    assert cloud.offered() == ["tiny 1.0.0", "tiny 1.1.0"]


def test_parts_of_two_states(
    cloud: Cloud, template: Repository, repository: Repository, tmp_path: Path
) -> None:
    repository.publish(make_package(tmp_path, "tiny", "1.1.0"))
    old = template.path / "metadata" / "2.targets.json"
    shutil.copy(old, repository.path / "metadata" / "3.targets.json")
    assert cloud.read().code == "metadata_refused"
    assert cloud.offered() == []


def test_a_manifest_that_was_exchanged(cloud: Cloud, repository: Repository) -> None:
    [path] = (repository.path / "targets" / "tiny" / "1.0.0").glob("*.manifest.json")
    good = path.read_bytes()
    for bad in (good.replace(b"Apache-2.0", b"Apache-2.1"), good + b" ", good[:-1], b""):
        path.write_bytes(bad)
        view = cloud.read()
        assert view.code in {"download_corrupt", "repository_unreachable"}, bad
        assert cloud.offered() == []
    path.write_bytes(good)
    assert cloud.read().code is None
    cloud.find()


def test_one_bad_package_hides_no_other(cloud: Cloud, repository: Repository) -> None:
    forge_package(repository, FILES, manifest=b"{}")
    view = cloud.read()
    assert (view.code, cloud.offered()) == ("package_malformed", ["tiny 1.0.0"])
    assert "tiny 6.6.6" in str(view.message)
    assert len(cloud.events("package_not_listed")) == 1
    cloud.find()


@pytest.mark.parametrize(
    ("code", "forged"),
    [
        ("package_malformed", {"manifest": b"[" * 100_000}),
        ("package_malformed", {"manifest": b" " * ((1 << 20) + 1)}),
        ("metadata_refused", {"summary": {"digest": f"sha256:{'0' * 64}"}}),
        ("metadata_refused", {"summary": {"bytes": 1 << 70}}),
        ("metadata_refused", {"summary": {"bytes": 5}}),
        ("metadata_refused", {"summary": {"name": "other"}}),
        ("metadata_refused", {"version": f"1.0.{'0' * 80}"}),
        ("metadata_refused", {"listed": {**FILES, "model.onnx": b"other"}}),
        ("package_unsupported", {"summary": {"schema": 2}}),
        ("package_unsupported", {"summary": {"precision": "int1"}}),
        ("wrong_digest", {"summary": {"precision": "fp32"}}),
    ],
)
def test_truly_signed_nonsense(
    code: str, forged: dict[str, object], cloud: Cloud, repository: Repository
) -> None:
    forge_package(repository, FILES, **forged)  # type: ignore[arg-type]  # one case's
    view = cloud.read()
    assert (view.code, cloud.offered()) == (code, ["tiny 1.0.0"])


def test_targets_that_are_no_packages(cloud: Cloud, repository: Repository) -> None:
    def add(targets: object) -> None:
        tiny = targets.targets["tiny/1.0.0/manifest.json"]  # type: ignore[attr-defined]
        for path in ("manifest.json", "a/manifest.json", "a/b/c/manifest.json", "../x", "a/b/c"):
            targets.targets[path] = tiny  # type: ignore[attr-defined]

    forge_targets(repository, add)
    assert (cloud.read().code, cloud.offered()) == (None, ["tiny 1.0.0"])


def test_words_that_databases_do_not_take(either: Cloud, repository: Repository) -> None:
    [path] = (repository.path / "targets" / "tiny" / "1.0.0").glob("*.manifest.json")
    content = json.loads(path.read_bytes()) | {
        "name": "tiny", "version": "6.6.6", "licence": "a\0b<script>",
        "files": {}, "baseline": None,
    }  # fmt: skip
    content["files"] = {
        name: {"sha256": hashlib.sha256(raw).hexdigest(), "bytes": len(raw)}
        for name, raw in FILES.items()
    }
    forge_package(repository, FILES, manifest=json.dumps(content).encode())
    assert either.read().code is None
    assert either.find("tiny", "6.6.6").licence == "a\N{REPLACEMENT CHARACTER}b<script>"


# A repository that is away.


def test_a_folder_that_is_not_there(cloud: Cloud, repository: Repository) -> None:
    cloud.read()
    repository.path.rename(repository.path.with_name("away"))
    view = cloud.read()
    assert (view.code, view.read_ms) == ("repository_unreachable", cloud.now_ms)
    cloud.find()  # what was read holds until it expires


def test_what_another_repository_offered_is_not_offered(cloud: Cloud, tmp_path: Path) -> None:
    cloud.read()
    view = at(cloud, (tmp_path / "nowhere").as_uri()).read()
    assert (view.read_ms, view.expires_ms, view.code) == (None, None, "repository_unreachable")
    error = cloud.refusal()
    assert error.code == "repository_unread"
    assert "nowhere" in str(error)


def test_a_server_that_fails_and_lies(cloud: Cloud, repository: Repository) -> None:
    with serve_hostile(repository.path) as server:
        other = at(cloud, server.url)
        server.faults = [Fault("timestamp.json", status=500)]
        assert other.read().code == "repository_unreachable"
        server.faults = [Fault("targets.json", endless=True)]
        assert other.read().code == "metadata_refused"
        # A manifest without end: no more of it is read than is signed.
        server.faults = [Fault("manifest.json", endless=True)]
        assert other.read().code == "download_corrupt"
        server.faults = [Fault("manifest.json", status=503)]
        assert other.read().code == "repository_unreachable"
        # A bad cache is passed by.
        server.faults = [Fault("manifest.json", times=1, body=b"old")]
        assert (other.read().code, other.offered()) == (None, ["tiny 1.0.0"])
        assert server.asked[-1].headers["Cache-Control"] == "no-cache"
        assert server.asked[-1].headers["User-Agent"].startswith("edgeqa-cloud/")
        # It is known now, and not fetched again.
        count = len(server.asked)
        assert other.read().code is None
        assert not any("manifest" in one.path for one in server.asked[count:])


def test_it_stops_while_a_server_is_silent(cloud: Cloud, repository: Repository) -> None:
    with serve_hostile(repository.path) as server:
        server.faults = [Fault("timestamp.json", silent=120.0)]
        other = at(cloud, server.url)
        with other.job:
            deadline = time.monotonic() + 30
            while not server.asked and time.monotonic() < deadline:
                time.sleep(0.01)
            assert not other.job.refresh(timeout_s=0.01)
        assert other.view().tried_ms is None  # nothing is made of a reading that was left


# The thread.


def test_it_reads_at_once_where_somebody_asks(
    cloud: Cloud, repository: Repository, tmp_path: Path
) -> None:
    with cloud.job:
        assert cloud.job.refresh(timeout_s=30)
        assert cloud.offered() == ["tiny 1.0.0"]
        repository.publish(make_package(tmp_path, "tiny", "1.1.0"))
        assert cloud.job.refresh(timeout_s=30)
        assert cloud.offered() == ["tiny 1.0.0", "tiny 1.1.0"]
    cloud.job.stop()


def test_nothing_is_read_before_the_tables_are_there(cloud: Cloud) -> None:
    ready = threading.Event()
    cloud.job._ready = ready.is_set
    with cloud.job:
        assert not cloud.job.refresh(timeout_s=0.3)
        assert cloud.view().tried_ms is None
        ready.set()
        assert cloud.job.refresh(timeout_s=30)
    assert cloud.offered() == ["tiny 1.0.0"]


def test_a_database_that_is_away(cloud: Cloud) -> None:
    path = Path(str(cloud.database.engine.url.database))
    tables = path.read_bytes()
    cloud.database.close()
    path.write_bytes(b"")  # nobody has made the tables yet
    with cloud.job:
        assert cloud.job.refresh(timeout_s=30)
        assert cloud.job.refresh(timeout_s=30)
        cloud.database.close()
        for name in ("-wal", "-shm"):
            path.with_name(path.name + name).unlink(missing_ok=True)
        path.write_bytes(tables)
        assert cloud.job.refresh(timeout_s=30)
    assert cloud.offered() == ["tiny 1.0.0"]
    assert len(cloud.events("catalogue_waits_for_database")) == 1


# Settings.


def settings(tmp_path: Path, **fields: object) -> CloudSettings:
    return CloudSettings(**{"repository_folder": tmp_path / "seen", **fields})  # type: ignore[arg-type]


def test_a_folder_is_an_address(tmp_path: Path) -> None:
    some = settings(tmp_path, repository=str(tmp_path), repository_root=tmp_path / "root.json")
    assert some.repository == tmp_path.as_uri()


@pytest.mark.parametrize(
    "fields",
    [
        {"repository": "https://models.example"},
        {"repository_root": "root.json"},
        {"repository": "ftp://models.example", "repository_root": "root.json"},
        {"repository": "https://a:secret@models.example", "repository_root": "root.json"},
    ],
)
def test_half_a_repository_and_a_wrong_address(fields: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="repository") as caught:
        settings(tmp_path, **fields)
    assert (
        "must be http" in str(caught.value)
        or "both or neither" in str(caught.value)
        or ("passwords" in str(caught.value))
    )


def test_roots_of_trust(cloud: Cloud, repository: Repository, tmp_path: Path) -> None:
    root = tmp_path / "root.json"
    some = settings(tmp_path, repository=cloud.url, repository_root=root)
    with pytest.raises(ConfigError, match=r"repository_root: .*root\.json"):
        wire_catalogue(some, cloud.database, None)  # type: ignore[arg-type]  # not used
    root.write_bytes(b"{}")
    with pytest.raises(ConfigError, match="repository_root: no TUF metadata"):
        wire_catalogue(some, cloud.database, None)  # type: ignore[arg-type]  # not used
    root.write_bytes(repository.root)
    job = wire_catalogue(some, cloud.database, None)  # type: ignore[arg-type]  # not used
    assert job is not None
    assert wire_catalogue(settings(tmp_path), cloud.database, None) is None  # type: ignore[arg-type]
