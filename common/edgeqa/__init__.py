"""EdgeQA: the contract that devices, agents and the cloud side share, and a client for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgeqa.aio import AsyncClient
    from edgeqa.client import Client
    from edgeqa.errors import AnswerError, AnswerTimeoutError, EdgeqaError
    from edgeqa.messages import Answer, Item, Status
    from edgeqa.operator import Operator

__all__ = [
    "Answer",
    "AnswerError",
    "AnswerTimeoutError",
    "AsyncClient",
    "Client",
    "EdgeqaError",
    "Item",
    "Operator",
    "Status",
]

_HOMES = {
    "Answer": "edgeqa.messages",
    "AnswerError": "edgeqa.errors",
    "AnswerTimeoutError": "edgeqa.errors",
    "AsyncClient": "edgeqa.aio",
    "Client": "edgeqa.client",
    "EdgeqaError": "edgeqa.errors",
    "Item": "edgeqa.messages",
    "Operator": "edgeqa.operator",
    "Status": "edgeqa.messages",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: a model process needs none of them."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib  # noqa: PLC0415  only here

    return getattr(importlib.import_module(_HOMES[name]), name)
