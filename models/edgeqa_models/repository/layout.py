"""The repository's folder: which file lies where, bounded reads, and one writer at a time.

`metadata/` and `targets/` are what is served. `staged/` holds metadata that wait for signatures;
it need not be served, and no client looks there.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from edgeqa.errors import ConfigError, EdgeqaError, ExitCode, VerificationError
from edgeqa_models.repository.roles import MAX_BYTES, Role

FOLDER_MODE = 0o755  # whatever the umask: a web server reads the repository
LOCK_WAIT_S = 10.0
_LOCK_POLL_S = 0.05


class RepositoryBusyError(EdgeqaError):
    """Another command is writing to the repository."""

    code = "repository_locked"
    exit_code = ExitCode.UNREACHABLE


@dataclass(frozen=True, slots=True)
class Layout:
    """Paths in a repository."""

    path: Path

    @property
    def metadata(self) -> Path:
        """Signed metadata."""
        return self.path / "metadata"

    @property
    def targets(self) -> Path:
        """Files of packages."""
        return self.path / "targets"

    def staged(self, role: Role) -> Path:
        """Metadata of a role that wait for signatures."""
        return self.path / "staged" / f"{role}.json"

    def root(self, version: int) -> Path:
        """One version of the root; all are kept, devices follow them one by one."""
        return self.metadata / f"{version}.{Role.ROOT}.json"

    def target(self, path: str, sha256: str) -> Path:
        """Where the file of a target lies; TUF calls it a consistent snapshot."""
        folder, _, name = path.rpartition("/")
        return self.targets / folder / f"{sha256}.{name}"

    def demand(self) -> None:
        """Refuse a folder that is no repository.

        Raises:
            ConfigError: `repository_missing`.
        """
        if not self.root(1).is_file():
            raise ConfigError(
                f"{self.path} is no model repository; `edgeqa models repository init` makes one",
                code="repository_missing",
            )

    @contextmanager
    def locked(self, wait_s: float = LOCK_WAIT_S) -> Iterator[None]:
        """Be the only writer; what a killed one left half-written is removed first.

        Raises:
            ConfigError: it is no repository, or not writable (`output_unwritable`).
            RepositoryBusyError: another writer did not finish in time.
        """
        self.demand()
        try:
            handle = os.open(self.path / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise ConfigError(
                f"{self.path}: cannot be written: {error.strerror}", code="output_unwritable"
            ) from error
        try:
            self._take(handle, wait_s)
            self._sweep()
            yield
        finally:
            os.close(handle)  # and with it the lock

    def _take(self, handle: int, wait_s: float) -> None:
        deadline = time.monotonic() + wait_s
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise RepositoryBusyError(
                        f"{self.path}: another command writes to it; try again when it is done"
                    ) from None
                time.sleep(_LOCK_POLL_S)
            else:
                return

    def _sweep(self) -> None:
        # Every file is written beside its place under a name with a dot first, then renamed.
        for folder in (self.metadata, self.targets, self.path / "staged"):
            for path in folder.rglob(".*"):
                with suppress(OSError):
                    path.unlink()


def read(path: Path, role: Role) -> bytes:
    """A metadata file.

    Raises:
        VerificationError: `repository_damaged`, it is missing or too large.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES[role] + 1)
    except OSError as error:
        raise VerificationError(
            f"{path}: cannot be read: {error.strerror}", code="repository_damaged"
        ) from error
    if len(raw) > MAX_BYTES[role]:
        raise VerificationError(
            f"{path}: larger than {MAX_BYTES[role]} bytes", code="repository_damaged"
        )
    return raw


@contextmanager
def named_write_errors(path: Path) -> Iterator[None]:
    """Turn what the disk complains of while writing to `path` into one line.

    Raises:
        ConfigError: `output_unwritable`.
    """
    try:
        yield
    except OSError as error:
        full = error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
        reason = "the disk is full" if full else error.strerror
        raise ConfigError(
            f"{path}: cannot be written: {reason}", code="output_unwritable"
        ) from error
