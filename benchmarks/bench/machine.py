"""The machine that a figure was measured on, and the versions of what was measured."""

from __future__ import annotations

import os
import platform
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

# Only what decides which kernels of a matrix library run.
_FLAGS = (
    "avx2", "fma", "f16c", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "avx512_fp16",
    "amx_int8", "amx_bf16", "amx_tile",
    "asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve", "sve2",
)  # fmt: skip
# Source: Arm's list of implementer and part numbers, as in util-linux's lscpu.
_ARM_PARTS = {
    "0xd03": "Cortex-A53",
    "0xd05": "Cortex-A55",
    "0xd07": "Cortex-A57",
    "0xd08": "Cortex-A72",
    "0xd0b": "Cortex-A76",
    "0xd0c": "Neoverse-N1",
    "0xd40": "Neoverse-V1",
    "0xd49": "Neoverse-N2",
    "0xd4f": "Neoverse-V2",
}
_DISTRIBUTIONS = ("edgeqa", "onnxruntime", "tokenizers", "numpy", "paho-mqtt")
_CPUFREQ = Path("/sys/devices/system/cpu/cpu0/cpufreq")


def machine() -> dict[str, Any]:
    """What it is; the same as long as it is the same machine, set up in the same way."""
    cpuinfo = _read(Path("/proc/cpuinfo"))
    found = {
        "cpu": _cpu(cpuinfo),
        "cores": len(os.sched_getaffinity(0)),
        "flags": _flags(cpuinfo),
        "board": _read(Path("/proc/device-tree/model")).strip("\0\n") or None,
        "virtual": "hypervisor" in cpuinfo,
        "governor": _read(_CPUFREQ / "scaling_governor").strip() or None,
        "most_mhz": _mhz(_read(_CPUFREQ / "cpuinfo_max_freq")),
        "memory_mib": _memory("MemTotal"),
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
        "system": _system(),
        "python": platform.python_version(),
    }
    return {name: value for name, value in found.items() if value not in (None, "", [], False)}


def versions() -> dict[str, str]:
    """Of what EdgeQA answers with; each peer tells its own."""
    found = {}
    for name in _DISTRIBUTIONS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def available_mib() -> float:
    """Memory that may be taken now."""
    return _memory("MemAvailable")


def in_words(found: dict[str, Any]) -> str:
    """One line."""
    parts = [found["cpu"], f"{found['cores']} cores"]
    if "most_mhz" in found:
        parts.append(f"{found['most_mhz']} MHz")
    parts.append(f"{found['memory_mib'] / 1024:.1f} GiB")
    if "flags" in found:
        parts.append(" ".join(found["flags"]))
    parts += [found[name] for name in ("board", "system") if name in found]
    if found.get("virtual"):
        parts.append("a virtual machine")
    parts.append(found["kernel"])
    if "governor" in found:
        parts.append(f"governor {found['governor']}")
    return ", ".join(str(part) for part in parts)


def _cpu(cpuinfo: str) -> str:
    named = re.search(r"^model name\s*: (.*)$", cpuinfo, re.MULTILINE)
    if named:
        return named[1]
    parts = sorted(set(re.findall(r"^CPU part\s*: (\S+)$", cpuinfo, re.MULTILINE)))
    return " + ".join(_ARM_PARTS.get(part, part) for part in parts) or platform.machine()


def _flags(cpuinfo: str) -> list[str]:
    named = re.search(r"^(?:flags|Features)\s*: (.*)$", cpuinfo, re.MULTILINE)
    has = set(named[1].split()) if named else set()
    return [flag for flag in _FLAGS if flag in has]


def _memory(name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB$", _read(Path("/proc/meminfo")), re.MULTILINE)
    return int(found[1]) // 1024 if found else 0


def _mhz(khz: str) -> int | None:
    return int(khz) // 1000 if khz.strip() else None


def _system() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "")
    except OSError:
        return ""


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
