"""Probes over files as a Raspberry Pi has them, and over files as nothing should have them."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeqa.telemetry_messages import Telemetry
from edgeqa_agent import probes
from edgeqa_agent.throttling import flags_in, run_command, throttled
from edgeqa_agent.vitals import Vitals

SYSFS = "sys/devices/platform/soc/soc:firmware/get_throttled"
SYSFS_PI5 = "sys/devices/platform/soc@107c000000/soc@107c000000:firmware/get_throttled"
PI = {
    "proc/stat": "cpu  10132153 290696 3084719 46828483 16683 0 25195 0 175628 0\n"
    "cpu0 1393280 32966 572056 13343292 6130 0 17875 0 23933 0\nintr 1462898\n",
    "proc/meminfo": "MemTotal:        8255488 kB\nMemFree:         6012344 kB\n"
    "MemAvailable:    7216944 kB\nSwapTotal:        524272 kB\n",
    "proc/uptime": "350735.47 234388.90\n",
    "proc/42/statm": "31250 15000 5000 1 0 9000 0\n",
    "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
    "sys/class/thermal/thermal_zone0/temp": "51800\n",
    SYSFS_PI5: "0\n",
}
HOSTILE = {
    "empty": b"",
    "binary": bytes(range(256)),
    "text": b"nan",
    "huge": b"9" * 5000,
    "beyond_64_bits": b"99999999999999999999999",
    "infinite": b"inf inf inf\ncpu inf inf inf inf inf inf inf inf\n",
    "negative": b"-1 -1 -1\ncpu -1 -1 -1 -1 -1 -1 -1 -1\nMemTotal: -1 kB\n",
    "exponent": b"1e9 1e9\n",
    "other_digits": "cpu ١ ٢ ٣ ٤ ٥ ٦ ٧ ٨".encode(),
    "large": b"cpu " * 2_000_000,
    "nul": b"\x00" * 100,
}


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def vcgencmd(root: Path, script: str) -> Path:
    """The board's command, as a script."""
    command = root / "usr/bin/vcgencmd"
    command.parent.mkdir(parents=True)
    command.write_text(f"#!/bin/sh\n{script}\n")
    command.chmod(command.stat().st_mode | stat.S_IXUSR)
    return root


def record_of(vitals: Vitals) -> Telemetry:
    """As it goes over the wire: everything that was read must fit into a record."""
    vitals.sample()
    fields = {"processes": vitals.processes([("agent", 42)]), **vitals.fields()}
    record = {"device": "pi", "boot_id": "b", "seq": 1, "time_ms": 1, "uptime_ms": 1}
    return Telemetry.model_validate({**record, "interval_s": 60, **fields})


def test_all_that_a_pi_tells(tmp_path: Path) -> None:
    root = tree(tmp_path, PI)
    vitals = Vitals(state_dir=tmp_path, root=root)
    later = PI["proc/stat"].replace("10132153", "10132253").replace("46828483", "46828783")
    (root / "proc/stat").write_text(later)

    record = record_of(vitals)
    assert record.cpu_load == 0.25  # 100 ticks of 400 were busy
    assert record.temperature_celsius == record.temperature_max_celsius == 51.8
    assert record.throttled == []
    assert record.memory_total_bytes == 8255488 * 1024
    assert record.memory_available_bytes == 7216944 * 1024
    assert record.host_uptime_s == 350735
    assert [process.role for process in record.processes] == ["agent"]
    assert record.processes[0].resident_bytes == 15000 * os.sysconf("SC_PAGE_SIZE")
    usage = os.statvfs(tmp_path)
    assert record.disk_total_bytes == usage.f_blocks * usage.f_frsize
    assert record.disk_free_bytes is not None
    assert 0 < record.disk_free_bytes <= record.disk_total_bytes


