"""Whether a browser sends a request for a page of ours, to a name of ours.

A browser sends its cookies with requests that other sites' pages make it send, too. It also says
which site made it (Fetch Metadata, and `Origin`), and pages cannot change that. `Host` is checked
for the sake of pages whose name was made to point to this machine.

Source: W3C Fetch Metadata Request Headers; OWASP Cross-Site Request Forgery Prevention.
"""

from __future__ import annotations

import ipaddress
import urllib.parse

from starlette.requests import Request

from edgeqa_cloud.api.problems import Problem
from edgeqa_cloud.console_settings import ConsoleSettings
from edgeqa_cloud.metrics_settings import listen_address


def check_origin(request: Request, settings: ConsoleSettings, *, changes: bool) -> None:
    """Refuse what another site's page may have sent.

    Args:
        changes: it is a request that changes something.

    Raises:
        Problem: `wrong_host` or `cross_site`.
    """
    host = request.headers.get("host", "")
    if not _is_ours(host, settings):
        raise Problem(
            421,
            "wrong_host",
            "this server is not known by that name; say its address in the setting `public_url`",
        )
    if changes and not _same_site(request, host, settings):
        raise Problem(
            403,
            "cross_site",
            "a browser's session changes things only from pages of this server; programs send a "
            "token. Behind a proxy, say its address in the setting `public_url`",
        )


def _same_site(request: Request, host: str, settings: ConsoleSettings) -> bool:
    told = request.headers.get("sec-fetch-site")
    if told is not None:
        return told == "same-origin"
    origin = request.headers.get("origin")
    if origin is None:
        return False
    ours = {f"http://{host}", f"https://{host}"}
    if settings.public_url:
        ours.add(_origin(settings.public_url))
    return origin in ours


def _origin(url: str) -> str:
    parts = urllib.parse.urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _is_ours(host: str, settings: ConsoleSettings) -> bool:
    name = _name(host)
    if name is None:
        return False
    if _is_loopback(name):
        return True
    if settings.public_url and name == _name(urllib.parse.urlsplit(settings.public_url).netloc):
        return True
    listened = "" if settings.listen == "off" else listen_address(settings.listen)[0]
    # On all addresses it may have any name; on the loopback alone it has none but that.
    return not _is_loopback(listened) and (not settings.public_url or name == listened.lower())


def _name(host: str) -> str | None:
    try:
        return urllib.parse.urlsplit(f"//{host}").hostname
    except ValueError:
        return None


def _is_loopback(name: str) -> bool:
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
