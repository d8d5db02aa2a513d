"""A web server as the place of a repository's files.

Asks for bytes as they are (no compression, so nothing can swell), from an offset where part of a
file is there already. Proxies are those of the environment.
"""

from __future__ import annotations

import contextlib
import http.client
import re
import socket
import threading
import weakref
from collections.abc import Callable, Generator
from importlib.metadata import version
from urllib.parse import unquote, urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    NameResolutionError,
    NewConnectionError,
    ReadTimeoutError,
)
from urllib3.util import make_headers, parse_url

from edgeqa.repository.origins import CHUNK_BYTES, FolderOrigin, Head, Origin, OriginError
from edgeqa.repository.repository_url import RepositoryUrl

_MAX_REDIRECTS = 5
# A host has several addresses, IPv6 first; one that swallows packets must leave time for the next.
_CONNECT_PART = 1 / 3
_OK, _PARTIAL = 200, 206
_REDIRECTS = {301, 302, 303, 307, 308}
_LATER = {408, 425, 429}
_SERVER_ERRORS = 500
_RANGE = re.compile(r"bytes (\d{1,18})-\d{1,18}/(\d{1,18}|\*)")


def origin_of(url: RepositoryUrl, *, client: str, timeout_s: float) -> Origin:
    """The place that an address names: a folder, or below a URL."""
    if url.folder is not None:
        return FolderOrigin(url.folder)
    return WebOrigin(url.text, client=client, timeout_s=timeout_s)


class WebOrigin:
    """Files below a URL.

    Args:
        client: how it calls itself to the server.
        timeout_s: without a byte.
    """

    def __init__(self, url: str, *, client: str, timeout_s: float) -> None:
        self._url = url
        self._timeout = urllib3.Timeout(connect=timeout_s * _CONNECT_PART, read=timeout_s)
        self._agent = f"{client}/{version('edgeqa')}"
        self._pools: dict[str | None, urllib3.PoolManager] = {}
        self._lock = threading.Lock()
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()

    def leave(self) -> None:
        """See `Origin.leave`.

        A server can keep a reader busy for ever inside the HTTP library, by interim answers or by
        trailers without end; only losing its connection ends that.
        """
        with self._lock:
            for one in list(self._sockets):
                with contextlib.suppress(OSError):
                    socket.socket.shutdown(one, socket.SHUT_RDWR)  # past TLS, which would wait
            self._sockets.clear()

    def open(
        self, path: str, *, offset: int, most: int, fresh: bool
    ) -> Generator[Head | bytes, None, None]:
        """See `Origin.open`."""
        headers = {"Accept-Encoding": "identity", "User-Agent": self._agent}
        if offset:
            headers["Range"] = f"bytes={offset}-"
        if fresh:
            headers |= {"Cache-Control": "no-cache", "Pragma": "no-cache"}
        url = f"{self._url}/{path}"
        try:
            response = self._get(url, headers)
            try:
                head = _head(response, offset)
                yield head
                left = offset - max(head.start, 0) + most
                while left > 0:
                    chunk = response.read1(min(CHUNK_BYTES, left), decode_content=False)
                    if not chunk:
                        return
                    left -= len(chunk)
                    yield chunk
            finally:
                response.close()  # nothing happens to a connection that was read to its end
        except (HTTPError, OSError, ValueError) as error:  # ValueError: a redirect to no URL
            raise OriginError(f"{url}: {_reason(error)}") from error

    def _get(self, url: str, headers: dict[str, str]) -> urllib3.BaseHTTPResponse:
        for _ in range(_MAX_REDIRECTS + 1):
            response = self._pool(url).request(
                "GET",
                url,
                headers=headers,
                timeout=self._timeout,
                redirect=False,
                retries=False,
                preload_content=False,
                decode_content=False,
            )
            if response.status in {_OK, _PARTIAL}:
                return response
            response.close()
            location = response.headers.get("Location")
            if response.status not in _REDIRECTS or location is None:
                raise _refusal(url, response)
            url = _followed(url, location)
        raise OriginError(f"{url}: more than {_MAX_REDIRECTS} redirects", retry=False)

    def _pool(self, url: str) -> urllib3.PoolManager:
        """Connections to the proxy that the environment names for a URL, or to the server."""
        parts = urlsplit(url)
        proxies = {} if proxy_bypass(parts.hostname or "") else getproxies()
        proxy = proxies.get(parts.scheme) or proxies.get("all")
        if proxy not in self._pools:
            pool = urllib3.PoolManager() if proxy is None else _through(proxy)
            pool.pool_classes_by_scheme = _pool_classes(self._opened)
            self._pools[proxy] = pool
        return self._pools[proxy]

    def _opened(self, connection: HTTPConnection) -> None:
        with self._lock:
            if connection.sock is not None:
                self._sockets.add(connection.sock)