def test_what_is_missing_is_absent(tmp_path: Path) -> None:
    record = record_of(Vitals(state_dir=tmp_path / "nowhere", root=tmp_path))

    host = ("memory_available_bytes", "memory_total_bytes", "cpu_load", "temperature_celsius",
            "temperature_max_celsius", "throttled", "disk_free_bytes", "disk_total_bytes",
            "host_uptime_s")  # fmt: skip
    assert {name: getattr(record, name) for name in host} == dict.fromkeys(host)
    assert record.processes == []


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_hostile_files_are_absent_and_no_error(tmp_path: Path, content: bytes) -> None:
    root = tree(tmp_path, PI)
    vitals = Vitals(state_dir=tmp_path, root=root)
    for name in PI:
        if not name.endswith("/type"):
            (root / name).write_bytes(content)

    record = record_of(vitals)
    assert record.cpu_load is record.temperature_celsius is record.memory_total_bytes is None
    assert record.throttled is record.host_uptime_s is record.memory_available_bytes is None
    assert record.processes == []


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda path: (path.unlink(), path.mkdir()), id="folder"),
        pytest.param(lambda path: (path.unlink(), path.symlink_to(path)), id="link_to_itself"),
        pytest.param(lambda path: (path.unlink(), path.symlink_to("nowhere")), id="broken_link"),
    ],
)
def test_things_that_are_no_files_are_absent(
    tmp_path: Path, spoil: Callable[[Path], object]
) -> None:
    root = tree(tmp_path, PI)
    for name in PI:
        spoil(root / name)

    record = record_of(Vitals(state_dir=tmp_path, root=root))
    assert record.cpu_load is record.temperature_celsius is record.throttled is None
    assert record.processes == []


@pytest.mark.parametrize(
    ("before", "after", "load"),
    [
        ("cpu 0 0 0 100 0 0 0 0 0 0", "cpu 100 0 0 100 0 0 0 0 0 0", 1.0),
        ("cpu 0 0 0 100 0 0 0 0 0 0", "cpu 0 0 0 200 0 0 0 0 0 0", 0.0),
        ("cpu 0 0 0 100 0 0 0 0 0 0", "cpu 50 0 0 100 50 0 0 0 0 0", 0.5),  # iowait is idle
        ("cpu 0 0 0 100 0 0 0 0 0 0", "cpu 60 0 0 140 0 0 0 0 60 0", 0.6),  # guests are in user
        ("cpu 9 0 0 100 0 0 0 0 0 0", "cpu 9 0 0 100 0 0 0 0 0 0", None),  # no time has passed
        ("cpu 9 0 0 500 0 0 0 0 0 0", "cpu 9 0 0 100 0 0 0 0 0 0", None),  # the counter went back
        ("cpu 90 0 0 100 0 0 0 0 0 0", "cpu 0 0 0 500 0 0 0 0 0 0", 0.0),  # part of it went back
    ],
)
def test_load_is_of_the_interval(
    tmp_path: Path, before: str, after: str, load: float | None
) -> None:
    root = tree(tmp_path, {"proc/stat": before})
    earlier = probes.cpu_time(root=root)
    (root / "proc/stat").write_text(after)
    later = probes.cpu_time(root=root)

    assert earlier is not None
    assert later is not None
    assert later.share_since(earlier) == load


@pytest.mark.parametrize("line", ["cpu", "cpu 1 2", "cpu0 1 2 3 4 5 6 7 8", "cpu 1 2 3 4 5 6 7 x"])
def test_processor_line_of_another_shape_is_unknown(tmp_path: Path, line: str) -> None:
    assert probes.cpu_time(root=tree(tmp_path, {"proc/stat": line})) is None


