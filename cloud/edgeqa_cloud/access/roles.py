"""Who asks, and what they may do. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    """Each may do what the one before it may, and more."""

    # Sees everything but who has access.
    VIEWER = "viewer"
    # Also begins and steers rollouts, tags devices and asks them.
    OPERATOR = "operator"
    # Also says who has access.
    ADMIN = "admin"

    def covers(self, other: Role) -> bool:
        """Whether it may do what the other may."""
        order = list(Role)
        return order.index(self) >= order.index(other)


class Kind(StrEnum):
    """Of an account."""

    USER = "user"
    TOKEN = "token"  # noqa: S105  a kind, no secret


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks.

    Attributes:
        account_id: its key in the database.
        name: of the user or the token.
        expires_ms: when the session or the token ends; None: never.
        by_cookie: it came with a browser's cookie, which a browser sends unasked.
    """

    account_id: int
    name: str
    kind: Kind
    role: Role
    expires_ms: int | None = None
    by_cookie: bool = False

    @property
    def actor(self) -> str:
        """As the audit log names it: `user:anna`, `token:ci`."""
        return f"{self.kind}:{self.name}"

    def may(self, role: str) -> bool:
        """Whether its role is that one, or covers it."""
        return self.role.covers(Role(role))
