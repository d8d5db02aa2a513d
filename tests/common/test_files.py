"""Files that survive a crash are their old or their new self."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from edgeqa.errors import VerificationError
from edgeqa.files import copy_atomic, write_atomic


def test_a_copy_is_written_only_if_its_bytes_are_the_expected_ones(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(os.urandom(3 << 20))
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    copy_atomic(source, target, sha256=digest, mode=0o640)
    assert target.read_bytes() == source.read_bytes()
    assert target.stat().st_mode & 0o777 == 0o640

    write_atomic(target, b"old")
    with pytest.raises(VerificationError, match="was changed"):
        copy_atomic(source, target, sha256="0" * 64)
    with pytest.raises(FileNotFoundError):
        copy_atomic(tmp_path / "none", target, sha256=digest)
    assert target.read_bytes() == b"old"
    assert {path.name for path in tmp_path.iterdir()} == {"source", "target"}
