"""Packages in the targets metadata: which there are, and how one is added or withdrawn.

Pure. A version is published once: what a name and version stand for never changes, not even after
it was withdrawn, since devices and reports refer to it.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping

from pydantic import ValidationError
from tuf.api.metadata import TargetFile, Targets

from edgeqa.errors import ConfigError, VerificationError
from edgeqa.manifest import MANIFEST_FILE, Package
from edgeqa.targets import PackageSummary, summarise, target_path

# "NAME/VERSION" to the digest of the package that was withdrawn; signed with the targets.
WITHDRAWN_FIELD = "x-edgeqa-withdrawn"


def packages(targets: Targets) -> list[PackageSummary]:
    """The packages, by name and version.

    Raises:
        VerificationError: `repository_damaged`, a target belongs to none.
    """
    found = []
    for folder, files in grouped(targets).items():
        path = f"{folder}/{MANIFEST_FILE}"
        if path not in files:
            raise _damaged(folder)
        try:
            summary = PackageSummary.model_validate(files[path].custom)
        except ValidationError as error:
            raise _damaged(folder) from error
        if path != target_path(summary.name, summary.version) or summary.digest != _digest(
            files[path]
        ):
            raise _damaged(folder)
        found.append(summary)
    return sorted(found, key=lambda one: (one.name, [int(n) for n in one.version.split(".")]))


def grouped(targets: Targets) -> Mapping[str, Mapping[str, TargetFile]]:
    """The targets of each package, by path, under its `NAME/VERSION`."""
    found: dict[str, dict[str, TargetFile]] = {}
    for path, target in targets.targets.items():
        found.setdefault(path.rpartition("/")[0], {})[path] = target
    return found


def label(package: PackageSummary) -> str:
    """`NAME/VERSION`, the folder of a package's targets."""
    return target_path(package.name, package.version, "").removesuffix("/")


def withdrawn(targets: Targets) -> Mapping[str, str]:
    """`NAME/VERSION` to digest of what is offered no more."""
    return dict(targets.unrecognized_fields.get(WITHDRAWN_FIELD, {}))


def with_package(targets: Targets, package: Package) -> Targets | None:
    """`targets` and a package; None if it is in them already.

    Raises:
        VerificationError: `version_published`, that version exists with other bytes.
    """
    summary = summarise(package)
    manifest = targets.targets.get(target_path(summary.name, summary.version))
    if manifest is not None and _digest(manifest) == summary.digest:
        return None
    gone = withdrawn(targets)
    before = _digest(manifest) if manifest else gone.get(label(summary), summary.digest)
    if before != summary.digest:
        raise VerificationError(
            f"{summary.name} {summary.version} was published with other bytes ({before}); "
            "package it under a new version",
            code="version_published",
        )
    made = copy.deepcopy(targets)
    _set_withdrawn(made, {k: v for k, v in gone.items() if k != label(summary)})
    entries = {name: (entry.bytes, entry.sha256) for name, entry in package.manifest.files.items()}
    others = sum(size for size, _ in entries.values())
    entries[MANIFEST_FILE] = summary.bytes - others, summary.digest.removeprefix("sha256:")
    for name, (size, sha256) in entries.items():
        path = target_path(summary.name, summary.version, name)
        made.targets[path] = TargetFile(size, {"sha256": sha256}, path)
    manifest = made.targets[target_path(summary.name, summary.version)]
    manifest.unrecognized_fields["custom"] = summary.as_custom()
    return made


def without_package(targets: Targets, name: str, version: str) -> Targets:
    """`targets` less a package, which is noted as withdrawn.

    Raises:
        ConfigError: `package_unknown`.
    """
    found = [one for one in packages(targets) if (one.name, one.version) == (name, version)]
    if not found:
        raise ConfigError(f"{name} {version} is not in the repository", code="package_unknown")
    made = copy.deepcopy(targets)
    for path in grouped(targets)[label(found[0])]:
        del made.targets[path]
    _set_withdrawn(made, {**withdrawn(targets), label(found[0]): found[0].digest})
    return made


def _set_withdrawn(targets: Targets, entries: Mapping[str, str]) -> None:
    if entries:
        targets.unrecognized_fields[WITHDRAWN_FIELD] = dict(entries)
    else:
        targets.unrecognized_fields.pop(WITHDRAWN_FIELD, None)


def _digest(target: TargetFile) -> str:
    return f"sha256:{target.hashes.get('sha256')}"


def _damaged(folder: str) -> VerificationError:
    return VerificationError(f"the targets in {folder!r} are no package", code="repository_damaged")
