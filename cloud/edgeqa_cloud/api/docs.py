"""`/docs`: the API for people, as a page without scripts; made from its own description."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request, Response

if TYPE_CHECKING:
    from edgeqa_cloud.api.parts import Console


def router(console: Console) -> APIRouter:
    """The endpoint."""
    del console
    routes = APIRouter(include_in_schema=False)

    @routes.get("/docs")
    def docs(request: Request) -> Response:
        """All endpoints."""
        return Response(page(request.app.openapi()), media_type="text/html; charset=utf-8")

    return routes


def page(description: dict[str, Any]) -> str:
    """As HTML."""
    info = description["info"]
    rows = "".join(
        _row(method, path, operation)
        for path, operations in description["paths"].items()
        for method, operation in operations.items()
    )
    title = escape(f"{info['title']} {info['version']}: the API")
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        '<meta name="viewport" content="width=device-width"></head><body>'
        f"<h1>{title}</h1><p>{escape(info['description'])}</p>"
        '<p>For programs: <a href="openapi.json">openapi.json</a> (OpenAPI 3.1).</p>'
        "<table><thead><tr><th>Request</th><th>What it does</th><th>Parameters</th></tr></thead>"
        f"<tbody>{rows}</tbody></table></body></html>"
    )


def _row(method: str, path: str, operation: dict[str, Any]) -> str:
    names = ", ".join(
        f"<code>{escape(one['name'])}</code>"
        for one in operation.get("parameters", [])
        if one["in"] == "query"
    )
    about = operation.get("description", operation.get("summary", "")).strip()
    return (
        f"<tr><td><code>{method.upper()} {escape(path)}</code></td><td>{escape(about)}</td>"
        f"<td>{names}</td></tr>"
    )
