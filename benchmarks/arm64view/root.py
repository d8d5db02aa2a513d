"""A Debian for ARM64 with Python and the libraries that the reader needs, and qemu to run it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from edgeqa.errors import ConfigError

REPOSITORY = Path(__file__).parents[2]
PYTHON = "usr/bin/python3.11"
_SITE = "opt/site"
_PLATFORMS = ("manylinux_2_28_aarch64", "manylinux_2_27_aarch64", "manylinux2014_aarch64")
_LIBRARIES = ("numpy", "onnxruntime", "tokenizers")
# qemu-user shows this machine's file, about which onnxruntime's library can read nothing; this is
# what a Raspberry Pi 5 says.
_PROCESSOR = Path(__file__).parents[2] / "docker" / "image_test" / "pi5.cpuinfo"
_INSTALL = (
    "apt-get install --no-install-recommends debootstrap qemu-user-static qemu-user gcc libc6-dev"
)


class Emulated:
    """The root folder and the plugin below `work`; what is there is not made again."""

    def __init__(self, work: Path, *, qemu: str = "qemu-aarch64") -> None:
        self._root = work.resolve() / "root"
        self._plugin = work.resolve() / "count.so"
        self._qemu = qemu

    def prepare(self) -> None:
        """Make what is missing; needs root, a package mirror and a package index.

        Raises:
            ConfigError: a program is missing or failed.
        """
        for program in ("debootstrap", "cc", self._qemu):
            if shutil.which(program) is None:
                raise ConfigError(f"{program} is missing; {_INSTALL}")
        if "-plugin" not in self._call([self._qemu, "--help"]):
            raise ConfigError(f"{self._qemu} takes no plugins, as static ones do not; {_INSTALL}")
        self._plugin.parent.mkdir(parents=True, exist_ok=True)
        source = Path(__file__).with_name("count.c")
        self._call(["cc", "-O2", "-shared", "-fPIC", "-o", str(self._plugin), str(source)])
        done = self._root / "debootstrap.done"
        if not done.exists():
            shutil.rmtree(self._root, ignore_errors=True)
            self._call(
                [
                    *("debootstrap", "--arch=arm64", "--variant=minbase", "--include=python3"),
                    *("bookworm", str(self._root)),
                ]
            )
            done.touch()
        processors = range(os.cpu_count() or 1)
        one = _PROCESSOR.read_text()
        text = "".join(one.format(number=number) for number in processors)
        (self._root / "proc/cpuinfo").write_text(text, encoding="ascii")
        self._libraries()

    def count(self, package: Path, tokens: int, counts: Path, maps: Path) -> str:
        """Run the guest; its line of JSON.

        Args:
            package: folder of the model.
            tokens: of the window.
            counts: file that the plugin writes.
            maps: file that the guest writes.
        """
        site = self._root / _SITE
        paths = [site, REPOSITORY / "common", REPOSITORY / "benchmarks"]
        guest = [str(package.resolve()), str(tokens), str(maps)]
        return self._call(
            [
                *(self._qemu, "-cpu", "cortex-a76", "-L", str(self._root)),
                *("-plugin", f"{self._plugin},out={counts}"),
                *("-E", f"PYTHONPATH={':'.join(str(path) for path in paths)}"),
                *("-E", "PYTHONDONTWRITEBYTECODE=1"),
                *(str(self._root / PYTHON), "-m", "arm64view.guest", *guest),
            ]
        )

    def _libraries(self) -> None:
        site = self._root / _SITE
        if all((site / name).exists() for name in _LIBRARIES):
            return
        shutil.rmtree(site, ignore_errors=True)
        platforms = [part for name in _PLATFORMS for part in ("--platform", name)]
        self._call(
            [
                *(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"),
                *("--target", str(site), "--only-binary=:all:", "--python-version=3.11"),
                *platforms,
                *("--constraint", str(REPOSITORY / "constraints.txt"), *_LIBRARIES),
            ]
        )

    def _call(self, command: Sequence[str]) -> str:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            said = (done.stderr or done.stdout).strip().splitlines() or ["nothing"]
            raise ConfigError(f"{Path(command[0]).name} failed ({done.returncode}): {said[-1]}")
        return done.stdout
