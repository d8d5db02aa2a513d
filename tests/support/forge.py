"""Repositories that say what ours would never publish, signed with their true keys."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tuf.api.metadata import Metadata, Root, Snapshot, TargetFile, Targets, Timestamp

from edgeqa.targets import target_path
from edgeqa_models.repository.environment import Passphrase
from edgeqa_models.repository.keys import KeyFolder
from support.repository import Repository


def forge_targets(repository: Repository, change: Callable[[Targets], None]) -> None:
    """Publish a changed list of targets, with a new snapshot and timestamp."""
    metadata = repository.path / "metadata"
    timestamp = Metadata[Timestamp].from_file(str(metadata / "timestamp.json"))
    number = timestamp.signed.snapshot_meta.version
    snapshot = Metadata[Snapshot].from_file(str(metadata / f"{number}.snapshot.json"))
    number = snapshot.signed.meta["targets.json"].version
    targets = Metadata[Targets].from_file(str(metadata / f"{number}.targets.json"))
    change(targets.signed)
    raw = _signed(repository, targets)
    _state(snapshot.signed.meta["targets.json"], targets, raw)
    (metadata / f"{targets.signed.version}.targets.json").write_bytes(raw)
    raw = _signed(repository, snapshot)
    _state(timestamp.signed.snapshot_meta, snapshot, raw)
    (metadata / f"{snapshot.signed.version}.snapshot.json").write_bytes(raw)
    (metadata / "timestamp.json").write_bytes(_signed(repository, timestamp))


def forge_package(
    repository: Repository,
    files: dict[str, bytes],
    *,
    name: str = "tiny",
    version: str = "6.6.6",
    manifest: bytes | None = None,
    listed: dict[str, bytes] | None = None,
    summary: dict[str, Any] | None = None,
) -> None:
    """Publish whatever is given as a package, truly signed.

    Args:
        repository: whose keys sign.
        files: that the manifest names; it is otherwise that of tiny 1.0.0.
        name: of the package.
        version: of the package.
        manifest: instead of the one made of `files`.
        listed: targets to list, where they are not `files`.
        summary: to replace in the true one.
    """
    [model] = (repository.path / "targets" / "tiny" / "1.0.0").glob("*.manifest.json")
    content = json.loads(model.read_bytes())
    content |= {"name": name, "version": version}
    content["files"] = {
        file: {"sha256": hashlib.sha256(raw).hexdigest(), "bytes": len(raw)}
        for file, raw in files.items()
    }
    raw_manifest = json.dumps(content).encode() if manifest is None else manifest
    contents = {"manifest.json": raw_manifest, **(files if listed is None else listed)}
    true = {
        "schema": 1,
        "name": name,
        "version": version,
        "digest": f"sha256:{hashlib.sha256(raw_manifest).hexdigest()}",
        "architecture": "bert",
        "precision": "int8",
        "bytes": sum(map(len, contents.values())),
    }

    def add(targets: Targets) -> None:
        for file, raw in contents.items():
            path = target_path(name, version, file)
            sha256 = hashlib.sha256(raw).hexdigest()
            targets.targets[path] = TargetFile(len(raw), {"sha256": sha256}, path)
            folder, _, base = path.rpartition("/")
            stored = repository.path / "targets" / folder / f"{sha256}.{base}"
            stored.parent.mkdir(parents=True, exist_ok=True)
            stored.write_bytes(raw)
        custom = {**true, **(summary or {})}
        targets.targets[target_path(name, version)].unrecognized_fields["custom"] = custom

    forge_targets(repository, add)


def _signed(repository: Repository, metadata: Metadata[Any]) -> bytes:
    root = Metadata[Root].from_bytes(_newest_root(repository.path / "metadata"))
    keys = KeyFolder(repository.keys, Passphrase(environ={}, ask=None), repository=None)
    metadata.signed.version += 1
    metadata.signatures.clear()
    for keyid in root.signed.roles[metadata.signed.type].keyids:
        signer = keys.get(keyid)
        assert signer is not None
        metadata.sign(signer, append=True)
    return metadata.to_bytes()


def _newest_root(folder: Path) -> bytes:
    paths = folder.glob("*.root.json")
    return max(paths, key=lambda path: int(path.name.partition(".")[0])).read_bytes()


def _state(meta: Any, metadata: Metadata[Any], raw: bytes) -> None:
    meta.version, meta.length = metadata.signed.version, len(raw)
    meta.hashes = {"sha256": hashlib.sha256(raw).hexdigest()}
