"""What an error code is, for the tables of them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Where(StrEnum):
    """Who says it."""

    ANSWER = "in an agent's answer"
    CLIENT = "from the Python client and `edgeqa ask`"
    COMMAND = "from a command or at an agent's start"
    SWAP = "in a device's report of a model, or its reply to a command"
    API = "from the cloud's API, its page and `edgeqa rollout`"
    QUARANTINE = "from the cloud, of a message that it did not store"


@dataclass(frozen=True, slots=True)
class Code:
    """One error code.

    Attributes:
        slug: the code.
        where: who says it.
        meaning: one line.
        action: what to do.
        retry: whether the same question may succeed later, unchanged.
    """

    slug: str
    where: Where
    meaning: str
    action: str
    retry: bool = False
