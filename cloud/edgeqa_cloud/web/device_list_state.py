"""What the list of devices shows, as its address says it. Pure.

Whatever an address holds gives a list: what makes no sense counts as not said, but for a query,
whose mistake is told to whoever wrote it.
"""

from __future__ import annotations

import dataclasses
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from edgeqa.topics import is_name
from edgeqa_cloud.device_filter import DeviceFilter, DeviceSort
from edgeqa_cloud.presence import Presence
from edgeqa_cloud.targets.query import parse
from edgeqa_cloud.web.addresses import page_number

PAGE_DEVICES = 50
PATH = "/devices"


@dataclass(frozen=True, slots=True)
class ListState:
    """A list of devices.

    Attributes:
        text: a query, or words to search for.
        presence: one of `Presence`; empty: any.
        model: `NAME@VERSION`, or a name; empty: any.
        group: that they are in; empty: any.
        tag: that they have; empty: any.
        page: 1 is the first.
    """

    text: str = ""
    presence: str = ""
    model: str = ""
    group: str = ""
    tag: str = ""
    sort: DeviceSort = DeviceSort.DEVICE
    descending: bool = False
    page: int = 1

    @classmethod
    def of(cls, said: Mapping[str, str]) -> Self:
        """From the parameters of an address."""
        presence, model = said.get("presence", ""), said.get("model", "")
        order = said.get("sort", "")
        name = order.removeprefix("-")
        known = name in set(DeviceSort)
        return cls(
            text=said.get("q", "").strip(),
            presence=presence if presence in set(Presence) else "",
            model=model if all(is_name(one) for one in model.split("@", 1)) else "",
            group=said["group"] if is_name(said.get("group", "")) else "",
            tag=said["tag"] if is_name(said.get("tag", "")) else "",
            sort=DeviceSort(name) if known else DeviceSort.DEVICE,
            descending=known and order.startswith("-"),
            page=page_number(said),
        )

    @property
    def filtered(self) -> bool:
        """Whether it may leave devices out."""
        return bool(self.text or self.presence or self.model or self.group or self.tag)

    @property
    def offset(self) -> int:
        """Devices before this page."""
        return (self.page - 1) * PAGE_DEVICES

    @property
    def order(self) -> str:
        """Sort and direction in one word."""
        return f"-{self.sort}" if self.descending else str(self.sort)

    def filter(self) -> DeviceFilter:
        """For the query of devices.

        Raises:
            QueryError: the text is no query.
        """
        return DeviceFilter(
            presence=frozenset({Presence(self.presence)}) if self.presence else None,
            model=self.model or None,
            group=self.group or None,
            tag=self.tag or None,
            query=parse(self.text) if self.text else None,
        )

    def address(self, **changes: Any) -> str:
        """Of this list, or of one that differs; one that is changed begins at its first page."""
        other = dataclasses.replace(self, **({"page": 1} if changes else {}) | changes)
        said = {
            "q": other.text,
            "presence": other.presence,
            "model": other.model,
            "group": other.group,
            "tag": other.tag,
            "sort": "" if other.order == DeviceSort.DEVICE else other.order,
            "page": "" if other.page == 1 else str(other.page),
        }
        query = urllib.parse.urlencode({name: value for name, value in said.items() if value})
        return f"{PATH}?{query}" if query else PATH

    def sorted_address(self, sort: str, descending: bool) -> str:
        """Of the list in another order."""
        return self.address(sort=DeviceSort(sort), descending=descending)

    def page_address(self, page: int) -> str:
        """Of another page."""
        return self.address(page=page)
