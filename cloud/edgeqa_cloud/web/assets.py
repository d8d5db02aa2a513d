"""Style sheets, scripts and pictures of the pages: read once, named by their content.

An address holds the hash of what it names, so a browser may keep it for ever, and a new version is
another address. They are sent compressed where the browser can take that.
"""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

# Of SHA-256: 64 bits, to tell versions apart and not to prove anything.
_HASH_CHARS = 16
_FOREVER = "public, max-age=31536000, immutable"
# A page that an older version of this server made still finds its files, but does not keep them.
_BRIEFLY = "public, no-cache"
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".md": "text/plain; charset=utf-8",
}


@dataclass(frozen=True, slots=True)
class Asset:
    """A file in memory."""

    content: bytes
    packed: bytes
    version: str
    media_type: str


class Assets:
    """All files of a folder whose kinds are known. Some 200 kB.

    Args:
        folder: read whole, now.
        prefix: of their addresses.
    """

    def __init__(self, *, folder: Path, prefix: str = "/static") -> None:
        self._prefix = prefix
        self._files = {
            path.relative_to(folder).as_posix(): _read(path)
            for path in sorted(folder.rglob("*"))
            if path.suffix in _TYPES
        }

    def url(self, name: str) -> str:
        """The address of a file.

        Raises:
            KeyError: there is none of that name.
        """
        return f"{self._prefix}/{self._files[name].version}/{name}"

    def respond(self, request: Request, version: str, name: str) -> Response | None:
        """The file, or that the browser has it already; None if there is none."""
        asset = self._files.get(name)
        if asset is None:
            return None
        packed = "gzip" in request.headers.get("accept-encoding", "")
        headers = {
            "Cache-Control": _FOREVER if version == asset.version else _BRIEFLY,
            "ETag": f'"{asset.version}{"-gzip" if packed else ""}"',
            "Vary": "Accept-Encoding",
            "X-Content-Type-Options": "nosniff",
        }
        if request.headers.get("if-none-match") == headers["ETag"]:
            return Response(status_code=304, headers=headers)
        if packed:
            headers["Content-Encoding"] = "gzip"
        content = asset.packed if packed else asset.content
        return Response(content, headers=headers, media_type=asset.media_type)


def _read(path: Path) -> Asset:
    content = path.read_bytes()
    return Asset(
        content=content,
        packed=gzip.compress(content, compresslevel=9, mtime=0),
        version=hashlib.sha256(content).hexdigest()[:_HASH_CHARS],
        media_type=_TYPES[path.suffix],
    )
