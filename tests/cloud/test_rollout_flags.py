"""From flags and spec files of `edgeqa rollout create` to a spec."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgeqa.errors import ExitCode, UsageError
from edgeqa_cloud.rollout.spec import RolloutSpec
from edgeqa_cloud.rollout.spec_doc import page
from edgeqa_cloud.rollout_flags import MAX_FILE_BYTES, Flags, spec_of

MODEL = "minilm-l6-squad@0.2.0"


def spec(file: Path | None = None, **flags: Any) -> RolloutSpec:
    flags.setdefault("package", MODEL)
    if file is None:
        flags.setdefault("everything", True)
    return spec_of(Flags(**flags), file)


def refused(file: Path | None = None, **flags: Any) -> str:
    with pytest.raises(UsageError) as error:
        spec(file, **flags)
    assert error.value.exit_code == ExitCode.USAGE
    assert "\x1b" not in str(error.value)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_the_least() -> None:
    made = spec()
    assert made == RolloutSpec.model_validate(
        {"package": {"name": "minilm-l6-squad", "version": "0.2.0"}, "target": {"all": True}}
    )


def test_a_target_of_several_parts() -> None:
    made = spec(everything=False, devices=["a", "b"], groups=["g"], tags=["t"], query="memory>=4")
    assert made.target.devices == ["a", "b"]
    assert (made.target.groups, made.target.tags) == (["g"], ["t"])
    assert (made.target.all, made.target.query) == (False, "memory>=4")


@pytest.mark.parametrize(
    ("text", "sizes"),
    [
        ("5%:10m,25%:1h,100%:1h", [(5, None, None, 600), (25, None, None, 3600),
                                   (100, None, None, 3600)]),
        ("20:0, 100% : 90s", [(None, 20, None, 0), (100, None, None, 90)]),
        ("0.5%:,100%", [(0.5, None, None, 600), (100, None, None, 600)]),
        ("kitchen+hall:1d,3", [(None, None, ["kitchen", "hall"], 86_400), (None, 3, None, 600)]),
    ],
)  # fmt: skip
def test_stages(text: str, sizes: list[Any]) -> None:
    stages = [(one.percent, one.count, one.devices, one.soak_s) for one in spec(stages=text).stages]
    assert stages == sizes


@pytest.mark.parametrize(
    "text",
    ["", ",", "5%:never", "101%", "0%", "0", "-5%", "50%,5%", "10,5", "5%,5%", "a b",
     "a+a", "a,a", "5%:10m:3", "99999999999", "9" * 5000, "5%:-1s", "\x1b[31m", "a/b:1m",
     "nan%", "1e3%"],
)  # fmt: skip
def test_stages_that_make_no_sense(text: str) -> None:
    assert "stage" in refused(stages=text)


def test_gates() -> None:
    said = ["f1.max_drop=2", "f1.required=false", "memory=off", "p95_latency.max_ratio=2"]
    made = spec(gates=said, no_gates=["temperature"])
    gates = made.gates
    assert gates.f1 is not None
    assert (gates.f1.max_drop, gates.f1.required, gates.f1.min_questions) == (2, False, 100)
    assert (gates.memory, gates.temperature) == (None, None)
    assert gates.p95_latency is not None
    assert gates.p95_latency.max_ratio == 2
    assert gates.exact_match == RolloutSpec.model_fields["gates"].default.exact_match


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"gates": ["f2.max_drop=2"]}, ["f2", "exact_match"]),
        ({"gates": ["f1.max_drip=2"]}, ["max_drip", "max_drop"]),
        ({"gates": ["f1=2"]}, ["f1.FIELD"]),
        ({"gates": ["f1.max_drop"]}, ["NAME=VALUE"]),
        ({"gates": ["f1.max_drop=lots"]}, ["gates.f1.max_drop"]),
        ({"gates": ["f1.max_drop=NaN"]}, ["gates.f1.max_drop"]),
        ({"gates": ["f1.max_drop=-1"]}, ["gates.f1.max_drop"]),
        ({"gates": ["f1.max_drop=" + "[" * 100_000]}, ["gates.f1.max_drop"]),
        ({"no_gates": ["\x1b[2J"]}, ["there is no gate"]),
        ({"device_gates": ["min_f1=200"]}, ["device_gates.min_f1"]),
        ({"windows": ["22:00"]}, ["DAYS BEGIN-END"]),
        ({"windows": ["22:00-22:00"]}, ["ends when it begins"]),
        ({"windows": ["25:00-26:00"]}, ["windows.0"]),
        ({"windows": ["someday 22:00-06:00"]}, ["mon"]),
        ({"windows": ["22:00-06:00 Mars/Olympus"]}, ["time zone"]),
        ({"windows": ["22:00-06:00 ../../etc/passwd"]}, ["DAYS BEGIN-END"]),
        ({"package": "minilm"}, ["NAME@VERSION"]),
        ({"package": "@1.0.0"}, ["NAME@VERSION"]),
        ({"package": "minilm@latest"}, ["package.version"]),
        ({"package": "../../x@1.0.0"}, ["package.name"]),
        ({"package": None}, ["which model"]),
        ({"everything": False}, ["which devices"]),
        ({"devices": ["a/b"]}, ["target.devices.0"]),
        ({"digest": "sha256:1"}, ["package.digest"]),
        ({"others": {"on_breach": "cry"}}, ["on_breach"]),
        ({"others": {"max_per_minute": 0}}, ["max_per_minute"]),
    ],
)
def test_flags_that_make_no_sense(flags: dict[str, Any], words: list[str]) -> None:
    message = refused(**flags)
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("text", "days", "zone"),
    [
        ("22:00-06:00", ["mon", "tue", "wed", "thu", "fri", "sat", "sun"], "UTC"),
        ("daily 22:00-06:00 UTC", ["mon", "tue", "wed", "thu", "fri", "sat", "sun"], "UTC"),
        ("mon-fri 22:00-06:00 Europe/Berlin", ["mon", "tue", "wed", "thu", "fri"], "Europe/Berlin"),
        ("sat-mon,wed 22:00 - 06:00", ["mon", "wed", "sat", "sun"], "UTC"),
        ("fri 22:00-06:00", ["fri"], "UTC"),
    ],
)
def test_windows(text: str, days: list[str], zone: str) -> None:
    (window,) = spec(windows=[text]).windows
    assert ([day.value for day in window.days], window.timezone) == (days, zone)
    assert (window.begin, window.end) == ("22:00", "06:00")


def test_a_file_and_flags_over_it(tmp_path: Path) -> None:
    toml = tmp_path / "night.toml"
    toml.write_text(
        """
        max_per_minute = 50
        note = "in the night"
        stages = [{ count = 1, soak_s = 60 }, { percent = 100 }]
        [package]
        name = "minilm-l6-squad"
        version = "0.1.1"
        [target]
        groups = ["site-1"]
        [gates.f1]
        max_drop = 1
        required = false
        [gates]
        memory = false
        """
    )
    made = spec(toml, package=None)
    assert (made.package.version, made.target.groups) == ("0.1.1", ["site-1"])
    assert made.gates.memory is None
    over = spec(toml, package=MODEL, tags=["t"], gates=["f1.max_drop=2"],
                others={"note": "now", "max_per_minute": None})  # fmt: skip
    assert (over.package.version, over.target.groups, over.target.tags) == ("0.2.0", [], ["t"])
    assert over.gates.f1 is not None
    assert (over.gates.f1.max_drop, over.gates.f1.required) == (2, False)
    assert (over.note, over.max_per_minute, len(over.stages)) == ("now", 50, 2)


def test_a_json_file_is_what_the_api_takes(tmp_path: Path) -> None:
    made = spec(windows=["fri 22:00-06:00"], stages="1:0,100%", device_gates=["min_f1=70"])
    file = tmp_path / "spec.json"
    file.write_text(made.model_dump_json())
    assert spec(file, package=None) == made


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.toml", "not toml"),
        ("a.json", "{"),
        ("a.json", "[]"),
        ("a.json", "[" * 100_000),
        ("a.json", json.dumps({"package": 1, "target": 2})),
        ("a.toml", "surprise = 1\n[target]\nall = true"),
        ("a.toml", "x" * (MAX_FILE_BYTES + 1)),
        ("a.toml", "a = '\x1b[31m'"),
    ],
)
def test_files_that_make_no_sense(tmp_path: Path, name: str, text: str) -> None:
    file = tmp_path / name
    file.write_text(text)
    refused(file)


def test_no_file(tmp_path: Path) -> None:
    assert "No such file" in refused(tmp_path / "none.toml")
    assert "directory" in refused(tmp_path)
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    assert "binary.toml" in refused(tmp_path / "binary.toml")


def test_the_reference_is_up_to_date_and_its_example_is_one(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "rollout-spec.md").read_text(encoding="utf-8")
    assert text == page(), "run: python -m edgeqa_cloud.rollout.spec_doc > docs/rollout-spec.md"
    file = tmp_path / "example.toml"
    file.write_text(text.split("```toml\n")[1].split("```")[0])
    made = spec(file, package=None)
    assert (made.max_per_minute, len(made.stages), made.target.query) == (100, 3, "memory>=4")
    for name in RolloutSpec.model_fields:
        assert f"| `{name}` |" in text
