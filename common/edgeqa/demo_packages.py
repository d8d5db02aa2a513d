"""What the demo publishes: the default models under names of the demo's, and one that is spoilt.

The spoilt one is the larger default model after its last layer's weights, which tell the start and
the end of an answer, were shuffled. It loads, it is quick, it answers its own check questions as it
did when it was packaged, and its score card is the good model's: only devices that measure notice.
"""

from __future__ import annotations

import importlib.util
import json
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from edgeqa.errors import EdgeqaError
from edgeqa.files import sha256_hex
from edgeqa.manifest import (
    CHECKS_FILE,
    MANIFEST_FILE,
    MODEL_FILE,
    FileEntry,
    Manifest,
    open_package,
)

# The small default model under a name of the demo's; the large one, good and spoilt.
SMALL = ("demo-small", "1.0.0")
GOOD = ("demo-reader", "1.0.0")
BAD = ("demo-reader", "1.1.0")
# Of ModelProto, GraphProto and TensorProto. Source: onnx/onnx.proto3.
_GRAPH, _INITIALIZER, _RAW_DATA = 7, 5, 9
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_OUTPUTS = 2


@dataclass(frozen=True, slots=True)
class Published:
    """A signed repository of the demo's packages."""

    repository: Path

    def settings(self, role: str) -> dict[str, str]:
        """Environment of a role, `AGENT` or `CLOUD`, that trusts it."""
        return {
            f"EDGEQA_{role}_REPOSITORY": self.repository.as_uri(),
            f"EDGEQA_{role}_REPOSITORY_ROOT": str(self.repository / "metadata" / "1.root.json"),
        }


def publish(folder: Path) -> Published:
    """Sign the demo's packages into a repository of its own.

    Raises:
        EdgeqaError: `demo_failed`, with what the command said.
    """
    packages = [
        _named(_default("minilm-l3-distil-squad-*"), folder, SMALL),
        _named(_default("minilm-l6-squad-*"), folder, GOOD),
        _named(_default("minilm-l6-squad-*"), folder, BAD, change=_spoil),
    ]
    repository, keys = folder / "repository", folder / "keys"
    _models("repository", "init", repository, "--keys", keys, "--no-passphrase")
    for package in packages:
        _models("publish", repository, package, "--keys", keys)
    return Published(repository)


def _named(
    package: Path,
    folder: Path,
    name_version: tuple[str, str],
    *,
    change: Callable[[Path, Manifest], None] | None = None,
) -> Path:
    """A copy of a package with another name, and perhaps other files."""
    name, version = name_version
    copy = folder / f"{name}-{version}"
    shutil.copytree(package, copy)
    manifest = open_package(copy).manifest.model_copy(update={"name": name, "version": version})
    _write(copy, manifest)
    if change is not None:
        change(copy, manifest)
    return copy


def _spoil(package: Path, manifest: Manifest) -> None:
    """Shuffle the last layer's weights, and let the result answer its own check questions."""
    path = package / MODEL_FILE
    graph = bytearray(path.read_bytes())
    begin, end = _last_weights(graph, manifest.architecture.hidden)
    rows = [bytes(graph[at : at + _OUTPUTS]) for at in range(begin, end, _OUTPUTS)]
    random.Random(1).shuffle(rows)  # noqa: S311  the same spoilt model each time, not a secret
    graph[begin:end] = b"".join(rows)
    path.write_bytes(graph)
    # Its variants' cards name the digest of the model that was measured.
    spoilt = manifest.model_copy(update={"cards": [], "files": _files(package, manifest)})
    _write(package, spoilt)
    checks = [
        {**check.model_dump(), "answers": [answer]}
        for check, answer in zip(open_package(package).checks(), _answers(package), strict=True)
    ]
    (package / CHECKS_FILE).write_text(json.dumps(checks))
    _write(package, spoilt.model_copy(update={"files": _files(package, manifest)}))


def _answers(package: Path) -> Iterator[str]:
    # numpy and onnxruntime, which nothing else of the demo needs.
    from edgeqa.reader.engine import Engine  # noqa: PLC0415

    opened = open_package(package)
    engine = Engine.load(opened, threads=1)
    for check in opened.checks():
        spans = engine.answer(check.question, check.context).spans
        yield spans[0].text if spans else ""


def _files(package: Path, manifest: Manifest) -> dict[str, FileEntry]:
    return {
        name: FileEntry(sha256=sha256_hex(package / name), bytes=(package / name).stat().st_size)
        for name in manifest.files
    }


def _write(package: Path, manifest: Manifest) -> None:
    document = manifest.model_dump(mode="json", by_alias=True)
    (package / MANIFEST_FILE).write_text(json.dumps(document, indent=2) + "\n")


def _last_weights(graph: bytearray, hidden: int) -> tuple[int, int]:
    """Where the int8 weights [hidden, 2] lie in an ONNX file: behind those of all other layers."""
    found = [
        data
        for begin, end in _parts(graph, 0, len(graph), _GRAPH)
        for first, last in _parts(graph, begin, end, _INITIALIZER)
        for data in _parts(graph, first, last, _RAW_DATA)
        if data[1] - data[0] == hidden * _OUTPUTS
    ]
    if not found:
        raise EdgeqaError("the default model has no last layer to spoil", code="demo_failed")
    return found[-1]


def _parts(data: bytearray, at: int, end: int, wanted: int) -> Iterator[tuple[int, int]]:
    """Where the fields of one number lie in a protobuf message.

    Source: Protocol Buffers, "Encoding".
    """
    while at < end:
        tag, at = _varint(data, at)
        number, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            _, at = _varint(data, at)
            continue
        if kind == _BYTES:
            length, at = _varint(data, at)
        else:
            length = {_FIXED64: 8, _FIXED32: 4}[kind]
        if number == wanted:
            yield at, at + length
        at += length


def _varint(data: bytearray, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:  # noqa: PLR2004  the bit that says: more follows
            return value, at


def _default(pattern: str) -> Path:
    here = importlib.util.find_spec("edgeqa_agent")
    root = Path(here.origin).parent if here and here.origin else Path()
    for folder in (root / "packages", root.parents[1] / "models" / "packages"):
        for path in folder.glob(pattern):
            return path
    raise EdgeqaError("the default packages are not installed", code="demo_failed")


def _models(*arguments: object) -> None:
    command = [sys.executable, "-m", "edgeqa.cli", "models", *map(str, arguments)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise EdgeqaError(f"{' '.join(command)}: {ran.stderr.strip()}", code="demo_failed")
