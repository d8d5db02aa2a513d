"""Addresses of our pages: which ones a person may be sent back to, and numbers in them. Pure."""

from __future__ import annotations

import urllib.parse
from collections.abc import Mapping

# A list that is longer is searched, not leafed through; and the number fits into the database's.
MAX_PAGE_NUMBER = 100_000
_MAX_CHARS = 2000


def own_address(said: str | None) -> str:
    """A path of ours to go on at; `/` for whatever else was said.

    Browsers read `//host`, `/\\host` and `/<tab>/host` as another host's address.
    """
    if not said or len(said) > _MAX_CHARS or not said.startswith("/"):
        return "/"
    if said.startswith("//") or "\\" in said or not said.isprintable() or not said.isascii():
        return "/"
    path = urllib.parse.urlsplit(said).path
    return "/" if path in {"/login", "/logout"} or path.startswith(("/api/", "/static/")) else said


def login_address(after: str) -> str:
    """Of the login page, for somebody who wants to go on at an address."""
    after = own_address(after)
    return "/login" if after == "/" else "/login?" + urllib.parse.urlencode({"next": after})


def page_number(said: Mapping[str, str], name: str = "page") -> int:
    """Which page of a list; the first where it is none."""
    text = said.get(name, "")
    if not (text.isascii() and text.isdigit()) or len(text) > len(str(MAX_PAGE_NUMBER)):
        return 1
    return min(max(1, int(text)), MAX_PAGE_NUMBER)


def page_count(total: int, size: int) -> int:
    """How many pages a list has; at least one."""
    return max(1, -(-total // size))
