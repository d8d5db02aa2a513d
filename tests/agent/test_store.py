"""The store: what is current, previous, found, given up, pruned; and what hostile input does."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from support.kill_store import fetch, record
from support.repository import make_package
from support.stores import Device, digest_of, flip_a_bit, not_synced

from edgeqa.errors import ConfigError, EdgeqaError, ExitCode, ModelLoadError, VerificationError
from edgeqa.messages import Fault
from edgeqa.model_messages import ModelState
from edgeqa_agent.store import Store, StoreError
from edgeqa_agent.store_state import MAX_BOOT_ATTEMPTS

REASON = Fault(code="rolled_back", message="a command said so")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", not_synced)


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path)


def order(store: Store) -> list[str]:
    return [package.manifest.version for package in store.boot_order()]


def again(device: Device, store: Store) -> Store:
    store.close()
    return device.open()


def test_new_device_serves_the_embedded_default(device: Device) -> None:
    store = device.open()
    assert order(store) == ["0.1.0"]
    assert store.previous_ref() is None
    assert store.previous_package() is None
    assert device.folder.stat().st_mode & 0o777 == 0o700
    (row,) = store.packages()
    assert (row.role, row.embedded, row.model.version) == ("active", True, "0.1.0")
    with pytest.raises(StoreError) as error:
        store.step_back(reason=REASON)
    assert error.value.code == "nothing_to_roll_back"
    assert store.prune(keep_quota=False) == 0


def test_current_and_previous_survive_a_restart(device: Device) -> None:
    store = device.open()
    device.use(store, "1.0.0")
    assert order(store) == ["1.0.0", "0.1.0"]
    previous = store.previous_package()
    assert previous is not None
    assert previous.manifest.version == "0.1.0", "the embedded default"
    device.use(store, "2.0.0")
    store = again(device, store)
    assert order(store) == ["2.0.0", "1.0.0", "0.1.0"]
    assert [(row.model.version, row.role) for row in store.packages()] == [
        ("2.0.0", "active"), ("1.0.0", "previous"), ("0.1.0", "stored"),
    ]  # fmt: skip


def test_rollback_goes_back_once_and_then_to_the_default(device: Device) -> None:
    store = device.open()
    first, second = device.use(store, "1.0.0"), device.use(store, "2.0.0")
    store.step_back(reason=REASON)
    assert store.state.is_given_up(second.digest)
    assert order(store) == ["1.0.0", "0.1.0"]
    store.step_back(reason=REASON)
    store = again(device, store)
    assert order(store) == ["0.1.0"]
    assert [one.digest for one in store.state.given_up] == [second.digest, first.digest]
    with pytest.raises(StoreError, match="no model to go back to"):
        store.step_back(reason=REASON)
    store.activate(second, None)
    assert not store.state.is_given_up(second.digest), "it was wished for again"
    assert store.state.is_given_up(first.digest)


def test_embedded_package_can_be_current_and_is_found_by_name(device: Device) -> None:
    store = device.open()
    device.use(store, "1.0.0")
    base = store.find("base", "0.1.0", None)
    assert base is not None
    store.activate(base, None)
    assert order(store) == ["0.1.0", "1.0.0"]
    store.step_back(reason=REASON)
    assert order(store) == ["1.0.0", "0.1.0"], "given up, and still better than nothing"


def test_agent_with_other_embedded_packages_starts_with_those(device: Device) -> None:
    store = device.open()
    base = store.find("base", "0.1.0", None)
    assert base is not None
    store.activate(base, record(base))
    store.close()
    device.embedded = [make_package(device.folder.parent / "newer", "base", "0.2.0")]
    store = device.open()
    assert order(store) == ["0.2.0"]
    assert store.state.current is None
    assert store.state.wish is None, "the wish is followed again and brings 0.1.0"


def test_wish_is_noted_with_the_swap_and_as_rolled_back_with_the_step_back(device: Device) -> None:
    store = device.open()
    package = device.bring(store, "1.0.0")
    store.activate(package, record(package))
    store = again(device, store)
    assert store.state.wish == record(package)
    store.step_back(reason=REASON)
    store = again(device, store)
    wish = store.state.wish
    assert wish is not None
    assert (wish.id, wish.state, wish.code) == (
        record(package).id, ModelState.ROLLED_BACK, "rolled_back",
    )  # fmt: skip


def test_message_of_any_length_and_bytes_can_be_noted(device: Device) -> None:
    store = device.open()
    package = device.use(store, "1.0.0")
    os_words = b"/mnt/\xff".decode("utf-8", "surrogateescape") + "x" * 100_000
    wish = record(package, ModelState.FAILED).model_validate(
        {**record(package).model_dump(), "message": os_words}
    )
    store.record_wish(wish)
    store.step_back(reason=Fault(code="model_keeps_dying", message=os_words))
    store = again(device, store)
    assert len(store.state.given_up[0].message) <= 500


def test_load_that_takes_the_device_down_is_not_begun_for_ever(device: Device) -> None:
    store = device.open()
    first, second = device.use(store, "1.0.0"), device.use(store, "2.0.0")
    store.record_wish(record(second))
    for _ in range(MAX_BOOT_ATTEMPTS):
        package = next(store.boot_order())
        assert package.digest == second.digest
        store.loading(package)
        store = again(device, store)  # the power goes
    assert order(store) == ["1.0.0", "0.1.0"]
    store = again(device, store)
    assert store.state.current == first.ref
    assert store.state.is_given_up(second.digest)
    assert store.state.wish is not None
    assert store.state.wish.state is ModelState.ROLLED_BACK
    assert "package_given_up" in device.events


def test_attempts_do_not_add_up_over_loads_that_succeed(device: Device) -> None:
    store = device.open()
    device.use(store, "1.0.0")
    for _ in range(2 * MAX_BOOT_ATTEMPTS):
        package = next(store.boot_order())
        store.loading(package)
        store = again(device, store)
        store.loading(package)
        store.ready(package)
        store = again(device, store)
    assert order(store) == ["1.0.0", "0.1.0"]
    written = (device.folder / "state.json").stat().st_ino
    store.ready(package)
    assert (device.folder / "state.json").stat().st_ino == written, "nothing changed"


def test_default_is_tried_however_often_it_failed(device: Device) -> None:
    store = device.open()
    for _ in range(MAX_BOOT_ATTEMPTS + 2):
        package = next(store.boot_order())
        store.loading(package)
        store = again(device, store)
    assert order(store) == ["0.1.0"]


@pytest.mark.parametrize("file", ["model.onnx", "manifest.json", "checks.json"])
def test_bit_flip_falls_back_to_previous_and_then_to_the_default(file: str, device: Device) -> None:
    store = device.open()
    first, second = device.use(store, "1.0.0"), device.use(store, "2.0.0")
    store.record_wish(record(second))
    flip_a_bit(second.file(file))
    store = again(device, store)
    assert order(store) == ["1.0.0", "0.1.0"]
    assert store.state.current == first.ref
    assert store.state.wish is None, "the wish is followed again and brings it anew"
    flip_a_bit(first.file(file))
    store = again(device, store)
    assert order(store) == ["0.1.0"]
    assert store.state.current is None
    store = again(device, store)
    assert device.names() == set(), "what is damaged is removed"
    assert device.names("trash") == set()


def test_damaged_default_is_passed_over_for_another_embedded_package(device: Device) -> None:
    device.embedded.append(make_package(device.folder.parent / "embedded", "base", "0.0.9"))
    flip_a_bit(device.embedded[0] / "model.onnx")
    store = device.open()
    assert order(store) == ["0.0.9"]
    flip_a_bit(device.embedded[1] / "model.onnx")
    assert order(store) == []
    assert device.embedded[0].exists(), "the installation is not ours to change"


def test_embedded_folders_that_are_no_packages_are_left_out(device: Device) -> None:
    empty = device.folder.parent / "empty"
    empty.mkdir()
    pipe = device.folder.parent / "pipe"
    pipe.mkdir()
    os.mkfifo(pipe / "manifest.json")
    device.embedded[:0] = [empty, pipe, device.folder.parent / "gone"]
    assert order(device.open()) == ["0.1.0"]
    assert device.events.count("embedded_unreadable") == 3


def test_package_is_found_by_name_version_and_digest(device: Device) -> None:
    store = device.open()
    package = device.bring(store, "1.0.0")
    assert store.find("tiny", "1.0.0", None) == package
    assert store.find("tiny", "1.0.0", package.digest) == package
    assert store.find("tiny", "1.0.0", f"sha256:{0:064}") is None
    assert store.find("tiny", "1.0.1", None) is None
    assert store.find("other", "1.0.0", None) is None


def test_one_version_with_several_digests(device: Device) -> None:
    """Two repositories may offer different packages under one name and version."""
    store = device.open()
    packages = []
    for number in range(3):
        staging = store.staging("tiny", "1.0.0")
        other = make_package(device.source / str(number), files={"tokenizer.json": b"%d" % number})
        fetch(other, staging)
        packages.append(store.admit(staging))
    assert len(device.names()) == 3
    store.activate(packages[1], None)
    store.activate(packages[0], None)
    store = again(device, store)
    assert store.find("tiny", "1.0.0", None) == packages[0], "the current one"
    assert store.find("tiny", "1.0.0", packages[2].digest) == packages[2]


def test_damaged_package_is_not_found_and_can_be_fetched_again(device: Device) -> None:
    store = device.open()
    package = device.use(store, "1.0.0")
    flip_a_bit(package.file("model.onnx"))
    assert store.find("tiny", "1.0.0", None) is None
    assert device.names() == set()
    assert device.bring(store, "1.0.0") == package
    assert order(again(device, store)) == ["1.0.0", "0.1.0"]


def test_damaged_previous_package_is_no_way_back(device: Device) -> None:
    store = device.open()
    first = device.use(store, "1.0.0")
    second = device.use(store, "2.0.0")
    flip_a_bit(first.file("model.onnx"))
    previous = store.previous_package()
    assert previous is not None
    assert previous.manifest.version == "0.1.0"
    assert store.previous_ref() == previous.ref
    store.step_back(reason=REASON)
    assert order(store) == ["0.1.0"]
    assert store.state.is_given_up(second.digest)


def test_unreadable_package_is_not_removed(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    store = device.open()
    package = device.use(store, "1.0.0")

    def broken(_: Path) -> str:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr("edgeqa.plain_package.sha256_hex", broken)
        assert store.find("tiny", "1.0.0", None) is None
    store = again(device, store)
    assert store.find("tiny", "1.0.0", None) == package


# -- fetching and admitting


def test_staging_is_kept_for_the_newest_wish_alone(device: Device) -> None:
    store = device.open()
    first = store.staging("tiny", "1.0.0")
    (first / "model.onnx").write_bytes(b"half")
    assert store.staging("tiny", "1.0.0") == first
    store = again(device, store)
    assert (store.staging("tiny", "1.0.0") / "model.onnx").read_bytes() == b"half"
    second = store.staging("tiny", "2.0.0")
    assert device.names("staging") == {second.name}
    assert device.names("trash") == set()


def test_version_too_long_for_a_file_name(device: Device) -> None:
    store = device.open()
    with pytest.raises(StoreError) as error:
        store.staging("tiny", f"{'1' * 300}.0.0")
    assert error.value.code == "store_failed"
    assert error.value.exit_code is ExitCode.REFUSED


def test_admitting_twice_is_harmless(device: Device) -> None:
    store = device.open()
    first, second = device.bring(store, "1.0.0"), device.bring(store, "1.0.0")
    assert first == second
    assert len(device.names()) == 1
    assert device.names("staging") == set()


def test_what_the_manifest_does_not_list_does_not_come_in(device: Device) -> None:
    store = device.open()
    staging = store.staging("tiny", "1.0.0")
    fetch(device.package("1.0.0"), staging)
    secret = device.folder.parent / "secret"
    secret.mkdir()
    (secret / "file").write_bytes(b"keep")
    (staging / "model.onnx.part").write_bytes(b"half")
    (staging / "link").symlink_to(secret)
    (staging / "folder" / "deep").mkdir(parents=True)
    os.mkfifo(staging / "pipe")
    package = store.admit(staging)
    assert {path.name for path in package.path.iterdir()} == {
        "manifest.json", "model.onnx", "tokenizer.json", "checks.json",
    }  # fmt: skip
    assert (secret / "file").read_bytes() == b"keep"
    assert device.names("trash") == set()


@pytest.mark.parametrize("file", ["model.onnx", "manifest.json"])
@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_what_is_no_plain_file_is_refused(file: str, kind: str, device: Device) -> None:
    store = device.open()
    staging = store.staging("tiny", "1.0.0")
    fetch(device.package("1.0.0"), staging)
    (staging / file).unlink()
    if kind == "link":
        (staging / file).symlink_to(device.package("1.0.0") / file)
    elif kind == "pipe":
        os.mkfifo(staging / file)
    else:
        (staging / file).mkdir()
    with pytest.raises((VerificationError, ModelLoadError)):
        store.admit(staging)
    assert device.names("staging") == device.names() == device.names("trash") == set()
    assert device.bring(store, "1.0.0").manifest.version == "1.0.0", "the next try is a new one"


def test_damage_and_other_packages_are_refused(device: Device) -> None:
    store = device.open()
    staging = store.staging("tiny", "1.0.0")
    fetch(device.package("1.0.0"), staging)
    flip_a_bit(staging / "checks.json")
    with pytest.raises(VerificationError) as error:
        store.admit(staging)
    assert error.value.code == "digest_mismatch"

    staging = store.staging("tiny", "2.0.0")
    fetch(device.package("1.0.0"), staging)
    with pytest.raises(VerificationError, match=r"its manifest is that of tiny-1\.0\.0"):
        store.admit(staging)

    with pytest.raises(ModelLoadError, match="not a model package"):
        store.admit(store.staging("tiny", "3.0.0"))
    with pytest.raises(ModelLoadError, match="not a model package"):
        store.admit(staging)  # which is gone
    assert device.names("staging") == device.names() == set()


def test_folders_elsewhere_are_neither_admitted_nor_removed(device: Device) -> None:
    store = device.open()
    foreign = device.package("1.0.0")
    with pytest.raises(StoreError, match="is not a download"):
        store.admit(foreign)
    assert (foreign / "manifest.json").exists()


def test_staging_that_is_a_link_is_refused(device: Device) -> None:
    store = device.open()
    staging = store.staging("tiny", "1.0.0")
    staging.rmdir()
    staging.symlink_to(device.package("1.0.0"))
    with pytest.raises(ModelLoadError, match="not a model package"):
        store.admit(staging)
    assert device.names("staging") == set()
    assert (device.package("1.0.0") / "manifest.json").exists()


def test_package_that_is_not_here_cannot_become_current(device: Device) -> None:
    store = device.open()
    package = device.bring(store, "1.0.0")
    assert store.prune(keep_quota=False) == 0, "it may be loading just now"
    store.record_wish(record(package, ModelState.FAILED))
    assert store.prune(keep_quota=False) > 0
    with pytest.raises(StoreError, match="not a package of this device"):
        store.activate(package, None)
    assert store.state.current is None


# -- pruning


def test_pruning_leaves_what_is_needed(device: Device) -> None:
    store = device.open()
    for version in ("1.0.0", "2.0.0", "3.0.0"):
        device.use(store, version)
    candidate = device.bring(store, "4.0.0")
    fetching = store.staging("tiny", "5.0.0")
    (fetching / "model.onnx").write_bytes(b"half")
    old = next(row for row in store.packages() if row.model.version == "1.0.0")
    assert store.prune(keep_quota=False) == old.bytes
    assert device.versions() == ["2.0.0", "3.0.0", "4.0.0"]
    assert device.names("staging") == {fetching.name}
    store.record_wish(record(candidate, ModelState.FAILED))
    assert store.prune(keep_quota=False) > old.bytes
    assert device.versions() == ["2.0.0", "3.0.0"]
    assert device.names("staging") == device.names("trash") == set()
    assert store.prune(keep_quota=False) == 0


def test_quota_removes_downloads_first_then_what_was_used_longest_ago(device: Device) -> None:
    store = device.open()
    for version in ("1.0.0", "2.0.0", "3.0.0", "1.0.0", "4.0.0", "5.0.0"):
        device.use(store, version)
    size = store.packages()[0].bytes
    (store.staging("tiny", "9.0.0") / "model.onnx").write_bytes(bytes(size // 2))

    store = again(device, store)
    assert store.prune(keep_quota=True) == 0, "all of it fits"
    store.close()
    store = device.open(quota_bytes=5 * size)
    assert store.prune(keep_quota=True) == size // 2
    store.close()
    store = device.open(quota_bytes=3 * size)
    assert store.prune(keep_quota=True) == 2 * size
    assert device.versions() == ["1.0.0", "4.0.0", "5.0.0"], "1.0.0 was used after 3.0.0"
    store.close()
    store = device.open(quota_bytes=0)
    assert store.prune(keep_quota=True) == size
    assert device.versions() == ["4.0.0", "5.0.0"], "these are needed"


def test_given_up_is_remembered_for_a_bounded_number_of_packages(device: Device) -> None:
    store = device.open()
    for number in range(20):
        store.loading(device.use(store, f"{number}.0.0"))
        store.step_back(reason=REASON)
        store.prune(keep_quota=False)
    assert len(store.state.given_up) == 16
    assert (device.folder / "state.json").stat().st_size < 8192
    assert store.state.is_given_up(digest_of(device.package("19.0.0")))


# -- commands, threads, other agents


def test_command_is_new_once(device: Device) -> None:
    store = device.open()
    assert store.accept_command(5)
    assert not store.accept_command(5)
    assert not store.accept_command(4)
    store = again(device, store)
    assert store.state.command_number == 5
    assert not store.accept_command(5)
    assert store.accept_command(2**53)


def test_one_command_in_many_threads_is_new_once(device: Device) -> None:
    store = device.open()
    taken: list[int] = []
    barrier = threading.Barrier(4)

    def take() -> None:
        barrier.wait()
        taken.extend(number for number in range(1, 50) if store.accept_command(number))

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == len(set(taken))
    assert store.state.command_number == 49
    assert again(device, store).state.command_number == 49


def test_pruning_beside_swaps_never_takes_what_is_in_use(device: Device) -> None:
    store = device.open()
    done = threading.Event()
    errors: list[EdgeqaError] = []

    def prune() -> None:
        while not done.is_set():
            try:
                store.prune(keep_quota=False)
            except EdgeqaError as error:
                errors.append(error)

    thread = threading.Thread(target=prune)
    thread.start()
    try:
        for number in range(10):
            device.use(store, f"{number % 4}.0.0")
            assert order(store)[0] == f"{number % 4}.0.0"
    finally:
        done.set()
        thread.join()
    assert errors == []
    assert not {"package_damaged", "package_forgotten"} & set(device.events)


def test_pruning_beside_a_download_minds_no_file_that_comes_and_goes(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = device.open()
    staging = store.staging("tiny", "9.0.0")
    for number in range(3):
        (staging / f".{number}.part").write_bytes(b"x")
    looked_at = Path.lstat

    def gone_by_now(path: Path) -> os.stat_result:
        if path.name == ".1.part":
            path.rename(staging / "model.onnx")
        return looked_at(path)

    monkeypatch.setattr(Path, "lstat", gone_by_now)
    assert store.prune(keep_quota=False) == 0
    monkeypatch.undo()
    assert (staging / "model.onnx").exists()


def test_two_agents_do_not_share_a_folder(device: Device) -> None:
    store = device.open()
    device.use(store, "1.0.0")
    before = (device.folder / "state.json").read_bytes()
    with pytest.raises(ConfigError) as error:
        device.open()
    assert error.value.code == "state_locked"
    assert error.value.exit_code is ExitCode.CONFIG
    assert (device.folder / "state.json").read_bytes() == before
    store.close()
    store.close()
    assert order(device.open()) == ["1.0.0", "0.1.0"]
