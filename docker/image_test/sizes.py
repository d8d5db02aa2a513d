"""What an image weighs: its compressed layers, as a device downloads them, and what is in them."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections import Counter
from dataclasses import dataclass

from image_test.builds import Image

_PACKAGES = "opt/edgeqa/lib/python3.11/site-packages/"
_MODELS = "edgeqa_agent/packages"


@dataclass(frozen=True)
class Size:
    """Of an image, bytes.

    Attributes:
        layers: what made each, and what it weighs compressed.
        unpacked: all files.
        models: of the compressed, the embedded model packages.
        parts: what takes the room, compressed alone, the largest first.
    """

    layers: list[tuple[str, int]]
    unpacked: int
    models: int
    parts: list[tuple[str, int]]

    @property
    def compressed(self) -> int:
        """All layers."""
        return sum(size for _, size in self.layers)


def size_of(image: Image) -> Size:
    """Weigh it."""
    weights: Counter[str] = Counter()
    unpacked = 0
    for layer in image.manifest["layers"]:
        blob = (image.blobs / layer["digest"].removeprefix("sha256:")).read_bytes()
        with tarfile.open(fileobj=io.BytesIO(blob), mode="r:gz") as archive:
            for member in archive:
                stream = archive.extractfile(member) if member.isfile() else None
                if stream is None:
                    continue
                unpacked += member.size
                part = _part(member.name.removeprefix("./"))
                weights[part] += len(gzip.compress(stream.read(), compresslevel=6))
    sizes = [layer["size"] for layer in image.manifest["layers"]]
    return Size(
        layers=list(zip([_made_by(line) for line in image.history], sizes, strict=True)),
        unpacked=unpacked,
        models=sum(size for part, size in weights.items() if part.startswith("model ")),
        parts=weights.most_common(),
    )


def _part(path: str) -> str:
    """Of what a file is a part: a Python package, a model, or Debian."""
    if not path.startswith(_PACKAGES):
        return "Python of Debian" if "python3" in path else "Debian"
    inside = path.removeprefix(_PACKAGES)
    if inside.startswith(_MODELS):
        return f"model {inside.split('/')[2]}"
    name = inside.split("/")[0].split(".")[0]
    return name.partition("-")[0]


def _made_by(line: str) -> str:
    """The step of the Dockerfile, short."""
    words = line.removeprefix("/bin/sh -c").replace("#(nop)", "").split()
    return " ".join(words)[:60] or "base"
