"""The state folder on disk: who may use it, its parts, and moves that survive a power cut.

A package comes in by one rename of a finished, synced folder, and goes by one rename into
`trash/`; it is deleted only there. So what lies in `packages/` is whole.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import secrets
import shutil
import stat
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from pydantic import ValidationError
from structlog.typing import FilteringBoundLogger

from edgeqa.errors import ConfigError, ModelLoadError, VerificationError
from edgeqa.files import sync_folder
from edgeqa.manifest import MANIFEST_FILE, MAX_MANIFEST_BYTES, Manifest, Package, open_package
from edgeqa.messages import ModelRef
from edgeqa_agent.inventory import Entry
from edgeqa_agent.store_file import StoreError, storing
from edgeqa_agent.store_trouble import check_parts, is_lost_with_the_container, unusable


class StoreFolder:
    """The folder, held by one agent from `open` to `close`."""

    def __init__(self, path: Path, lock: int, log: FilteringBoundLogger) -> None:
        self.path = path
        self._packages = path / "packages"
        self._staging = path / "staging"
        self._trash = path / "trash"
        self._lock: int | None = lock
        self._log = log

    @classmethod
    def open(cls, path: Path, log: FilteringBoundLogger) -> StoreFolder:
        """Create what is missing, lock it, and empty the trash.

        Raises:
            ConfigError: `state_locked`, another agent has it; `store_unusable`.
        """
        try:
            made = [one.parent for one in (path, *path.parents) if not one.exists()]
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            for parent in made:
                with contextlib.suppress(PermissionError):
                    sync_folder(parent)  # it need not be ours to read
            folder = cls(path, _locked(path), log)
        except OSError as error:
            raise unusable(path, error) from error
        try:
            folder._prepare()
        except OSError as error:
            folder.close()
            raise unusable(path, error) from error
        return folder

    def close(self) -> None:
        """Let another agent have it; idempotent."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def unusable(self, error: OSError) -> ConfigError:
        """What is said where an agent cannot work with it."""
        return unusable(self.path, error)

    def entries(self) -> list[Entry]:
        """The packages here; what is none is thrown away, what cannot be read is left out.

        Raises:
            OSError: the folder cannot be read.
        """
        found = []
        for path in sorted(self._packages.iterdir()):
            try:
                entry = None if path.is_symlink() else _read_entry(path, embedded=False)
                if entry and self._place(entry.ref) == path:
                    found.append(entry)
                else:
                    self._log.warning("leftover_removed", path=str(path))
                    self.throw(path)
            except OSError as error:
                self._log.error("package_unreadable", path=str(path), reason=str(error))
        return found

    def staged(self) -> dict[Path, int]:
        """Bytes of each download.

        Raises:
            OSError: they cannot be read.
        """
        return {path: _bytes_below(path) for path in self._staging.iterdir()}

    def stage(self, name: str, version: str) -> Path:
        """The folder to fetch a package into; any other download is thrown away.

        Raises:
            OSError: it cannot be made.
        """
        path = self._staging / f"{name}-{version}"
        for other in self._staging.iterdir():
            if other != path:
                self.throw(other)
        path.mkdir(exist_ok=True)
        return path

    def verified(self, staged: Path) -> Package:
        """What was fetched, checked; what is not whole is thrown away.

        Raises:
            ModelLoadError: no package (`package_malformed`).
            VerificationError: not what its manifest says, or not what the folder was made for.
            StoreError: not a download, or it cannot be thrown away.
        """
        if staged.parent != self._staging:
            raise StoreError(f"{staged} is not a download in {self._staging}")
        try:
            return _opened(staged)
        except (ModelLoadError, VerificationError):
            with storing(f"{staged} cannot be removed"):
                self.throw(staged)
            raise

    def adopt(self, staged: Path, ref: ModelRef, files: Collection[str]) -> Path:
        """Move a verified package to its place; `files` are all that may be in it.

        It is there for good once `settle` has succeeded.

        Raises:
            OSError: not possible; it is still staged.
        """
        for path in staged.iterdir():
            if path.name not in files:
                self.throw(path)
        for name in files:
            _sync_file(staged / name)
        sync_folder(staged)
        target = self._place(ref)
        self.throw(target)  # what is in its way is damaged, or could not be read
        return staged.rename(target)

    def settle(self) -> None:
        """Make what was adopted durable.

        Raises:
            OSError: not possible.
        """
        sync_folder(self._packages)
        sync_folder(self._staging)

    def throw(self, path: Path) -> bool:
        """Move into the trash, durably; whether there was something to move.

        Raises:
            OSError: not possible.
        """
        try:
            path.rename(self._trash / secrets.token_hex(8))
        except FileNotFoundError:
            return False
        sync_folder(path.parent)
        sync_folder(self._trash)
        return True

    def empty_trash(self) -> None:
        """Delete what was thrown away; what cannot be deleted is left for the next start."""
        for path in self._trash.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                with contextlib.suppress(OSError):
                    path.unlink()
            if path.is_symlink() or path.exists():
                self._log.warning("trash_not_emptied", path=str(path))

    def _place(self, ref: ModelRef) -> Path:
        # 64 bits of its digest tell apart what has one name and version.
        digest = ref.digest.removeprefix("sha256:")[:16]
        return self._packages / f"{ref.name}-{ref.version}-{digest}"

    def _prepare(self) -> None:
        parts = (self._packages, self._staging, self._trash)
        for part in parts:
            part.mkdir(mode=0o700, exist_ok=True)
        sync_folder(self.path)
        with contextlib.suppress(OSError):
            sync_folder(self.path.parent)  # it need not be ours to read
        for part in (self.path, *parts):
            if not os.access(part, os.R_OK | os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(part))
        check_parts(self.path)
        if is_lost_with_the_container(self.path):
            self._log.warning("state_not_kept", path=str(self.path), advice="mount a volume there")
        for path in self._staging.iterdir():
            if path.is_symlink() or not path.is_dir():
                self.throw(path)
        self.empty_trash()


