"""The state file: read, set aside if damaged, replaced in one step, also on a full disk."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from structlog.typing import FilteringBoundLogger

from edgeqa.errors import EdgeqaError, ExitCode
from edgeqa.files import sync_folder, write_atomic
from edgeqa_agent.state_bytes import MAX_STATE_BYTES, decode, encode
from edgeqa_agent.store_state import StoreState

# Given back when the disk is full, so that what became of a wish can still be written, and the
# command that frees room be obeyed. A state file and its folder's entry take a few blocks.
_RESERVE_BYTES = 64 << 10

_FULL = {errno.ENOSPC, errno.EDQUOT}


class StoreError(EdgeqaError):
    """The state folder cannot be written; what was there is as it was."""

    code = "store_failed"
    exit_code = ExitCode.REFUSED


@contextlib.contextmanager
def storing(what: str) -> Iterator[None]:
    """Translate what the disk says.

    Raises:
        StoreError: `disk_full` or `store_failed`.
    """
    try:
        yield
    except OSError as error:
        message = f"{what}: {error.strerror or error}"
        if error.errno in _FULL:
            raise StoreError(message, code="disk_full") from error
        raise StoreError(message) from error


class StateFile:
    """`state.json` in the state folder, and the reserve of disk space for it."""

    def __init__(self, folder: Path, log: FilteringBoundLogger) -> None:
        self.path = folder / "state.json"
        self.damaged = folder / "state.json.damaged"
        self._reserve = folder / "reserve"
        self._log = log
        self._written: bytes | None = None

    def open(self) -> StoreState:
        """The state on disk; that of a new device if there is none, or it is damaged.

        Raises:
            OSError: it may not be read, or a damaged one not be renamed.
        """
        for temporary in self.path.parent.glob(f".{self.path.name}.*"):
            temporary.unlink()
        self._keep_reserve()
        try:
            with self.path.open("rb") as file:
                raw = file.read(MAX_STATE_BYTES + 1)
            state = decode(raw)
        except FileNotFoundError:
            return StoreState()
        except PermissionError:
            raise
        except (OSError, ValueError) as error:
            self.path.replace(self.damaged)
            sync_folder(self.path.parent)
            reason = str(error).partition("\n")[0]
            self._log.error("state_damaged", kept_as=str(self.damaged), reason=reason)
            return StoreState()
        self._written = raw
        return state

    def write(self, state: StoreState) -> None:
        """Replace the file.

        Raises:
            StoreError: not possible; the file is as it was.
        """
        with storing(f"{self.path} cannot be written"):
            try:
                content = encode(state)
                self._write(content)
            except ValueError as error:
                raise StoreError(f"{self.path} cannot be written: {error}") from error
            except OSError:
                self._put_back()
                raise
        self._written = content

    def _write(self, content: bytes) -> None:
        try:
            write_atomic(self.path, content, mode=0o600)
        except OSError as error:
            if error.errno not in _FULL:
                raise
            self._reserve.unlink(missing_ok=True)
            try:
                write_atomic(self.path, content, mode=0o600)
            finally:
                self._keep_reserve()

    def _put_back(self) -> None:
        # The last step, the sync of the folder, may fail when the new file is in its place.
        try:
            now = self.path.read_bytes() if self.path.exists() else None
            if now == self._written:
                return
            if self._written is None:
                self.path.unlink()
            else:
                write_atomic(self.path, self._written, mode=0o600)
        except OSError:
            self._log.exception("state_not_put_back", path=str(self.path))

    def _keep_reserve(self) -> None:
        try:
            handle = os.open(self._reserve, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
            try:
                if os.fstat(handle).st_size < _RESERVE_BYTES:
                    os.posix_fallocate(handle, 0, _RESERVE_BYTES)
            finally:
                os.close(handle)
        except OSError as error:
            # Nor is there room to say so in a file; the next start tries again.
            self._log.warning("no_reserve", path=str(self._reserve), error=error.strerror)
