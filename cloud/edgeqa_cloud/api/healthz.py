"""`/healthz`: whether this process can answer. Without a login, for load balancers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from fastapi import APIRouter

from edgeqa_cloud.fleet_views import View

if TYPE_CHECKING:
    from edgeqa_cloud.api.parts import Console


class HealthView(View):
    """It can."""

    status: Literal["ok"]


def router(console: Console) -> APIRouter:
    """The endpoint."""
    routes = APIRouter(tags=["health"])

    @routes.get("/healthz", openapi_extra={"security": []})
    def check_health() -> HealthView:
        """Whether the database answers: 200, or 503."""
        with console.database.reading() as connection:
            connection.exec_driver_sql("SELECT 1")
        return HealthView(status="ok")

    return routes