def _bytes_below(path: Path) -> int:
    """Of all files in a folder; those that come and go meanwhile, as in a download, may count."""
    size = 0
    for folder, _, names in os.walk(path):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                size += (Path(folder) / name).lstat().st_size
    return size


def read_embedded(paths: Sequence[Path], log: FilteringBoundLogger) -> Iterator[Entry]:
    """The packages of the installation; one that is none is logged and left out."""
    for path in paths:
        reason = "not a model package"
        try:
            entry = _read_entry(path, embedded=True)
        except OSError as error:
            entry, reason = None, str(error)
        if entry:
            yield entry
        else:
            log.error("embedded_unreadable", path=str(path), reason=reason)


def _locked(path: Path) -> int:
    handle = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(handle)
        raise ConfigError(
            f"{path}: another agent uses this state folder; give each agent its own",
            code="state_locked",
        ) from error
    except OSError:
        os.close(handle)
        raise
    return handle


def _read_entry(path: Path, *, embedded: bool) -> Entry | None:
    if not _has_manifest(path):
        return None
    with (path / MANIFEST_FILE).open("rb") as file:
        raw = file.read(MAX_MANIFEST_BYTES)
    try:
        manifest = Manifest.model_validate_json(raw)
    except ValidationError:
        return None
    digest = f"sha256:{hashlib.sha256(raw).hexdigest()}"
    size = len(raw) + sum(one.bytes for one in manifest.files.values())
    ref = ModelRef(name=manifest.name, version=manifest.version, digest=digest)
    return Entry(ref, path, size, embedded)


def _opened(staged: Path) -> Package:
    with storing(f"{staged} cannot be read"):
        is_package = not staged.is_symlink() and _has_manifest(staged)
    if not is_package:
        raise ModelLoadError(
            f"{staged} is not a model package: no {MANIFEST_FILE}", code="package_malformed"
        )
    package = open_package(staged)
    name = f"{package.manifest.name}-{package.manifest.version}"
    if staged.name != name:
        raise VerificationError(f"{staged}: its manifest is that of {name}")
    return package


def _has_manifest(path: Path) -> bool:
    # Looked at before anything opens it: opening a pipe would wait for ever, and a link may lead
    # anywhere.
    try:
        return stat.S_ISREG((path / MANIFEST_FILE).lstat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False


def _sync_file(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
