"""An installation that was made for another machine: one line, and no model is blamed for it."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.system

# Of <elf.h>: where the machine stands in the header, and some machines.
_MACHINE_AT = 18
_X86_64, _AARCH64 = 62, 183


def foreign(folder: Path, package: str, library: str) -> Path:
    """A package whose library in machine code is of the other architecture."""
    place = folder / package
    place.mkdir(parents=True)
    (place / "__init__.py").write_text(f"from . import {library.partition('.')[0]}\n")
    program = bytearray(Path(sys.executable).resolve().read_bytes()[:4096])
    (ours,) = struct.unpack_from("<H", program, _MACHINE_AT)
    struct.pack_into("<H", program, _MACHINE_AT, _X86_64 if ours == _AARCH64 else _AARCH64)
    (place / library).write_bytes(program)
    return folder


def edgeqa(*words: str, path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("EDGEQA")}
    return subprocess.run(
        [sys.executable, "-m", "edgeqa.cli", *words],
        env={**clean, "PYTHONPATH": str(path), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("package", "library"),
    [
        ("tokenizers", "tokenizers.abi3.so"),
        pytest.param("onnxruntime", "onnxruntime_pybind11_state.so", marks=pytest.mark.slow),
        pytest.param("numpy", "multiarray.so", marks=pytest.mark.slow),
    ],
)
def test_an_agent_with_libraries_of_another_machine_says_so(
    package: str, library: str, tmp_path: Path
) -> None:
    libraries = foreign(tmp_path / "libraries", package, library)
    for _ in range(2):
        ended = edgeqa(
            "agent", "run", path=libraries,
            EDGEQA_AGENT_STATE_DIR=str(tmp_path / "state"), EDGEQA_AGENT_BROKER="mqtt://127.0.0.1:1",
        )  # fmt: skip
        assert ended.returncode == 3, ended.stderr
        assert "Traceback" not in ended.stderr
        (line,) = [one for one in ended.stderr.splitlines() if one.startswith("edgeqa:")]
        assert line.startswith(f"edgeqa: {package} does not load on this machine (")
        assert os.uname().machine in line
        assert "[installation_broken]" in line
        assert "given_up" not in ended.stderr


def test_a_role_with_libraries_of_another_machine_says_so(tmp_path: Path) -> None:
    ended = edgeqa("cloud", "migrate", path=foreign(tmp_path, "sqlalchemy", "cyextension.so"))
    assert ended.returncode == 3, ended.stderr
    (line,) = ended.stderr.splitlines()
    assert line.startswith("edgeqa: sqlalchemy does not load on this machine (")
