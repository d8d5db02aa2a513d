"""How much of the past a page shows. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

RANGES: Mapping[str, int] = MappingProxyType(
    {"24h": 86_400_000, "7d": 7 * 86_400_000, "30d": 30 * 86_400_000}
)
USUAL_RANGE = "24h"
_NAMES = {"24h": "24 hours", "7d": "7 days", "30d": "30 days"}


def chosen_range(said: Mapping[str, str]) -> str:
    """Of an address; the usual one where it says none."""
    text = said.get("range", "")
    return text if text in RANGES else USUAL_RANGE


def range_choice(chosen: str, address: Callable[[str], str]) -> list[tuple[str, str, bool]]:
    """Address, text and whether it is chosen, of each."""
    return [(address(one), _NAMES[one], one == chosen) for one in RANGES]
