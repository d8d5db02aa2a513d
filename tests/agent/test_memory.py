"""Memory: read as the kernel tells it, in any nest of control groups, and never guessed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import structlog
from support.tiny_reader import reader_package

from edgeqa.errors import ExitCode, ModelLoadError
from edgeqa.manifest import open_package
from edgeqa_agent.memory import admit, available_bytes, needed_bytes, resident_bytes
from edgeqa_agent.model_process import ModelProcess

MIB = 1 << 20
UNLIMITED_V1 = 9223372036854771712
PACKAGES = sorted((Path(__file__).parents[2] / "models" / "packages").iterdir())


class Machine:
    """The files in which a kernel tells its memory."""

    def __init__(self, root: Path, *, available: int = 1000, cgroup: str = "0::/\n") -> None:
        self.root = root
        self.write(
            "proc/meminfo",
            f"MemTotal:        2000000 kB\nMemFree: 1 kB\nMemAvailable: {available * 1024} kB\n",
        )
        self.write("proc/self/cgroup", cgroup)

    def write(self, path: str, text: str | bytes) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text if isinstance(text, bytes) else text.encode())

    def v2(self, group: str, *, maximum: int | str, current: int, high: str = "max",
           inactive: int = 0, active: int = 0, mapped: int = 0, slab: int = 0,
           mount: str = "sys/fs/cgroup") -> None:  # fmt: skip
        folder = f"{mount}/{group}".rstrip("/")
        said = maximum if isinstance(maximum, str) else str(maximum * MIB)
        self.write(f"{folder}/memory.max", f"{said}\n")
        self.write(f"{folder}/memory.high", f"{high}\n")
        self.write(f"{folder}/memory.current", f"{current * MIB}\n")
        self.write(
            f"{folder}/memory.stat",
            f"anon 5\nfile 7\nfile_mapped {mapped * MIB}\ninactive_anon 3\n"
            f"inactive_file {inactive * MIB}\nactive_file {active * MIB}\n"
            f"slab_reclaimable {slab * MIB}\n",
        )

    def v1(self, group: str, *, limit: int, usage: int, inactive: int = 0, active: int = 0) -> None:
        folder = f"sys/fs/cgroup/memory/{group}".rstrip("/")
        self.write(f"{folder}/memory.limit_in_bytes", f"{limit}\n")
        self.write(f"{folder}/memory.usage_in_bytes", f"{usage * MIB}\n")
        self.write(
            f"{folder}/memory.stat",
            f"cache 1\ninactive_file 1\ntotal_mapped_file {MIB}\n"
            f"total_inactive_file {inactive * MIB}\ntotal_active_file {active * MIB}\n",
        )

    @property
    def available(self) -> float | None:
        """MiB."""
        found = available_bytes(root=self.root)
        return None if found is None else found / MIB


def test_without_groups_it_is_what_the_kernel_says(tmp_path: Path) -> None:
    assert Machine(tmp_path, available=777).available == 777


def test_a_group_without_a_limit_limits_nothing(tmp_path: Path) -> None:
    machine = Machine(tmp_path, cgroup="0::/system.slice/agent.service\n")
    machine.v2("system.slice/agent.service", maximum="max", current=300)
    assert machine.available == 1000


def test_a_group_leaves_its_limit_less_what_is_used_and_cannot_be_taken_back(
    tmp_path: Path,
) -> None:
    machine = Machine(tmp_path, cgroup="0::/agent\n")
    machine.v2("agent", maximum=512, current=400, inactive=60, active=50, mapped=30, slab=7)
    assert machine.available == 512 - 400 + 60 + 50 - 30 + 7


def test_libraries_that_are_mapped_do_not_make_room(tmp_path: Path) -> None:
    machine = Machine(tmp_path, cgroup="0::/agent\n")
    machine.v2("agent", maximum=512, current=400, inactive=5, active=5, mapped=80)
    assert machine.available == 112


def test_a_machine_with_less_than_its_groups_allow_has_what_the_machine_has(tmp_path: Path) -> None:
    machine = Machine(tmp_path, available=50, cgroup="0::/agent\n")
    machine.v2("agent", maximum=4096, current=100)
    assert machine.available == 50


@pytest.mark.parametrize("narrowest", ["a", "a/b", "a/b/c", ""])
def test_each_group_around_the_process_counts(tmp_path: Path, narrowest: str) -> None:
    machine = Machine(tmp_path, cgroup="0::/a/b/c\n")
    for group in ("", "a", "a/b", "a/b/c"):
        machine.v2(group, maximum=200 if group == narrowest else 900, current=120)
    assert machine.available == 80


def test_memory_high_counts_as_a_limit(tmp_path: Path) -> None:
    machine = Machine(tmp_path, cgroup="0::/agent\n")
    machine.v2("agent", maximum=800, high=str(300 * MIB), current=100)
    assert machine.available == 200


def test_in_a_container_the_mount_itself_is_the_group(tmp_path: Path) -> None:
    machine = Machine(tmp_path, cgroup="0::/\n")
    machine.v2("", maximum=256, current=200)
    assert machine.available == 56


@pytest.mark.parametrize(
    "path", ["/docker/0123456789abcdef", "/../../elsewhere", "/gone (deleted)"]
)
def test_a_path_that_is_not_mounted_here_leaves_the_mount(tmp_path: Path, path: str) -> None:
    machine = Machine(tmp_path, cgroup=f"0::{path}\n")
    machine.v2("", maximum=256, current=200)
    # What a path that leads out of the mount would find.
    machine.v2("elsewhere", mount="sys", maximum=1, current=0)
    assert machine.available == 56


def test_an_exhausted_group_leaves_nothing(tmp_path: Path) -> None:
    machine = Machine(tmp_path, cgroup="0::/agent\n")
    machine.v2("agent", maximum=100, current=130)
    assert machine.available == 0


V1 = "9:name=systemd:/\n4:cpu,memory:/docker/agent\n1:cpuset:/\n"


def test_groups_of_version_1(tmp_path: Path) -> None:
    machine = Machine(tmp_path, cgroup=V1)
    machine.v1("docker/agent", limit=UNLIMITED_V1, usage=100)
    machine.v1("docker", limit=300 * MIB, usage=150, inactive=20, active=11)
    machine.v1("", limit=UNLIMITED_V1, usage=150)
    assert machine.available == 300 - 150 + 20 + 11 - 1


def test_both_versions_at_once(tmp_path: Path) -> None:
    machine = Machine(tmp_path, cgroup=V1 + "0::/user.slice\n")
    machine.v1("", limit=500 * MIB, usage=150, inactive=1)
    machine.v2("user.slice", mount="sys/fs/cgroup/unified", maximum=400, current=150)
    assert machine.available == 250


@pytest.mark.parametrize(
    "name", ["memory.max", "memory.current", "memory.stat", "memory.high", "all"]
)
@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"\xff\xfe\x00",
        b"lots\n",
        b"1" * 5000,
        b"-\n",
        "١٢".encode(),
        b"1 2 3\n",
        b"inactive_file -7\n",
        b"inactive_file " + b"9" * 5000,
    ],
)
def test_garbage_in_a_group_does_not_refuse(tmp_path: Path, name: str, garbage: bytes) -> None:
    machine = Machine(tmp_path, cgroup="0::/agent\n")
    machine.v2("agent", maximum="max", current=10)
    names = ["memory.max", "memory.current", "memory.stat", "memory.high"]
    for one in names if name == "all" else [name]:
        machine.write(f"sys/fs/cgroup/agent/{one}", garbage)
    assert machine.available == 1000


@pytest.mark.parametrize("missing", ["memory.max", "memory.current", "memory.stat"])
def test_a_group_of_which_a_file_is_missing_limits_nothing(tmp_path: Path, missing: str) -> None:
    machine = Machine(tmp_path, cgroup="0::/agent\n")
    machine.v2("agent", maximum=10, current=10)
    (tmp_path / "sys/fs/cgroup/agent" / missing).unlink()
    assert machine.available == 1000


@pytest.mark.parametrize(
    "garbage",
    [b"", b"\xff\x00", b"MemAvailable\n", b"MemAvailable: many kB\n", b"MemAvailable: -5 kB\n",
     b"MemAvailable: " + b"9" * 5000 + b" kB",
     b"MemAvailable:\n", b"MemFree: 5 kB\n"],
)  # fmt: skip
def test_a_kernel_that_does_not_say_leaves_it_to_the_groups(tmp_path: Path, garbage: bytes) -> None:
    machine = Machine(tmp_path)
    machine.write("proc/meminfo", garbage)
    assert machine.available is None
    machine.v2("", maximum=256, current=200)
    assert machine.available == 56


@pytest.mark.parametrize("garbage", [b"", b"\xff", b"0\n", b"::::\n", b"no colons at all\n" * 3])
def test_garbage_about_the_groups_leaves_it_to_the_kernel(tmp_path: Path, garbage: bytes) -> None:
    machine = Machine(tmp_path)
    machine.write("proc/self/cgroup", garbage)
    assert machine.available == 1000


def test_where_there_is_no_proc_nothing_is_known(tmp_path: Path) -> None:
    assert available_bytes(root=tmp_path) is None
    assert resident_bytes(1, root=tmp_path) == 0


def test_resident_memory_is_the_second_field_in_pages(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.write("proc/7/statm", "5000 1234 900 1 0 2000 0\n")
    assert resident_bytes(7, root=tmp_path) == 1234 * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("garbage", [b"", b"5000", b"a b c", b"\xff \xff", b"1 -4 1"])
def test_garbage_gives_no_resident_memory(tmp_path: Path, garbage: bytes) -> None:
    machine = Machine(tmp_path)
    machine.write("proc/7/statm", garbage)
    assert resident_bytes(7, root=tmp_path) == 0


def test_resident_memory_of_a_real_process_grows_with_it() -> None:
    script = "import sys; kept = b'x' * (64 << 20); print(1, flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        resident = resident_bytes(child.pid)
        child.kill()
    assert 64 * MIB < resident < 128 * MIB


def test_this_machine_has_some_memory_left() -> None:
    available = available_bytes()
    assert available is not None
    assert 0 < available <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def test_a_package_that_fits_exactly_is_admitted(tmp_path: Path) -> None:
    package = reader_package(tmp_path / "p")
    needed = needed_bytes(package, threads=2)
    machine = Machine(tmp_path, available=1 << 20, cgroup="0::/agent\n")
    machine.v2("agent", maximum=0, current=0)
    machine.write("sys/fs/cgroup/agent/memory.max", str(needed + 5 * MIB))
    admit(package, threads=2, reserve_bytes=5 * MIB, root=tmp_path)
    with pytest.raises(ModelLoadError):
        admit(package, threads=2, reserve_bytes=5 * MIB + 1, root=tmp_path)


@pytest.mark.parametrize(
    ("available", "left"), [(90, 90), (0, 0)], ids=["too little", "exhausted group"]
)
def test_the_refusal_says_what_is_needed_available_and_kept(
    tmp_path: Path, available: int, left: int
) -> None:
    package = reader_package(tmp_path / "p")
    machine = Machine(tmp_path, cgroup="0::/agent\n")
    machine.v2("agent", maximum=300, current=300 - available)
    with pytest.raises(ModelLoadError) as refused:
        admit(package, threads=1, reserve_bytes=64 * MIB, root=tmp_path)
    assert refused.value.code == "not_enough_memory"
    assert refused.value.exit_code is ExitCode.REFUSED
    needed = -(-needed_bytes(package, threads=1) // MIB)
    for part in ("tiny-reader 1.0.0", f"{needed} MiB", f"{left} MiB are available", "64 MiB"):
        assert part in str(refused.value)
    assert "\n" not in str(refused.value)


def test_unknown_memory_refuses_nothing(tmp_path: Path) -> None:
    package = reader_package(tmp_path / "p")
    admit(package, threads=64, reserve_bytes=1 << 50, root=tmp_path)


def test_more_threads_never_need_less(tmp_path: Path) -> None:
    package = reader_package(tmp_path)
    needed = [needed_bytes(package, threads=threads) for threads in (1, 2, 4, 8)]
    assert needed == sorted(needed)


@pytest.mark.parametrize("path", PACKAGES, ids=lambda path: path.name)
@pytest.mark.parametrize("threads", [1, 2])
def test_what_is_expected_of_the_default_packages_is_what_they_take(
    path: Path, threads: int
) -> None:
    package = open_package(path)
    process = ModelProcess(
        package=package,
        threads=threads,
        on_done=lambda _: None,
        on_exit=lambda _: None,
        log=structlog.get_logger(),
    )
    try:
        process.start(timeout_s=120)
        status = Path(f"/proc/{process.pid}/status").read_text()
    finally:
        process.stop()
    peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))
    assert 1024 * peak <= needed_bytes(package, threads=threads) < 2 * 1024 * peak
