"""Which devices of a rollout its page shows, and which rollouts the list: as addresses say. Pure.

Whatever an address holds gives a page: what makes no sense counts as not said.
"""

from __future__ import annotations

import dataclasses
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from edgeqa.topics import is_name
from edgeqa_cloud.rollout.filters import MemberFilter, RolloutFilter
from edgeqa_cloud.rollout.spec import MAX_STAGES
from edgeqa_cloud.rollout.states import MemberState, RolloutState
from edgeqa_cloud.web.addresses import page_number

PAGE_ROWS = 50
# Of a search: longer than any name.
MAX_TEXT_CHARS = 200


@dataclass(frozen=True, slots=True)
class MembersState:
    """Devices of a rollout.

    Attributes:
        path: of the rollout's page.
        text: part of a device's id, or of what it says.
        state: one of `MemberState`; empty: any.
        stage: 1 is the first; 0: any.
        page: 1 is the first.
    """

    path: str
    text: str = ""
    state: str = ""
    stage: int = 0
    page: int = 1

    @classmethod
    def of(cls, path: str, said: Mapping[str, str]) -> Self:
        """From the parameters of an address."""
        state, stage = said.get("state", ""), said.get("stage", "")
        known = stage.isascii() and stage.isdigit() and 1 <= int(stage[:4]) <= MAX_STAGES
        return cls(
            path=path,
            text=said.get("q", "").strip()[:MAX_TEXT_CHARS],
            state=state if state in set(MemberState) else "",
            stage=int(stage[:4]) if known else 0,
            page=page_number(said),
        )

    @property
    def filtered(self) -> bool:
        """Whether it may leave devices out."""
        return bool(self.text or self.state or self.stage)

    @property
    def offset(self) -> int:
        """Devices before this page."""
        return (self.page - 1) * PAGE_ROWS

    def filter(self) -> MemberFilter:
        """For the service."""
        return MemberFilter(
            states=frozenset({MemberState(self.state)}) if self.state else None,
            stage=self.stage - 1 if self.stage else None,
            text=self.text or None,
        )

    def address(self, **changes: Any) -> str:
        """Of these devices, or of others; those begin at their first page."""
        other = dataclasses.replace(self, **({"page": 1} if changes else {}) | changes)
        return _address(
            other.path, q=other.text, state=other.state, stage=other.stage or "",
            page="" if other.page == 1 else other.page,
        )  # fmt: skip

    def page_address(self, page: int) -> str:
        """Of another page."""
        return self.address(page=page)


@dataclass(frozen=True, slots=True)
class RolloutsState:
    """A list of rollouts; as `MembersState`."""

    text: str = ""
    state: str = ""
    model: str = ""
    device: str = ""
    page: int = 1

    @classmethod
    def of(cls, said: Mapping[str, str]) -> Self:
        """From the parameters of an address."""
        state, model, device = said.get("state", ""), said.get("model", ""), said.get("device", "")
        return cls(
            text=said.get("q", "").strip()[:MAX_TEXT_CHARS],
            state=state if state in set(RolloutState) else "",
            model=model if all(is_name(one) for one in model.split("@", 1)) else "",
            device=device if is_name(device) else "",
            page=page_number(said),
        )

    @property
    def filtered(self) -> bool:
        """Whether it may leave rollouts out."""
        return bool(self.text or self.state or self.model or self.device)

    @property
    def offset(self) -> int:
        """Rollouts before this page."""
        return (self.page - 1) * PAGE_ROWS

    def filter(self, *, final: bool) -> RolloutFilter | None:
        """For the service: those that are over, or those that are not; None where none can be."""
        states = frozenset(one for one in RolloutState if one.final == final)
        if self.state:
            states &= {RolloutState(self.state)}
        if not states:
            return None
        return RolloutFilter(
            states=states,
            model=self.model or None,
            text=self.text or None,
            device=self.device or None,
        )

    def address(self, **changes: Any) -> str:
        """Of this list, or of another; that begins at its first page."""
        other = dataclasses.replace(self, **({"page": 1} if changes else {}) | changes)
        return _address(
            "/rollouts", q=other.text, state=other.state, model=other.model, device=other.device,
            page="" if other.page == 1 else other.page,
        )  # fmt: skip

    def page_address(self, page: int) -> str:
        """Of another page."""
        return self.address(page=page)


def _address(path: str, **said: str | int) -> str:
    query = urllib.parse.urlencode({name: value for name, value in said.items() if value})
    return f"{path}?{query}" if query else path