def _through(proxy: str) -> urllib3.PoolManager:
    where = parse_url(proxy if "://" in proxy else f"http://{proxy}")
    login = make_headers(proxy_basic_auth=unquote(where.auth)) if where.auth else None
    return urllib3.ProxyManager(where._replace(auth=None).url, proxy_headers=login)


class _Answer(http.client.HTTPResponse):
    """Refuses several lengths at once. urllib3 does too, but leaves the connection open then."""

    def begin(self) -> None:
        super().begin()
        stated = ",".join(self.headers.get_all("Content-Length", [])).split(",")
        if len({one.strip() for one in stated}) > 1:
            raise http.client.HTTPException("several values of Content-Length")


def _pool_classes(
    opened: Callable[[HTTPConnection], None],
) -> dict[str, type[urllib3.HTTPConnectionPool]]:
    """urllib3's connections, which tell when they are made."""

    class Plain(HTTPConnection):
        response_class = _Answer

        def connect(self) -> None:
            super().connect()
            opened(self)

    class Secured(HTTPSConnection):
        response_class = _Answer

        def connect(self) -> None:
            super().connect()
            opened(self)

    class PlainPool(urllib3.HTTPConnectionPool):
        ConnectionCls = Plain

    class SecuredPool(urllib3.HTTPSConnectionPool):
        ConnectionCls = Secured

    return {"http": PlainPool, "https": SecuredPool}


def _head(response: urllib3.BaseHTTPResponse, offset: int) -> Head:
    if response.status == _OK:
        return Head(0, response.length_remaining)
    stated = _RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
    if stated is None or int(stated[1]) != offset:
        return Head(-1, None)
    return Head(offset, None if stated[2] == "*" else int(stated[2]))


def _refusal(url: str, response: urllib3.BaseHTTPResponse) -> OriginError:
    wait = response.headers.get("Retry-After", "")
    return OriginError(
        f"{_shown(url)}: the server answers {response.status}",
        status=response.status,
        retry=response.status in _LATER or response.status >= _SERVER_ERRORS,
        after_s=float(wait) if re.fullmatch(r"\d{1,6}", wait) else 0.0,
    )


def _followed(url: str, location: str) -> str:
    """Where a redirect leads; never to a file, nor from a secured connection to an open one."""
    target = urljoin(url, location)
    before, after = urlsplit(url).scheme, urlsplit(target).scheme
    if after != "https" and not (before == after == "http"):
        raise OriginError(
            f"{url}: redirected to {_shown(target)!r}, which is not followed", retry=False
        )
    return target


def _shown(url: str) -> str:
    """Without what may be secret in it: buckets redirect to addresses with a signature."""
    return url.partition("?")[0][:200]


_REASONS: tuple[tuple[type[Exception], str], ...] = (
    (NameResolutionError, "the host's name is not known"),
    (ConnectTimeoutError, "no connection in time"),
    (ReadTimeoutError, "nothing came in time"),
)


def _reason(error: Exception) -> str:
    """In a line, without the names of Python objects where we know better."""
    if isinstance(error, NewConnectionError) and not isinstance(error, NameResolutionError):
        cause = error.__cause__
        return (isinstance(cause, OSError) and cause.strerror) or "no connection"
    for kind, text in _REASONS:
        if isinstance(error, kind):
            return text
    return " ".join(str(error).split()) or type(error).__name__
