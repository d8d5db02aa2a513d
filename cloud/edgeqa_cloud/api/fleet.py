"""`/fleet`: the whole fleet in figures, over time, and what somebody must look at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter

from edgeqa_cloud.alarms import AlarmList
from edgeqa_cloud.api.access import Viewer
from edgeqa_cloud.api.described import Since, since_ms
from edgeqa_cloud.fleet_history import FleetHistory
from edgeqa_cloud.fleet_views import FleetSummary

if TYPE_CHECKING:
    from edgeqa_cloud.api.parts import Console


def router(console: Console) -> APIRouter:
    """The endpoints."""
    routes = APIRouter(prefix="/fleet", tags=["fleet"])

    @routes.get("")
    def show_fleet(_: Viewer) -> FleetSummary:
        """Devices by presence and by model, EM, F1 and latency of all together.

        At most 2 s old.
        """
        return console.figures.summary()

    @routes.get("/history")
    def show_fleet_history(_: Viewer, since: Since = "24h") -> FleetHistory:
        """EM, F1, latency percentiles and devices online over time, at most 2 s old.

        In at most 150 steps of an hour or more, and behind them, where no hour is added up yet,
        steps of five minutes (of one minute in a fleet that is younger than an hour).
        """
        return console.figures.history(since, lambda now_ms: since_ms(since, now_ms))

    @routes.get("/alarms")
    def list_alarms(_: Viewer) -> AlarmList:
        """What somebody must look at, the critical first.

        Devices that are silent, slowed down or hot; swaps that failed and messages that could not
        be stored in the last day; records that are missing; rollouts that are paused, are being
        undone, or were in the last day; a repository that cannot be read.
        """
        return console.figures.alarms()

    return routes
