"""A state file that is damaged, in whatever way, is set aside and never believed."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.kill_store import record
from support.stores import Device, not_synced

from edgeqa.errors import ConfigError
from edgeqa.messages import Fault, ModelRef
from edgeqa.model_messages import ModelState
from edgeqa_agent.state_bytes import MAX_STATE_BYTES, _checksum, decode, encode
from edgeqa_agent.store_state import StoreState, WishRecord


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", not_synced)


def ref(number: int) -> ModelRef:
    return ModelRef(name="tiny", version=f"{number}.0.0", digest=f"sha256:{number:064}")


def full() -> StoreState:
    """A state with everything in it."""
    wish = WishRecord(
        id="w", state=ModelState.ACTIVE, name="tiny", version="3.0.0", digest=ref(3).digest,
        rollout="r", message="“so”",
    )  # fmt: skip
    state = StoreState().activated(ref(1), None).activated(ref(2), None)
    state = state.beginning(ref(2).digest).abandoned(ref(2), Fault(code="c", message="m"))
    return state.activated(ref(3), wish).beginning(ref(3).digest).commanded(1_700_000_000_000)


def test_state_comes_back_as_it_was() -> None:
    assert decode(encode(full())) == full()
    assert decode(encode(StoreState())) == StoreState()


def test_cut_off_at_any_byte_it_is_no_state() -> None:
    raw = encode(full())
    for length in range(len(raw) - 1):  # the last byte is the end of the line
        with pytest.raises(ValueError):  # noqa: PT011  json's, pydantic's or ours
            decode(raw[:length])


def test_with_any_byte_changed_it_is_no_state_or_the_same() -> None:
    raw = encode(full())
    refused = 0
    for position in range(len(raw)):
        changed = bytearray(raw)
        changed[position] ^= 1 << position % 8
        try:
            assert decode(bytes(changed)) == full()
        except ValueError:
            refused += 1
    assert refused > 0.8 * len(raw), "all but bits of white space"


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_random_bytes_are_no_state(raw: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        decode(raw)


leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
json_values = (
    leaves
    | st.lists(leaves, max_size=3)
    | st.dictionaries(st.sampled_from(["name", "version", "digest", "id"]), leaves, max_size=4)
)
FIELDS = ["current", "previous", "wish", "command_number", "begun", "given_up", "recent", "x"]


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(FIELDS), json_values) | json_values)
def test_true_checksum_does_not_make_a_state(fields: object) -> None:
    """Whoever writes such a file can write the folder; it is refused or read, no more."""
    try:
        raw = json.dumps({"schema": 1, "sha256": _checksum(fields), "state": fields}).encode()
        state = decode(raw)
    except ValueError:
        return
    assert decode(encode(state)) == state


def test_names_that_lead_out_of_the_folder_are_no_state() -> None:
    for bad in (
        {"name": "../../etc", "version": "1.0.0", "digest": ref(1).digest},
        {"name": "tiny", "version": "../1", "digest": ref(1).digest},
        {"name": "tiny", "version": "1.0.0", "digest": "sha256:../../.."},
    ):
        fields = {"current": bad}
        raw = json.dumps({"schema": 1, "sha256": _checksum(fields), "state": fields}).encode()
        with pytest.raises(ValueError, match="match pattern"):
            decode(raw)


def test_fields_of_a_later_version_are_passed_over() -> None:
    content = json.loads(encode(full()))
    content["state"]["new"] = {"a": 1}
    content["sha256"] = _checksum(content["state"])
    assert decode(json.dumps(content).encode()) == full()


def test_state_that_could_not_be_read_again_is_not_written() -> None:
    wish = record_of_version("1" * MAX_STATE_BYTES + ".0.0")
    with pytest.raises(ValueError, match="would be"):
        encode(StoreState().wished(wish))


def record_of_version(version: str) -> WishRecord:
    # Unchecked: no wish that is taken has a version as long as that.
    return WishRecord.model_construct(id="w", state=ModelState.FAILED, name="tiny", version=version)


DAMAGED = {
    "empty": b"",
    "zeros": bytes(4096),
    "no object": b"[]",
    "no schema": b"{}",
    "no state": b'{"schema": 1}',
    "deep": b"[" * 100_000,
    "deep in a list": b'{"schema": 1, "sha256": "", "state": ' + b"[" * 900 + b"]" * 900 + b"}",
    "lone surrogate": b'{"schema": 1, "sha256": "", "state": "\\ud800"}',
    "huge number": b'{"schema": 1, "sha256": "", "state": ' + b"9" * 10_000 + b"}",
    "later schema": encode(full()).replace(b'"schema": 1', b'"schema": 2'),
    "earlier schema": encode(full()).replace(b'"schema": 1', b'"schema": 0'),
    "half": encode(full())[:200],
    "changed number": encode(full()).replace(b"1700000000000", b"9700000000000"),
    "larger than it can be": encode(full()) + b" " * MAX_STATE_BYTES,
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_damaged_file_is_set_aside_and_the_default_serves(kind: str, tmp_path: Path) -> None:
    device = Device(tmp_path)
    store = device.open()
    package = device.use(store, "1.0.0")
    store.close()
    file = device.folder / "state.json"
    file.write_bytes(DAMAGED[kind])
    for _ in range(2):  # the second time it replaces the first
        store = device.open()
        assert "state_damaged" in device.events
        assert (device.folder / "state.json.damaged").read_bytes() == DAMAGED[kind]
        assert [one.manifest.version for one in store.boot_order()] == ["0.1.0"]
        assert store.find("tiny", "1.0.0", None) == package, "it need not be fetched again"
        store.activate(package, record(package))
        store.close()
        store = device.open()
        assert next(store.boot_order()) == package
        store.close()
        file.write_bytes(DAMAGED[kind])


def test_names_of_packages_that_are_gone_are_forgotten(tmp_path: Path) -> None:
    device = Device(tmp_path)
    store = device.open()
    device.use(store, "1.0.0")
    store.close()
    (device.folder / "state.json").write_bytes(encode(full()))
    store = device.open()
    assert [one.manifest.version for one in store.boot_order()] == ["0.1.0"]
    assert store.state.current is store.state.previous is store.state.wish is None
    assert store.state.command_number == 1_700_000_000_000


@pytest.mark.parametrize("part", ["", "lock", "packages", "staging", "trash"])
def test_folder_whose_parts_are_something_else_is_refused(part: str, tmp_path: Path) -> None:
    device = Device(tmp_path)
    device.folder.mkdir()
    if part == "lock":
        (device.folder / part).mkdir()
    else:
        if not part:
            device.folder.rmdir()
        (device.folder / part if part else device.folder).write_bytes(b"")
    for _ in range(2):  # the lock is not held after the first refusal
        with pytest.raises(ConfigError) as error:
            device.open()
        assert error.value.code == "store_unusable"
        assert "\n" not in str(error.value)


def test_what_does_not_belong_into_the_folder_is_removed_or_left_alone(tmp_path: Path) -> None:
    device = Device(tmp_path)
    store = device.open()
    package = device.use(store, "1.0.0")
    store.close()
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_bytes(b"keep")
    packages = device.folder / "packages"
    (packages / "link").symlink_to(outside)
    (packages / "file").write_bytes(b"x")
    (packages / "empty").mkdir()
    package.path.rename(packages / "tiny-9.0.0-0000000000000000")
    (device.folder / "staging" / "link").symlink_to(outside)
    (device.folder / "trash" / "old" / "deep").mkdir(parents=True)
    (device.folder / "trash" / "link").symlink_to(outside)
    (device.folder / ".state.json.abcd").write_bytes(b"{")
    (device.folder / "trusted").mkdir()
    store = device.open()
    assert device.names() == device.names("staging") == device.names("trash") == set()
    assert not list(device.folder.glob(".*"))
    assert (device.folder / "trusted").is_dir(), "of another part of the agent"
    assert (outside / "file").read_bytes() == b"keep"
    assert next(store.boot_order()).manifest.version == "0.1.0"
