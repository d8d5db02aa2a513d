"""Packages on their way into the repository: verified, copied, and entered in the targets.

Files go in first. Until the metadata name them nobody looks for them, so a full disk or a killed
process half-way publishes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

from tuf.api.metadata import TargetFile, Targets

from edgeqa.errors import ConfigError, VerificationError
from edgeqa.files import copy_atomic, sha256_hex, sync_folder
from edgeqa.manifest import Manifest, Package
from edgeqa.targets import PackageSummary, target_path
from edgeqa_models.repository.contents import grouped, label, packages, with_package
from edgeqa_models.repository.documents import Document, stamped
from edgeqa_models.repository.layout import FOLDER_MODE, Layout, named_write_errors
from edgeqa_models.repository.roles import MAX_BYTES, Role
from edgeqa_models.repository.state import State

# What signatures, by a generous number of keys, add to the targets metadata.
_SIGNATURES_BYTES = 16 << 10


class Copy(Protocol):
    """`edgeqa.files.copy_atomic`."""

    def __call__(self, source: Path, path: Path, *, sha256: str) -> None:
        """Copy a file whose digest is known."""


def admit(
    layout: Layout, state: State, opened: Sequence[Package], *, copy: Copy = copy_atomic
) -> Document | None:
    """Copy packages in and enter them in the targets metadata, unsigned.

    Files of packages that are in already are copied again if they are gone or damaged.

    Returns:
        The targets metadata to stage; None if all packages are in already.

    Raises:
        VerificationError: `version_published`, or a file changed meanwhile (`digest_mismatch`).
        ConfigError: the disk is full or not writable (`output_unwritable`), or the metadata would
            be larger than clients take (`repository_full`). What was copied is removed again.
    """
    targets: Targets = state.staged.get(Role.TARGETS, state.targets).signed
    document = None
    for package in opened:
        extended = with_package(targets, package)
        if extended is not None:
            targets = extended
            document = entered(state, targets)
    with _undone_on_error(layout) as created:
        for package in opened:
            _copy_in(layout, package, targets, created, copy)
    return document


def entered(state: State, targets: Targets) -> Document:
    """Changed targets as the next targets metadata, unsigned; dated when they are signed.

    Raises:
        ConfigError: `repository_full`.
    """
    old = state.targets
    document = stamped(targets, version=old.version + 1, now=old.signed_at, days=old.days)
    if len(document.raw) + _SIGNATURES_BYTES > MAX_BYTES[Role.TARGETS]:
        raise ConfigError(
            f"the repository holds {len(packages(old.signed))} packages; with more, its list would "
            f"exceed the {MAX_BYTES[Role.TARGETS]} bytes that devices take; withdraw old ones",
            code="repository_full",
        )
    return document


def demand_files(layout: Layout, old: Targets, new: Targets) -> None:
    """Refuse to vouch for packages whose files are not there, whole and as their manifest says.

    Only packages that are in `new` and not in `old` are looked at.

    Raises:
        VerificationError: `digest_mismatch`; `repository_damaged` if a manifest and the targets
            disagree, or others would be trusted with packages; `version_published`.
    """
    if new.delegations is not None:
        raise VerificationError(
            "staged targets delegate to other keys; delete them", code="repository_damaged"
        )
    known, all_files = grouped(old), grouped(new)
    for package in packages(new):
        before, files = known.get(label(package)), all_files[label(package)]
        if before == files:
            continue
        if before is not None:
            raise VerificationError(
                f"{package.name} {package.version} is staged with other bytes than were "
                "published; delete it",
                code="version_published",
            )
        for path, target in files.items():
            demand_file(layout, path, target)
        _demand_agreement(layout, package, files)


def demand_file(layout: Layout, path: str, target: TargetFile, *, content: bool = True) -> None:
    """Refuse a target whose file is missing, of another length or, with `content`, other bytes.

    Raises:
        VerificationError: `digest_mismatch`.
    """
    sha256 = target.hashes.get("sha256", "")
    file = layout.target(path, sha256)
    try:
        wrong = file.stat().st_size != target.length or (content and sha256_hex(file) != sha256)
    except OSError as error:
        raise VerificationError(f"{file}: {error.strerror}", code="digest_mismatch") from error
    if wrong:
        raise VerificationError(
            f"{file}: is not what the metadata say; add its package again", code="digest_mismatch"
        )


def _demand_agreement(
    layout: Layout, package: PackageSummary, files: Mapping[str, TargetFile]
) -> None:
    path = target_path(package.name, package.version)
    file = layout.target(path, files[path].hashes["sha256"])
    manifest = Manifest.model_validate_json(file.read_bytes())
    listed = {
        target_path(manifest.name, manifest.version, name): (entry.bytes, entry.sha256)
        for name, entry in manifest.files.items()
    }
    published = {
        name: (one.length, one.hashes["sha256"]) for name, one in files.items() if name != path
    }
    if listed != published:
        raise VerificationError(
            f"{file}: lists other files than are to be published", code="repository_damaged"
        )


def _copy_in(
    layout: Layout, package: Package, targets: Targets, created: list[Path], copy: Copy
) -> None:
    folder = target_path(package.manifest.name, package.manifest.version, "")
    for path, target in targets.targets.items():
        if not path.startswith(folder):
            continue
        destination = layout.target(path, target.hashes["sha256"])
        with suppress(VerificationError):
            demand_file(layout, path, target)
            continue  # copied by a run that was killed later, or of a package withdrawn once
        _make_folder(destination.parent, created)
        created.append(destination)
        copy(package.file(path.removeprefix(folder)), destination, sha256=target.hashes["sha256"])


def _make_folder(folder: Path, created: list[Path]) -> None:
    if folder.is_dir():
        return
    _make_folder(folder.parent, created)
    folder.mkdir()
    created.append(folder)
    folder.chmod(FOLDER_MODE)
    sync_folder(folder.parent)


@contextmanager
def _undone_on_error(layout: Layout) -> Iterator[list[Path]]:
    created: list[Path] = []
    try:
        with named_write_errors(layout.targets):
            yield created
    except BaseException:  # Ctrl-C too leaves nothing behind
        for path in reversed(created):
            remove: Callable[[], None] = path.rmdir if path.is_dir() else path.unlink
            with suppress(OSError):
                remove()
        raise
