"""What must be so before anything is changed; each check says what it found."""

from __future__ import annotations

import os
import shutil
import stat
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeqa.errors import ExitCode
from edgeqa.installing import systemd
from edgeqa.installing.errors import InstallError
from edgeqa.installing.place import Place, run

# ProtectProc=, the newest that the units need to keep what they promise: NEWS of systemd 247.
LEAST_SYSTEMD = 247
LEAST_PYTHON = (3, 11)
_MIB = 1 << 20
# ELF header, elf(5): the class at 4, the machine at 18.
_ELF_64 = 2
_MACHINES = {183: "aarch64", 62: "x86-64"}
# ProtectHome= and PrivateTmp= of the units hide these.
_HIDDEN = tuple(Path(path) for path in ("/home", "/root", "/run/user", "/tmp", "/var/tmp"))  # noqa: S108


@dataclass(frozen=True, slots=True)
class Found:
    """What a check found, for people."""

    what: str


def check_rights(place: Place) -> None:
    """Whether this may be done at all.

    Raises:
        InstallError: `not_root`; `no_systemd`, nothing here would start a service; or the root is
            no folder.
    """
    if os.geteuid() != 0:
        raise InstallError(
            "only root may do this: put `sudo` before it", code="not_root", exit_code=ExitCode.USAGE
        )
    if not place.root.is_dir():
        raise InstallError(f"{place.root} is not a folder; mount the image there first")
    if place.live and not systemd.BOOTED.is_dir():
        raise InstallError(
            "this machine was not booted with systemd: use the container, or name the folder of "
            "an image with `--root`",
            code="no_systemd",
        )


def check_systemd(place: Place) -> Found:
    """Whether it is new enough.

    Raises:
        InstallError: `wrong_machine`.
    """
    if not place.live:
        return Found("systemd is not asked: this is an image")
    found = systemd.version()
    if found < LEAST_SYSTEMD:
        raise InstallError(
            f"systemd {found} is too old; {LEAST_SYSTEMD} or newer is needed (Debian 11 has it)",
            code="wrong_machine",
        )
    return Found(f"systemd {found}")


def check_program(place: Place, program: Path) -> Found:
    """Whether the service can run a program, and nobody but root can change it.

    Raises:
        InstallError: `program_unusable`; `wrong_machine`, its Python is of 32 bits or of a
            processor for which there is no onnxruntime.
    """
    if not place.at(program).is_file():
        raise InstallError(
            f"{program} is not there: install EdgeQA into {program.parents[1]} first "
            f"(python3 -m venv {program.parents[1]}, then its bin/pip install)",
            code="program_unusable",
        )
    python = program.with_name("python")
    for path in (program, python):
        real = place.resolved(path)
        if not place.at(real).is_file():
            raise InstallError(
                f"{path} leads to {real}, which is not there", code="program_unusable"
            )
        hidden = next((one for one in _HIDDEN if real.is_relative_to(one)), None)
        if hidden is not None:
            raise InstallError(
                f"{path} lies at {real}, which the service cannot see: make the environment of "
                f"the system's Python, outside {hidden} (/usr/bin/python3 -m venv /opt/edgeqa)",
                code="program_unusable",
            )
        _only_root_writes(place, real)
    return Found(f"{program}, {_built_for(place, python)}")


def check_python(place: Place, program: Path) -> Found:
    """Whether the program's Python is new enough.

    Raises:
        InstallError: `wrong_machine`.
    """
    config = place.at(program.parents[1] / "pyvenv.cfg")
    found = sys.version_info[:2]
    if not place.live and config.is_file():
        lines = config.read_text(encoding="utf-8").splitlines()
        fields = {key.strip(): value for key, _, value in (line.partition("=") for line in lines)}
        parts = fields.get("version", "0.0").strip().split(".")
        found = (int(parts[0]), int(parts[1]))
    if found < LEAST_PYTHON:
        raise InstallError(
            f"Python {found[0]}.{found[1]} is too old; 3.11 or newer is needed (Debian 12)",
            code="wrong_machine",
        )
    return Found(f"Python {found[0]}.{found[1]}")


def check_libraries(place: Place, program: Path, imports: Sequence[str]) -> Found:
    """Whether a program's environment has what it needs, made for this machine.

    Raises:
        InstallError: `extra_missing`, with what Python said.
    """
    if not place.live:
        return Found("libraries are not tried: this is an image")
    python = program.with_name("python")
    done = run([str(python), "-c", f"import {', '.join(imports)}"])
    if done.returncode != 0:
        said = (done.stderr.strip().splitlines() or ["it ended without a word"])[-1]
        raise InstallError(
            f"{python} cannot load what the service needs: {said}; install EdgeQA anew into "
            f"{program.parents[1]}, on this machine",
            code="extra_missing",
        )
    return Found(f"{', '.join(imports)}")


def check_room(place: Place, folder: Path, *, least_mib: int) -> Found:
    """Whether there is room where state will lie.

    Raises:
        InstallError: `disk_full`.
    """
    here = place.at(folder)
    there = next(one for one in (here, *here.parents) if one.is_dir())
    free_mib = shutil.disk_usage(there).free // _MIB
    if free_mib < least_mib:
        raise InstallError(
            f"{free_mib} MiB are free for {folder}; {least_mib} MiB are needed: make room",
            code="disk_full",
        )
    return Found(f"{free_mib:,} MiB free for {folder}")


def memory_limit_note(place: Place) -> str | None:
    """What is to be said where the kernel does not enforce the unit's limit of memory.

    Raspberry Pi OS starts its kernel with the controller off.
    """
    controllers = Path("/sys/fs/cgroup/cgroup.controllers")
    if not place.live or not controllers.is_file():
        return None
    if "memory" in controllers.read_text(encoding="ascii").split():
        return None
    return (
        "the kernel's memory controller is off, so MemoryMax= has no effect: add "
        "`cgroup_enable=memory` to /boot/firmware/cmdline.txt and reboot"
    )


def _only_root_writes(place: Place, path: Path) -> None:
    for one in (path, *path.parents):
        state = place.at(one).stat()
        others = state.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        sticky_folder = stat.S_ISDIR(state.st_mode) and state.st_mode & stat.S_ISVTX
        if state.st_uid != 0 or (others and not sticky_folder):
            raise InstallError(
                f"{one} can be written by others than root, who could then run what they like as "
                f"the service: chown root:root {one}; chmod go-w {one}",
                code="program_unusable",
            )


def _built_for(place: Place, python: Path) -> str:
    with place.at(place.resolved(python)).open("rb") as file:
        head = file.read(20)
    if len(head) < 20 or head[:4] != b"\x7fELF":  # noqa: PLR2004
        raise InstallError(f"{python} is not a program", code="program_unusable")
    machine = int.from_bytes(head[18:20], "little" if head[5] == 1 else "big")
    if head[4] != _ELF_64 or machine not in _MACHINES:
        raise InstallError(
            f"{python} is a program of {'64' if head[4] == _ELF_64 else '32'} bits for processor "
            f"type {machine}; EdgeQA needs a 64-bit system on ARM (aarch64) or x86-64: on a "
            "Raspberry Pi, the 64-bit Raspberry Pi OS",
            code="wrong_machine",
        )
    return _MACHINES[machine]
