"""A rollout in words: what it waits for, its target, a gate's figures before and after. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from markupsafe import Markup

from edgeqa_cloud.rollout.spec import Target
from edgeqa_cloud.rollout.states import RolloutState
from edgeqa_cloud.rollout.views import GateView, RolloutView
from edgeqa_cloud.web.shown import (
    NOTHING,
    celsius,
    milliseconds,
    moment,
    number,
    plural,
    points,
    said,
    share,
    size,
)

# Named in the words of a target; the page of devices has all.
_MOST_NAMED = 10
_FIGURES: Mapping[str, Callable[[float | None], str]] = MappingProxyType(
    {
        "exact_match": points,
        "f1": points,
        "p95_latency": milliseconds,
        "error_rate": lambda value: share(value, 1),
        "memory": size,
        "temperature": celsius,
        "failed_swaps": lambda value: share(value, 1),
        "silent_devices": lambda value: share(value, 1),
    }
)


def waits_for(view: RolloutView, now_ms: int) -> Markup:
    """What it waits for; a soak with its end, which stays fresh on the page."""
    if view.waiting_for is None:
        return Markup.escape(NOTHING)
    soaks = view.state is RolloutState.RUNNING and view.waiting_for.startswith("the soak")
    if soaks and view.soak_ends_ms is not None:
        return Markup.escape("the soak, which ends ") + moment(view.soak_ends_ms, now_ms)
    return Markup.escape(said(view.waiting_for))


def before_after(gate: GateView) -> str:
    """A gate's figure before and after."""
    figure = _FIGURES.get(gate.gate, _plain)
    return f"{figure(gate.before)} → {figure(gate.after)}"


def target_words(target: Target) -> str:
    """Which devices a target means."""
    parts = []
    if target.devices:
        parts.append(f"{plural(len(target.devices), 'device')}: {_named(target.devices)}")
    if target.groups:
        parts.append(f"{'groups' if len(target.groups) > 1 else 'group'} {_named(target.groups)}")
    if target.tags:
        parts.append(f"{'tags' if len(target.tags) > 1 else 'tag'} {_named(target.tags)}")
    if target.all or not parts:
        parts = ["all devices"]
    text = ", and ".join(parts)
    return f"{text}; of those: {said(target.query)}" if target.query else text


def _plain(value: float | None) -> str:
    return number(value, 2)


def _named(names: list[str]) -> str:
    shown = ", ".join(said(one) for one in names[:_MOST_NAMED])
    more = len(names) - _MOST_NAMED
    return f"{shown} and {number(more)} more" if more > 0 else shown
