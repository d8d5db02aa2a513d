"""Fetching a file of questions from a web server: of bounded size, in bounded time."""

from __future__ import annotations

import time
from importlib.metadata import version
from pathlib import Path
from urllib.parse import unquote, urlsplit

import urllib3
from urllib3.exceptions import HTTPError
from urllib3.util import make_headers

from edgeqa.errors import DataError

_MAX_REDIRECTS = 5
_CHUNK_BYTES = 64 << 10
# A server that says nothing for so long will not; the whole has `timeout_s`.
_SILENCE_S = 30.0
_OK = 200


def download(url: str, folder: Path, *, max_bytes: int, timeout_s: float) -> Path:
    """A file in `folder`, named as in the URL, so that its kind is known.

    Raises:
        DataError: it cannot be had, is larger, or takes longer.
    """
    deadline = time.monotonic() + timeout_s
    silence_s = min(_SILENCE_S, timeout_s)
    try:
        with urllib3.PoolManager(
            headers={**make_headers(accept_encoding="identity"), "User-Agent": _agent()},
            retries=urllib3.Retry(total=_MAX_REDIRECTS, connect=0, read=0, redirect=_MAX_REDIRECTS),
            timeout=urllib3.Timeout(connect=silence_s, read=silence_s),
        ) as pool:
            answer = pool.request("GET", url, preload_content=False)
            try:
                return _save(answer, _place(url, folder), url, max_bytes, deadline)
            finally:
                answer.close()
    except HTTPError as error:
        raise DataError(f"{url}: cannot be fetched: {_reason(error)}") from error


def _save(
    answer: urllib3.BaseHTTPResponse, path: Path, url: str, max_bytes: int, deadline: float
) -> Path:
    if answer.status != _OK:
        raise DataError(f"{url}: the server answers {answer.status}")
    size = 0
    with path.open("wb") as file:
        # `read1` gives what has come: a server that sends byte by byte must not evade the deadline.
        while block := answer.read1(_CHUNK_BYTES, decode_content=False):
            size += len(block)
            if size > max_bytes:
                raise DataError(f"{url}: larger than {max_bytes >> 20} MiB")
            if time.monotonic() > deadline:
                raise DataError(f"{url}: not fetched in time")
            file.write(block)
    return path


def _place(url: str, folder: Path) -> Path:
    name = Path(unquote(urlsplit(url).path)).name.replace("\0", "")
    return folder / (name[-100:] if name.strip(".") else "questions.json")


def _agent() -> str:
    return f"edgeqa-agent/{version('edgeqa')}"


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".partition("\n")[0][:300]
