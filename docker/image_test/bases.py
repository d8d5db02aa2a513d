"""The Dockerfiles' base without a registry: a Debian of debootstrap, cut down as its image is.

The image `debian:…-slim` is such a root without documentation and languages, and a list of sources.
Source: debuerreotype, `debuerreotype-slimify`.
"""

from __future__ import annotations

import platform
import shutil
from pathlib import Path

from image_test.shell import ImageTestError, run

SUITE = "bookworm"
# Debian's name of an architecture, as in images; the kernel's; its entry in binfmt_misc.
MACHINES = {"arm64": "aarch64", "amd64": "x86_64"}
_BINFMT = Path("/proc/sys/fs/binfmt_misc")
_BINFMT_LINES = Path("/usr/lib/binfmt.d")
_MIRROR = "http://deb.debian.org/debian"
_UNWANTED = ("doc", "man", "info", "lintian", "linda")
_DPKG = """\
path-exclude /usr/share/doc/*
path-include /usr/share/doc/*/copyright
path-exclude /usr/share/man/*
path-exclude /usr/share/info/*
path-exclude /usr/share/locale/*
path-include /usr/share/locale/locale.alias
"""


def native() -> str:
    """Debian's name of this machine's architecture.

    Raises:
        ImageTestError: there is no image for it.
    """
    for name, machine in MACHINES.items():
        if platform.machine() == machine:
            return name
    raise ImageTestError(f"there are no images for {platform.machine()}")


def enable_emulation(architecture: str) -> None:
    """Have the kernel run another architecture's programs through qemu.

    Raises:
        ImageTestError: qemu-user-static is not installed, or the kernel cannot do it.
    """
    if architecture == native():
        return
    name = f"qemu-{MACHINES[architecture]}"
    if not (_BINFMT / "register").exists():
        run(["mount", "-t", "binfmt_misc", "none", _BINFMT])
    if (_BINFMT / name).exists():
        return
    line = _BINFMT_LINES / f"{name}.conf"
    if not line.exists():
        raise ImageTestError(f"{line} missing: apt-get install qemu-user-static")
    # With flag F, so that the emulator is found from inside a root that has none.
    (_BINFMT / "register").write_bytes(line.read_bytes().strip())


def make_root(folder: Path, architecture: str, *, mirror: str = _MIRROR) -> Path:
    """A root file system like the base image's; made once, then kept.

    Args:
        folder: for it and for the log.
        architecture: of it.
        mirror: of Debian.

    Raises:
        ImageTestError: debootstrap failed; its log is in the folder.
    """
    root = folder / f"root-{architecture}"
    if root.exists():
        return root
    enable_emulation(architecture)
    making = folder / f"root-{architecture}.making"
    shutil.rmtree(making, ignore_errors=True)
    options = [f"--arch={architecture}", "--variant=minbase", "--foreign"]
    log = folder / f"debootstrap-{architecture}.log"
    run(["debootstrap", *options, SUITE, making, mirror], log=log)
    run(["chroot", making, "/debootstrap/debootstrap", "--second-stage"], log=log)
    _slim(making, mirror)
    making.rename(root)
    return root


def _slim(root: Path, mirror: str) -> None:
    for name in _UNWANTED:
        for path in (root / "usr/share" / name).glob("*"):
            _remove(path)
    for path in (root / "usr/share/locale").iterdir():
        if path.name != "locale.alias":
            _remove(path)
    for pattern in ("var/lib/apt/lists/*", "var/cache/apt/*", "var/log/*"):
        for path in root.glob(pattern):
            _remove(path)
    (root / "etc/dpkg/dpkg.cfg.d/docker").write_text(_DPKG, encoding="ascii")
    security = mirror.removesuffix("/") + "-security"
    (root / "etc/apt/sources.list").write_text(
        f"deb {mirror} {SUITE} main\ndeb {mirror} {SUITE}-updates main\n"
        f"deb {security} {SUITE}-security main\n",
        encoding="ascii",
    )


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
