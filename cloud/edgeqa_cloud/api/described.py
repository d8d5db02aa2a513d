"""What the API's description says of many endpoints alike: errors, pages, spans of time."""

from __future__ import annotations

import base64
import binascii
import urllib.parse
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import Path, Query, Request, Response
from pydantic import StringConstraints

from edgeqa_cloud.api.problems import Problem, ProblemView
from edgeqa_cloud.words import parse_span

# A page of devices is some 600 kB then.
MAX_PAGE = 1000
DEFAULT_PAGE = 50
# Behind it nothing is found in reasonable time: filter instead.
MAX_OFFSET = 1_000_000
_MAX_MS = 253_402_300_799_999  # the end of the year 9999

Limit = Annotated[int, Query(ge=1, le=MAX_PAGE, description="Most on this page.")]
Offset = Annotated[int, Query(ge=0, le=MAX_OFFSET, description="To leave out first.")]
DeviceId = Annotated[
    str,
    Path(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", description="Such as `pi5-kitchen`."),
]
Since = Annotated[
    str,
    Query(
        pattern=r"^([0-9]{1,15}|[0-9]{1,6}[smhdw])$",
        description="How much of the past: `24h`, `30d`; or from when on, ms since 1970.",
    ),
]
Cursor = Annotated[
    str | None,
    Query(
        max_length=100, pattern=r"^[A-Za-z0-9_-]*$", description="`next` of the page before this."
    ),
]
Filter = Annotated[str, StringConstraints(max_length=200)]


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Errors of an endpoint, for `responses`; what any may answer is added by `openapi`."""
    return {status: {"model": ProblemView} for status in statuses}


# What any endpoint may answer that reads, or that changes something.
READING = problems(401, 421, 422, 503)
CHANGING = problems(401, 403, 409, 413, 415, 421, 422, 503)


def since_ms(since: str, now_ms: int) -> int:
    """The time that a `Since` means."""
    if since.isdigit():
        return min(int(since), _MAX_MS)
    return max(0, now_ms - round(parse_span(since, "since") * 1000))


def add_links(request: Request, response: Response, *, total: int, limit: int, offset: int) -> None:
    """`Link` to the first, previous, next and last page (RFC 8288)."""
    last = max(0, (total - 1) // limit * limit)
    offsets = {"first": 0, "last": last}
    if offset > 0:
        offsets["prev"] = max(0, offset - limit)
    if offset + limit < total:
        offsets["next"] = offset + limit
    set_links(request, response, {rel: {"offset": str(at)} for rel, at in sorted(offsets.items())})


def set_links(
    request: Request, response: Response, changes: Mapping[str, Mapping[str, str]]
) -> None:
    """`Link` to this address with other parameters."""
    said = request.query_params.multi_items()
    links = []
    for rel, changed in changes.items():
        query = [(name, text) for name, text in said if name not in changed]
        text = urllib.parse.urlencode([*query, *changed.items()])
        links.append(f'<{request.url.path}?{text}>; rel="{rel}"')
    response.headers["Link"] = ", ".join(links)


def write_cursor(*numbers: int) -> str:
    """Where a page ends, for the next one."""
    text = ".".join(map(str, numbers))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def read_cursor(cursor: str, count: int) -> list[int]:
    """The numbers of a cursor.

    Raises:
        Problem: it is none of ours.
    """
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii")
        numbers = [int(part) for part in text.split(".")]
    except (binascii.Error, UnicodeDecodeError, ValueError):
        numbers = []
    if len(numbers) != count or any(abs(one) >= 1 << 63 for one in numbers):
        raise Problem(422, "bad_cursor", "cursor: send `next` of the page before, unchanged")
    return numbers
