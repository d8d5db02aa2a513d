"""The store's work that is killed, cut from power or refused at any step leaves a good store."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.kill_store import SCENARIOS, open_store, swap
from support.power_cut import ENDS
from support.stores import Device, flip_a_bit, not_synced

from edgeqa.manifest import open_package

SUPPORT = Path(__file__).parents[1]
PARTS = {"lock", "packages", "reserve", "staging", "state.json", "trash"}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", not_synced)


@dataclass(frozen=True)
class Left:
    """What is left after a kill, and what the process was told before."""

    folder: Path
    said: set[str]
    step: str


def broken(fault: str, device: Device, scenario: str, new: Path, out: Path) -> list[Left]:
    """What is left after each fault; the last one did not happen."""
    done = subprocess.run(
        [sys.executable, "-m", "support.kill_store", fault, out, scenario, device.folder, new,
         device.embedded[0]],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(SUPPORT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    steps = [*json.loads((out / "steps.json").read_bytes()), "the end"]
    return [
        Left(folder / "state", set((folder / "said").read_text().splitlines()), step)
        for folder, step in zip(sorted(out.glob("[0-9]*"), key=lambda p: int(p.name)), steps,
                                strict=True)
    ]  # fmt: skip


@pytest.fixture
def device(tmp_path: Path) -> Device:
    """1.0.0 stored, 2.0.0 previous, 3.0.0 current."""
    device = Device(tmp_path / "device")
    store = device.open()
    for version in ("1.0.0", "2.0.0", "3.0.0"):
        device.use(store, version)
    store.close()
    return device


def first_version(left: Left, device: Device) -> str:
    """What the device serves after the fault, and that all it has is whole."""
    store = open_store(left.folder, device.embedded[0])
    first = next(store.boot_order())
    for row in store.packages():
        package = store.find(row.model.name, row.model.version, row.model.digest)
        assert package is not None, f"{row} is damaged"
    assert first == open_package(first.path)
    store.close()
    return first.manifest.version


def finish(left: Left, device: Device, scenario: str, new: Path) -> None:
    """Again, to the end; nothing is left behind."""
    store = open_store(left.folder, device.embedded[0])
    SCENARIOS[scenario](store, new, lambda _: None)
    store.close()
    assert {path.name for path in left.folder.iterdir()} <= PARTS
    assert not [*(left.folder / "staging").iterdir(), *(left.folder / "trash").iterdir()]
    for path in (left.folder / "packages").iterdir():
        open_package(path)


@pytest.mark.parametrize("fault", ENDS)
def test_swap(fault: str, device: Device, tmp_path: Path) -> None:
    new = device.package("4.0.0")
    lefts = broken(fault, device, "swap", new, tmp_path / "out")
    assert len(lefts) > 60
    assert {"create", "write", "half write", "sync", "rename", "remove", "rmdir", "mkdir"} <= {
        left.step for left in lefts
    }
    served = []
    for left in lefts:
        served.append(first_version(left, device))
        store = open_store(left.folder, device.embedded[0])
        if "commanded" in left.said:
            assert not store.accept_command(7), left
        done = store.state.wish is not None
        assert done == (served[-1] == "4.0.0"), "the wish is noted in the same step"
        previous = store.previous_ref()
        assert previous is not None
        assert previous.version == ("3.0.0" if done else "2.0.0")
        store.close()
        if "activated" in left.said:
            assert served[-1] == "4.0.0", left
        finish(left, device, "swap", new)
        assert {p.name[:10] for p in (left.folder / "packages").iterdir()} == {
            "tiny-3.0.0", "tiny-4.0.0",
        }  # fmt: skip
    assert served == sorted(served), "once new, always new"
    assert set(served) == {"3.0.0", "4.0.0"}


@pytest.mark.slow
@pytest.mark.parametrize("fault", ENDS)
def test_first_swap_of_a_device_that_has_no_folder_yet(fault: str, tmp_path: Path) -> None:
    device = Device(tmp_path / "device")
    new = device.package("4.0.0")
    lefts = broken(fault, device, "swap", new, tmp_path / "out")
    assert len(lefts) > 50
    served = []
    for left in lefts:
        served.append(first_version(left, device))
        if "activated" in left.said:
            assert served[-1] == "4.0.0", left
        finish(left, device, "swap", new)
        assert first_version(left, device) == "4.0.0"
    assert set(served) == {"0.1.0", "4.0.0"}


@pytest.mark.parametrize("fault", ENDS)
def test_rollback(fault: str, device: Device, tmp_path: Path) -> None:
    new = device.package("4.0.0")
    lefts = broken(fault, device, "back", new, tmp_path / "out")
    assert len(lefts) > 20
    served = []
    for left in lefts:
        served.append(first_version(left, device))
        if "stepped back" in left.said:
            assert served[-1] == "2.0.0", left
        store = open_store(left.folder, device.embedded[0])
        assert len(store.state.given_up) == (served[-1] == "2.0.0"), left
        store.close()
        if served[-1] == "3.0.0":
            finish(left, device, "back", new)
            assert first_version(left, device) == "2.0.0"
    assert set(served) == {"2.0.0", "3.0.0"}


@pytest.mark.slow
@pytest.mark.parametrize("fault", ENDS)
def test_swap_that_comes_to_nothing(fault: str, device: Device, tmp_path: Path) -> None:
    new = device.package("4.0.0")
    lefts = broken(fault, device, "fail", new, tmp_path / "out")
    for left in lefts:
        assert first_version(left, device) == "3.0.0"
        finish(left, device, "fail", new)
        assert first_version(left, device) == "3.0.0"
        assert len(list((left.folder / "packages").iterdir())) == 2


@pytest.mark.slow
@pytest.mark.parametrize("fault", ENDS)
def test_start_with_a_damaged_package(fault: str, device: Device, tmp_path: Path) -> None:
    current = next((device.folder / "packages").glob("tiny-3*"))
    flip_a_bit(current / "model.onnx")
    lefts = broken(fault, device, "boot", current, tmp_path / "out")
    assert len(lefts) > 20
    for left in lefts:
        assert first_version(left, device) == "2.0.0"
        finish(left, device, "boot", current)


@pytest.mark.slow
@pytest.mark.parametrize("fault", ENDS)
def test_fetching_what_is_damaged_again(fault: str, device: Device, tmp_path: Path) -> None:
    new = device.package("4.0.0")
    store = device.open()
    swap(store, new, lambda _: None)
    store.close()
    flip_a_bit(next((device.folder / "packages").glob("tiny-4*")) / "tokenizer.json")
    for left in broken(fault, device, "swap", new, tmp_path / "out"):
        assert first_version(left, device) in {"3.0.0", "4.0.0"}
        if "activated" in left.said:
            assert first_version(left, device) == "4.0.0"
        finish(left, device, "swap", new)
        assert first_version(left, device) == "4.0.0"


REFUSALS = [
    pytest.param(
        fault, scenario, marks=[] if (fault, scenario) == ("ENOSPC", "back") else [pytest.mark.slow]
    )
    for fault in ("ENOSPC", "EROFS", "EIO")
    for scenario in SCENARIOS
]


@pytest.mark.parametrize(("fault", "scenario"), REFUSALS)
def test_disk_that_refuses(fault: str, scenario: str, device: Device, tmp_path: Path) -> None:
    """The child processes hold what the module `kill_store` says of them."""
    new = device.package("4.0.0")
    lefts = broken(fault, device, scenario, new, tmp_path / "out")
    for left in lefts:
        assert first_version(left, device) == {"swap": "4.0.0", "back": "2.0.0"}.get(
            scenario, "3.0.0"
        ), left
        finish(left, device, scenario, new)


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["ENOSPC", "EROFS", "EIO"])
def test_disk_that_refuses_a_new_device(fault: str, tmp_path: Path) -> None:
    device = Device(tmp_path / "device")
    new = device.package("4.0.0")
    for left in broken(fault, device, "swap", new, tmp_path / "out"):
        assert first_version(left, device) == "4.0.0"
    shutil.rmtree(tmp_path / "out")
