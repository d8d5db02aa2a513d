"""Brings files from an origin: bounded in size and time, with retries, from where it broke off.

Knows nothing of TUF. What comes is compared with the length and SHA-256 that the caller was given
by somebody it trusts; an origin can cost time, up to the bounds, and nothing else.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from contextlib import closing
from pathlib import Path

from structlog.typing import FilteringBoundLogger

from edgeqa.repository.fetching import FetchError, FetchLimits, RemoteFile
from edgeqa.repository.origins import Head, Origin, OriginError
from edgeqa.repository.pace import Throttle, Timing, Watch, backoff_s, pause
from edgeqa.repository.partial import PartialFile
from edgeqa.repository.pump import Pump

# A try that brings so much is progress: a link that breaks every few megabytes gets through in the
# end, and as a file has a length, the number of tries is still bounded.
_PROGRESS_BYTES = 64 << 10
_RANGE_NOT_SATISFIABLE = 416


class OtherFileError(Exception):
    """The origin's file cannot be the one that is wanted."""


class Transfer:
    """Brings files, one after the other."""

    def __init__(
        self,
        *,
        origin: Origin,
        limits: FetchLimits,
        timing: Timing,
        stop: threading.Event,
        log: FilteringBoundLogger,
    ) -> None:
        self._origin = origin
        self._limits = limits
        self._timing = timing
        self._stop = stop
        self._log = log
        self._throttle = Throttle(limits.rate_bytes_s, timing=timing, stop=stop)

    def read(self, path: str, *, most: int, fresh: bool) -> bytes:
        """A small file, into memory.

        Args:
            path: at the origin.
            most: bytes that it may have.
            fresh: see `Origin.open`.

        Raises:
            OriginError: it did not come, after all retries.
            OtherFileError: it is longer.
            FetchError: `superseded`.
        """
        failures = 0
        while True:
            try:
                return self._read(path, most=most, fresh=fresh)
            except OriginError as error:
                failures = self._retry(path, error, failures)

    def save(self, file: RemoteFile, folder: Path, *, there: Callable[[int], None]) -> None:
        """A file into a folder, continuing what is there of it.

        Args:
            file: what it must be.
            folder: where to.
            there: told how many of its bytes are there, again and again.

        Raises:
            FetchError: `repository_unreachable`, `download_corrupt`, `disk_full`, `store_failed` or
                `superseded`. But for a corrupt one, and where the disk is full, what came stays.
        """
        with PartialFile(folder, file.name) as part:
            why = ""
            for fresh in (False, True):
                # What does not match may be an old part or a bad cache: once more, all of it.
                if fresh or part.size > file.bytes:
                    part.clear()
                try:
                    self._fill(part, file, fresh=fresh, there=there)
                    if part.matches(file.sha256, stop=self._stop):
                        part.finish()
                        return
                    why = "its SHA-256 is another"
                except OtherFileError as error:
                    why = str(error)
                self._log.warning("fetch_mismatch", path=file.path, reason=why, again=not fresh)
            part.discard()
            raise FetchError(
                f"{file.path} is not what the repository signed: {why}", code="download_corrupt"
            )

    def _read(self, path: str, *, most: int, fresh: bool) -> bytes:
        content = bytearray()
        total = None
        with closing(self._chunks(path, offset=0, most=most + 1, fresh=fresh)) as chunks:
            for total, chunk in chunks:
                content += chunk
                if max(total or 0, len(content)) > most:
                    raise OtherFileError(f"longer than the {most} bytes that it may have")
        if total is not None and len(content) < total:
            raise OriginError(f"{path}: only {len(content)} of {total} bytes came")
        return bytes(content)

    def _fill(
        self, part: PartialFile, file: RemoteFile, *, fresh: bool, there: Callable[[int], None]
    ) -> None:
        failures = 0
        there(part.size)
        while part.size < file.bytes:
            before = part.size
            if before:
                self._log.info("fetch_resumed", path=file.path, offset=before)
            try:
                self._append(part, file, fresh=fresh, there=there)
            except OriginError as error:
                if error.status == _RANGE_NOT_SATISFIABLE:
                    raise OtherFileError("the server's is shorter") from error
                if part.size - before >= _PROGRESS_BYTES:
                    failures = 0
                try:
                    failures = self._retry(file.path, error, failures)
                except OriginError:
                    raise FetchError(str(error), code="repository_unreachable") from error

    def _append(
        self, part: PartialFile, file: RemoteFile, *, fresh: bool, there: Callable[[int], None]
    ) -> None:
        left = file.bytes - part.size
        source = self._chunks(file.path, offset=part.size, most=left, fresh=fresh)
        with closing(source) as chunks:
            for total, chunk in chunks:
                if total not in {None, file.bytes}:
                    raise OtherFileError(f"the server's has {total} bytes, not {file.bytes}")
                part.write(chunk)
                there(part.size)
        if part.size < file.bytes:
            raise OriginError(f"{file.path}: only {part.size} of {file.bytes} bytes came")

    def _chunks(
        self, path: str, *, offset: int, most: int, fresh: bool
    ) -> Generator[tuple[int | None, bytes], None, None]:
        """What the origin says the file's length is, and bytes from `offset` on."""
        with Pump(
            lambda: self._origin.open(path, offset=offset, most=most, fresh=fresh),
            leave=self._origin.leave,
            stop=self._stop,
            timeout_s=self._limits.timeout_s,
        ) as pump:
            head = pump.take()
            if not isinstance(head, Head) or head.start not in {0, offset}:
                raise OtherFileError("the server sends another part than was asked for")
            yield head.total, b""
            watch = Watch(
                window_s=self._limits.timeout_s,
                rate_bytes_s=self._limits.rate_bytes_s,
                timing=self._timing,
            )
            # A server that knows no ranges sends again what is there: read past it.
            skip = offset - head.start
            while isinstance(chunk := pump.take(), bytes):
                self._throttle.pay(len(chunk))
                watch.saw(len(chunk))
                yield head.total, chunk[skip:]
                skip = max(0, skip - len(chunk))

    def _retry(self, path: str, error: OriginError, failures: int) -> int:
        """Wait before the next try; the number of failures so far.

        Raises:
            OriginError: there shall be none.
        """
        if not error.retry or failures >= self._limits.retries:
            raise error
        failures += 1
        wait_s = backoff_s(failures, after_s=error.after_s, timing=self._timing)
        self._log.info("fetch_retry", path=path, reason=str(error), wait_s=round(wait_s, 2))
        pause(wait_s, timing=self._timing, stop=self._stop)
        return failures
