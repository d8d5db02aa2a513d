"""Which package a person means: by its name and version, or by a folder that holds it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from edgeqa.errors import UsageError
from edgeqa.manifest import open_package
from edgeqa.topics import is_name

# NAME@VERSION, or NAME-VERSION as folders of packages are called.
_LABEL = re.compile(r"(?P<name>.+)[@-](?P<version>[0-9]+\.[0-9]+\.[0-9]+)\Z")
_DIGEST = re.compile(r"(sha256:)?(?P<hex>[0-9a-f]{64})\Z", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A package.

    Attributes:
        digest: None for any of that name and version.
    """

    name: str
    version: str
    digest: str | None


def wanted_package(text: str, digest: str | None = None) -> Wanted:
    """Understand `NAME@VERSION`, `NAME-VERSION`, or a folder, which is written with a slash.

    A label never reads the disk, so what it means does not depend on the current folder.

    Args:
        text: what the person said.
        digest: that it must have, with or without `sha256:`.

    Raises:
        UsageError: it is none of them, or the folder holds a package of another digest.
        ModelLoadError: the folder is no package (`package_malformed`).
        VerificationError: a file of it was changed (`digest_mismatch`).
    """
    said = None if digest is None else _digest(digest)
    if "/" in text:
        package = open_package(Path(text))
        if said not in {None, package.digest}:
            raise UsageError(f"{text}: its digest is {package.digest}, not the one of --digest")
        return Wanted(package.manifest.name, package.manifest.version, package.digest)
    label = _LABEL.match(text)
    if label is None or not is_name(label["name"]):
        raise UsageError(
            f"PACKAGE: {text!r:.80} is neither NAME@VERSION, such as minilm-l6-squad@0.1.2, nor a "
            "folder, such as ./minilm-l6-squad-0.1.2"
        )
    return Wanted(label["name"], label["version"], said)


def _digest(text: str) -> str:
    found = _DIGEST.match(text)
    if found is None:
        raise UsageError(f"--digest: {text!r:.80} is not sha256: and 64 hexadecimal digits")
    return f"sha256:{found['hex'].lower()}"
