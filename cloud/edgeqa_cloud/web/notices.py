"""What came of something that a person did, at the top of the page."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Notice:
    """A line or two.

    Attributes:
        tone: ok, info, warn or bad.
        code: stable; docs/errors.md tells what to do.
    """

    tone: str
    title: str
    text: str = ""
    code: str | None = None