@pytest.mark.parametrize(
    ("zones", "celsius"),
    [
        ([("cpu-thermal", "51800")], 51.8),
        ([("gpu-thermal", "70000"), ("cpu_thermal", "40000")], 40.0),
        ([("cpu0-thermal", "41000"), ("cpu1-thermal", "43500")], 43.5),
        ([("soc-thermal", "39000"), ("gpu-thermal", "45000")], 39.0),
        ([("acpitz", "27800"), ("x86_pkg_temp", "61000")], 61.0),
        ([("cpu-thermal", "-4250")], -4.2),
        ([("CPU-therm", "45000")], 45.0),
        ([("iwlwifi_1", "45000")], None),
        ([("cpu-thermal", "-273150"), ("soc-thermal", "39000")], 39.0),  # a broken sensor
        ([("cpu-thermal", "999999")], None),
        ([("cpu-thermal", "--5")], None),
    ],
)
def test_temperature_is_that_of_the_processor(
    tmp_path: Path, zones: list[tuple[str, str]], celsius: float | None
) -> None:
    files = {}
    for number, (kind, milli) in enumerate(zones):
        files[f"sys/class/thermal/thermal_zone{number}/type"] = f"{kind}\n"
        files[f"sys/class/thermal/thermal_zone{number}/temp"] = f"{milli}\n"

    assert probes.temperature_celsius(root=tree(tmp_path, files)) == celsius


@pytest.mark.parametrize(
    ("text", "flags"),
    [
        ("0", []),
        ("0x0\n", []),
        ("50005", ["under_voltage", "throttled", "under_voltage_occurred", "throttled_occurred"]),
        ("0x50000\n", ["under_voltage_occurred", "throttled_occurred"]),
        ("80008", ["soft_temperature_limit", "soft_temperature_limit_occurred"]),
        ("20002", ["frequency_capped", "frequency_capped_occurred"]),
        ("fff00000", []),  # bits that no one has given a meaning yet
        ("", None),
        ("0x", None),
        ("-1", None),
        ("error=1", None),
        ("f" * 5000, None),
    ],
)
def test_flags_of_the_board(text: str, flags: list[str] | None) -> None:
    assert flags_in(text) == flags


@pytest.mark.parametrize("path", [SYSFS, SYSFS_PI5])
def test_kernel_s_file_tells_without_the_command(tmp_path: Path, path: str) -> None:
    def run(_: object) -> str | None:
        raise AssertionError("the command was run")

    root = tree(vcgencmd(tmp_path, "exit 1"), {path: "1\n"})
    assert throttled(root=root, run=run) == ["under_voltage"]


def test_command_tells_where_the_kernel_has_no_file(tmp_path: Path) -> None:
    root = vcgencmd(tmp_path, '[ "$1" = get_throttled ] && echo throttled=0x50000')

    assert throttled(root=root) == ["under_voltage_occurred", "throttled_occurred"]


@pytest.mark.parametrize(
    "script",
    [
        "exit 1",
        "echo throttled=0x1; exit 255",
        "echo 'VCHI initialization failed'",
        "head -c 100000 /dev/zero",
        "printf '\\377\\376'",
        "true",
    ],
)
def test_command_that_fails_or_babbles_tells_nothing(tmp_path: Path, script: str) -> None:
    assert throttled(root=vcgencmd(tmp_path, script)) is None


def test_command_that_hangs_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeqa_agent.throttling._COMMAND_TIMEOUT_S", 0.2)

    assert run_command([str(vcgencmd(tmp_path, "exec sleep 30") / "usr/bin/vcgencmd")]) is None


def test_record_says_the_worst_of_its_interval(tmp_path: Path) -> None:
    root = tree(tmp_path, PI)
    vitals = Vitals(state_dir=tmp_path, root=root)
    temperature, board = root / "sys/class/thermal/thermal_zone0/temp", root / SYSFS_PI5
    for milli, bits in (("60000", "0"), ("84500", "4"), ("55000", "80000")):
        temperature.write_text(milli)
        board.write_text(bits)
        vitals.sample()

    fields = vitals.fields()
    assert (fields["temperature_celsius"], fields["temperature_max_celsius"]) == (55.0, 84.5)
    assert fields["throttled"] == ["soft_temperature_limit_occurred", "throttled"]

    vitals.begin()
    vitals.sample()
    fields = vitals.fields()
    assert (fields["temperature_celsius"], fields["temperature_max_celsius"]) == (55.0, 55.0)
    assert fields["throttled"] == ["soft_temperature_limit_occurred"]
