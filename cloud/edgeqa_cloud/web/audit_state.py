"""Which entries of the audit log its page shows, as its address says it. Pure.

Whatever an address holds gives a list: what makes no sense counts as not said.
"""

from __future__ import annotations

import dataclasses
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Self

from edgeqa_cloud.rollout.filters import AuditFilter
from edgeqa_cloud.web.addresses import page_number

PATH = "/audit"
PAGE_ENTRIES = 50
_MAX_CHARS = 200
_TEXTS = ("rollout", "device", "actor", "action", "q")


@dataclass(frozen=True, slots=True)
class AuditState:
    """Entries of the log; what is empty lets all through.

    Attributes:
        q: part of the message.
        since: the first day, as 2026-11-25, in UTC.
        until: the last day.
        page: 1 is the first.
    """

    rollout: str = ""
    device: str = ""
    actor: str = ""
    action: str = ""
    q: str = ""
    since: date | None = None
    until: date | None = None
    page: int = 1

    @classmethod
    def of(cls, said: Mapping[str, str]) -> Self:
        """From the parameters of an address."""
        texts = {name: said.get(name, "").strip()[:_MAX_CHARS] for name in _TEXTS}
        return cls(
            **texts, since=_day(said.get("since")), until=_day(said.get("until")),
            page=page_number(said),
        )  # fmt: skip

    @property
    def filtered(self) -> bool:
        """Whether it may leave entries out."""
        return dataclasses.replace(self, page=1) != type(self)()

    @property
    def offset(self) -> int:
        """Entries before this page."""
        return (self.page - 1) * PAGE_ENTRIES

    def filter(self) -> AuditFilter:
        """For the service."""
        return AuditFilter(
            rollout=self.rollout or None,
            device=self.device or None,
            actor=self.actor or None,
            action=self.action or None,
            text=self.q or None,
            since_ms=None if self.since is None else _midnight_ms(self.since),
            until_ms=None if self.until is None else _midnight_ms(self.until + timedelta(days=1)),
        )

    def address(self, **changes: Any) -> str:
        """Of this list, or of another; that begins at its first page."""
        other = dataclasses.replace(self, **({"page": 1} if changes else {}) | changes)
        said: dict[str, Any] = {name: getattr(other, name) for name in _TEXTS}
        said |= {"since": other.since or "", "until": other.until or ""}
        said["page"] = "" if other.page == 1 else other.page
        query = urllib.parse.urlencode({name: value for name, value in said.items() if value})
        return f"{PATH}?{query}" if query else PATH

    def page_address(self, page: int) -> str:
        """Of another page."""
        return self.address(page=page)


def _day(text: str | None) -> date | None:
    try:
        day = date.fromisoformat(text or "")
    except ValueError:
        return None
    # Days that the database's milliseconds and our arithmetic can hold.
    return day if date(1970, 1, 1) <= day < date(9000, 1, 1) else None


def _midnight_ms(day: date) -> int:
    return round(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1000)
