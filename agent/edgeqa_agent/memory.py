"""The memory of this device: what a model process takes, what it will need, and what is left.

A model that does not fit is refused before it is loaded: the kernel, out of memory, would rather
end the process that serves. What cannot be read counts as unknown, and unknown refuses nothing.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from edgeqa.errors import ModelLoadError
from edgeqa.plain_package import MODEL_FILE

if TYPE_CHECKING:
    from edgeqa.manifest import Manifest, Package, Precision

_ROOT = Path("/")
_MIB = 1 << 20
_MAX_DIGITS = 20  # of 64 bits

# Measured with `benchmarks/memory.py` (docs/memory.md), and some more: Python with onnxruntime,
# numpy, tokenizers and a vocabulary of 30,522 words; what a loaded graph takes for each byte of its
# file, weights repacked for the processor and all copies while loading included; what the
# buffers of inferences come to for each byte of a window's largest.
_PROCESS_BYTES = 100 * _MIB
_GRAPH_FACTORS: dict[Precision, float] = {
    "fp32": 1.35,
    "fp16": 2.9,  # computed in fp32
    "int8": 1.75,
    "int8-block": 2.05,
    "int4-block": 2.4,
}
_WINDOW_FACTOR = 2
# A second session, for threads that work apart, shares with the first what is not repacked. Of
# wider weights a part may stand in the file where it cannot be shared.
_SECOND_GRAPH: dict[Precision, float] = {"int8": 0.5}


@dataclass(frozen=True, slots=True)
class _Hierarchy:
    """Where a version of control groups keeps what.

    Source: the kernel's admin-guide/cgroup-v2.rst and admin-guide/cgroup-v1/memory.rst.
    """

    mounts: tuple[str, ...]
    limits: tuple[str, ...]
    usage: str
    cached: tuple[str, ...]  # in memory.stat: pages of files, which the kernel can take back
    mapped: str  # of those, what processes have mapped, such as their libraries
    slab: str | None  # of the kernel's own memory, what it can take back


# Above memory.high a group is not ended but slowed down beyond use.
_V2 = _Hierarchy(
    mounts=("sys/fs/cgroup", "sys/fs/cgroup/unified"),
    limits=("memory.max", "memory.high"),
    usage="memory.current",
    cached=("inactive_file", "active_file"),
    mapped="file_mapped",
    slab="slab_reclaimable",
)
_V1 = _Hierarchy(
    mounts=("sys/fs/cgroup/memory",),
    limits=("memory.limit_in_bytes",),
    usage="memory.usage_in_bytes",
    cached=("total_inactive_file", "total_active_file"),
    mapped="total_mapped_file",
    slab=None,
)


def resident_bytes(pid: int, *, root: Path = _ROOT) -> int:
    """Resident memory of a process; 0 where it is not known.

    That is RSS, with the libraries that it shares with others. The proportional set size would
    fall by itself whenever a second model process shares them, and a gate must judge the model,
    not who else is running.

    Source: proc_pid_statm(5), second field, in pages.
    """
    try:
        fields = (root / f"proc/{pid}/statm").read_text(encoding="ascii").split()
        return max(0, int(fields[1])) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


def available_bytes(*, root: Path = _ROOT) -> int | None:
    """Memory that this process and its children can still take; None where it is not known.

    The least of what the kernel says is available on the machine and what each of the control
    groups around this process leaves, from its own to the outermost that is to be seen. Swap does
    not count: a model in swap answers nobody in time.
    """
    system = _table(root / "proc/meminfo").get("MemAvailable:")
    found = [] if system is None else [1024 * system]
    found += _left_in_groups(root)
    return max(0, min(found)) if found else None


def needed_bytes(package: Package, *, threads: int) -> int:
    """Most that the process of a model will take, loading and serving: an estimate from above.

    The interpreter and the libraries, the graph, once for all threads together and once more for
    those that work apart, and for each thread the buffers of the largest window. The factors are
    such that nothing that `benchmarks/memory.py` measured was above the estimate.

    Args:
        package: to be loaded.
        threads: that may infer at the same time.
    """
    manifest = package.manifest
    graph = _GRAPH_FACTORS[manifest.precision] * manifest.files[MODEL_FILE].bytes
    window = _WINDOW_FACTOR * _window_bytes(manifest)
    if threads > 1:
        graph *= 1 + _SECOND_GRAPH.get(manifest.precision, 1.0)
    return round(_PROCESS_BYTES + graph + window * threads)


def admit(package: Package, *, threads: int, reserve_bytes: int, root: Path = _ROOT) -> None:
    """Refuse a package whose process would not fit into the memory that is available.

    Args:
        package: to be loaded beside what runs.
        threads: as of `needed_bytes`.
        reserve_bytes: to be left free.
        root: of the files that the kernel tells it in.

    Raises:
        ModelLoadError: `not_enough_memory`.
    """
    needed, available = needed_bytes(package, threads=threads), available_bytes(root=root)
    if available is None or needed + reserve_bytes <= available:
        return
    raise ModelLoadError(
        f"{package.manifest.name} {package.manifest.version} needs {_mib_up(needed)} MiB of memory "
        f"to load; {available // _MIB} MiB are available, of which {_mib_up(reserve_bytes)} MiB "
        "must stay free",
        code="not_enough_memory",
    )


def _window_bytes(manifest: Manifest) -> int:
    """float32 that a layer holds at once: attention's weights, and the eight hidden sizes of
    query, key, value, context and the feed-forward layer, which is four times as wide.

    Source: Devlin et al. 2019, section 3; Vaswani et al. 2017, section 3.
    """
    tokens, shape = manifest.sizes.max_seq_len, manifest.architecture
    return 4 * tokens * (shape.heads * tokens + 8 * shape.hidden)


def _left_in_groups(root: Path) -> Iterator[int]:
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        hierarchy = _V1 if "memory" in controllers.split(",") else _V2
        if hierarchy is _V1 or not controllers:
            for mount in hierarchy.mounts:
                yield from _left_above(root / mount, path, hierarchy)


def _left_above(mount: Path, path: str, hierarchy: _Hierarchy) -> Iterator[int]:
    """What a group and those around it leave.

    In a container the path may be that of the host while the mount begins at the container's own
    group, or lead out of what is mounted: then only the mount itself is there to be read.
    """
    parts = [part for part in PurePosixPath(path).parts if part != "/"]
    if ".." in parts:
        parts = []
    for depth in range(len(parts), -1, -1):
        left = _left(mount.joinpath(*parts[:depth]), hierarchy)
        if left is not None:
            yield left


def _left(group: Path, hierarchy: _Hierarchy) -> int | None:
    limits = [limit for name in hierarchy.limits if (limit := _number(group / name)) is not None]
    usage, stat = _number(group / hierarchy.usage), _table(group / "memory.stat")
    cached = [stat[name] for name in hierarchy.cached if name in stat]
    if not limits or usage is None or not cached:
        return None
    reclaimable = max(0, sum(cached) - stat.get(hierarchy.mapped, 0))
    if hierarchy.slab is not None:
        reclaimable += stat.get(hierarchy.slab, 0)
    return min(limits) - usage + reclaimable


def _number(path: Path) -> int | None:
    """None for `max`, garbage, or no such file."""
    try:
        return _whole(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def _table(path: Path) -> dict[str, int]:
    """Lines of a name and a number, which may have the unit kB; others are left out."""
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except (OSError, ValueError):
        return {}
    found = {}
    for line in lines:
        name, _, rest = line.partition(" ")
        value = _whole(rest.removesuffix("kB"))
        if value is not None:
            found[name] = value
    return found


def _whole(text: str) -> int | None:
    digits = text.strip()
    return int(digits) if digits.isdecimal() and len(digits) <= _MAX_DIGITS else None


def _mib_up(size: int) -> int:
    return math.ceil(size / _MIB)
