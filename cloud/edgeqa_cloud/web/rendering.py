"""Templates to pages: escaped always, with headers that let nothing run but our own scripts.

What a template shows is text unless it is `Markup`, and nothing of that is made from what devices
or people wrote. Were something missed, the Content-Security-Policy stops it: no inline script, no
inline style, no evaluation, nothing from elsewhere.
"""

from __future__ import annotations

import functools
import gzip
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import Response

from edgeqa_cloud.web.assets import Assets
from edgeqa_cloud.web.shown import FILTERS

if TYPE_CHECKING:
    from edgeqa_cloud.access.roles import Caller

_FOLDER = Path(__file__).parent
# Below this a compressed page is hardly shorter.
_LEAST_PACKED_BYTES = 1024
# Of 1 to 9: ten times as quick as 9, and 5 % longer.
_PACK_LEVEL = 4
_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Vary": "Accept-Encoding, HX-Request",
}


@functools.cache
def assets() -> Assets:
    """The files beside the templates."""
    return Assets(folder=_FOLDER / "static")


@functools.cache
def templates() -> Environment:
    """Where templates are found, and what they can use."""
    environment = Environment(
        loader=FileSystemLoader(_FOLDER / "templates"),
        autoescape=True,  # of every template, whatever its name
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
        cache_size=100,
    )
    environment.filters.update(FILTERS)
    environment.globals["asset"] = assets().url
    return environment


def render(
    request: Request,
    template: str,
    *,
    caller: Caller | None = None,
    status: int = 200,
    now_ms: int | None = None,
    headers: dict[str, str] | None = None,
    **values: Any,
) -> Response:
    """A page.

    Args:
        request: that it answers.
        template: its file.
        caller: who looks at it; None: nobody who has logged in.
        status: of the response.
        now_ms: by the clock of the console; what is relative is relative to it.
        headers: beside those of every page.
        values: for the template.
    """
    content = (
        templates()
        .get_template(template)
        .render(
            request=request,
            caller=caller,
            now_ms=time.time_ns() // 1_000_000 if now_ms is None else now_ms,
            **values,
        )
        # Half a character, which JSON can hold and UTF-8 cannot.
        .encode("utf-8", "replace")
    )
    sent = {**_HEADERS, **(headers or {})}
    if len(content) >= _LEAST_PACKED_BYTES and "gzip" in request.headers.get("accept-encoding", ""):
        content = gzip.compress(content, compresslevel=_PACK_LEVEL, mtime=0)
        sent["Content-Encoding"] = "gzip"
    return Response(content, status_code=status, headers=sent, media_type="text/html")
